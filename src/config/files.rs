//! Where a configuration comes from: the file, then `conf.d/*.toml` beside it by name, then the environment.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::{At, Fault};
use super::tree::{self, Node, Table, Value};

/// The variables of a process, or those that a test makes up.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process; what is not UTF-8 is none of ours.
    #[must_use]
    pub fn of_process() -> Self {
        let variables = std::env::vars_os();
        Self(
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect(),
        )
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// One tree of all files and the environment, and what cannot be joined in it; or the files that are none.
pub fn gather(path: &Path, env: &Environment) -> Result<(Node, Vec<Fault>), Vec<Fault>> {
    let mut faults = Vec::new();
    let mut unread = Vec::new();
    let mut root: Option<(At, Table)> = None;
    for file in std::iter::once(Ok(path.to_owned())).chain(more_files(path)) {
        match file.and_then(|file| read(&file)) {
            Ok(Node { at, value: Value::Table(table) }) => match &mut root {
                None => root = Some((at, table)),
                Some((_, root)) => tree::merge(root, table, &mut faults),
            },
            Ok(_) => {}
            Err(more) => unread.extend(more),
        }
    }
    // What stands in a file that cannot be read would be missed everywhere.
    let Some((at, mut table)) = root.filter(|_| unread.is_empty()) else {
        unread.append(&mut faults);
        return Err(unread);
    };
    environment(&mut table, env, &mut faults);
    Ok((Node { at, value: Value::Table(table) }, faults))
}

fn read(file: &Path) -> Result<Node, Vec<Fault>> {
    let text = fs::read_to_string(file).map_err(|error| {
        let at = At { file: Arc::new(file.to_owned()), line: 1, column: 1 };
        let remedy = "`tidegate init` writes a configuration to start from".to_owned();
        vec![Fault { at, what: format!("this file cannot be read: {error}"), remedy }]
    })?;
    tree::parse(&text, file)
}

fn more_files(path: &Path) -> Vec<Result<PathBuf, Vec<Fault>>> {
    let directory = path.parent().unwrap_or(Path::new(".")).join("conf.d");
    let entries = match fs::read_dir(&directory).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let at = At { file: Arc::new(directory), line: 1, column: 1 };
            let remedy = "make it readable for this user, or take it away".to_owned();
            return vec![Err(vec![Fault { at, what: format!("this directory cannot be read: {error}"), remedy }])];
        }
    };
    let files = entries.iter().map(fs::DirEntry::path);
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    files.into_iter().map(Ok).collect()
}

/// `TIDEGATE__KINESIS__REGION` sets `kinesis.region`; a key that nobody knows is a fault as in a file.
fn environment(table: &mut Table, env: &Environment, faults: &mut Vec<Fault>) {
    for (name, text) in &env.0 {
        let at = At { file: Arc::new(PathBuf::from(format!("environment {name}"))), line: 1, column: 1 };
        let (path, value) = match name.strip_prefix("TIDEGATE__") {
            Some(path) => (path.to_lowercase(), value(name, text)),
            None if name == "TIDEGATE_ID" => ("gateway__id".to_owned(), Value::Text(text.clone())),
            None => continue,
        };
        let path: Vec<_> = path.split("__").collect();
        if tree::set(table, &path, &Node { at: at.clone(), value }).is_err() {
            let what = format!("`{}` is a list, or no section", path[0]);
            faults.push(Fault { at, what, remedy: "write it in the file, with ${NAME} for what changes".to_owned() });
        }
    }
}

/// A value as TOML writes it, or else plain text.
fn value(name: &str, text: &str) -> Value {
    match tree::parse(&format!("value = {text}"), Path::new(name)).map(|node| node.value) {
        Ok(Value::Table(mut table)) if table.len() == 1 => table.remove(0).node.value,
        _ => Value::Text(text.to_owned()),
    }
}

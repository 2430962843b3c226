//! Where a configuration comes from: the file, then `conf.d/*.toml` beside it by name, then the environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::{At, Fault};
use super::tree::{self, Node, Table, Value};

/// Sections that single keys of the environment may set, as in `TIDEGATE__KINESIS__REGION`.
const SECTIONS: [(&str, &[&str]); 6] = [
    ("gateway", &["id", "data_dir", "shutdown_timeout"]),
    ("link", &["profile", "connect_timeout", "request_timeout"]),
    ("queue", &["max_bytes", "min_free", "when_full", "commit_linger", "max_dead"]),
    ("batch", &["format", "compression", "level", "max_age", "max_bytes", "received"]),
    ("kinesis", &["stream", "region", "endpoint_url", "lanes", "max_record", "max_request"]),
    ("http", &["listen", "token_file", "insecure_no_token"]),
];

pub fn gather(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Node, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut root: Option<(At, Table)> = None;
    for file in std::iter::once(path.to_owned()).chain(more_files(path)) {
        match read(&file) {
            Ok(Node { at, value: Value::Table(table) }) => match &mut root {
                None => root = Some((at, table)),
                Some((_, root)) => tree::merge(root, table, &mut faults),
            },
            Ok(_) => {}
            Err(more) => faults.extend(more),
        }
    }
    let Some((at, mut table)) = root.filter(|_| faults.is_empty()) else { return Err(faults) };
    environment(&mut table, env);
    Ok(Node { at, value: Value::Table(table) })
}

fn read(file: &Path) -> Result<Node, Vec<Fault>> {
    let text = fs::read_to_string(file).map_err(|error| {
        let at = At { file: Arc::new(file.to_owned()), line: 1, column: 1 };
        let remedy = "`tidegate init` writes a configuration to start from".to_owned();
        vec![Fault { at, what: format!("this file cannot be read: {error}"), remedy }]
    })?;
    tree::parse(&text, file)
}

fn more_files(path: &Path) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new(".")).join("conf.d");
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let files = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    files
}

fn environment(table: &mut Table, env: &dyn Fn(&str) -> Option<String>) {
    let mut set = |name: &str, path: [&str; 2]| {
        let Some(text) = env(name) else { return };
        let at = At { file: Arc::new(PathBuf::from(format!("environment {name}"))), line: 1, column: 1 };
        // A value as TOML writes it, or else plain text.
        let parsed = tree::parse(&format!("value = {text}"), Path::new(name)).ok();
        let value = match parsed.map(|node| node.value) {
            Some(Value::Table(mut table)) if table.len() == 1 => table.remove(0).node.value,
            _ => Value::Text(text),
        };
        tree::set(table, &path, &Node { at, value });
    };
    set("TIDEGATE_ID", ["gateway", "id"]);
    for (section, keys) in SECTIONS {
        for key in keys {
            let name = format!("TIDEGATE__{}__{}", section.to_uppercase(), key.to_uppercase());
            set(&name, [section, key]);
        }
    }
}

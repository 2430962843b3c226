//! Files that keep what POSIX promises, and no more.
//!
//! - What is in a file is durable by an fsync of the file; a name is durable by an fsync of its directory, and by
//!   nothing else. (ext4 is kinder: an fsync of any file brings all names before it along.)
//! - A change that was not synced is kept or lost by itself, whatever became of those before it; of a write, each page.
//! - A rename is one change: it is kept in both directories or in neither.
//!
//! Pure: [`crate::strict`] lets the kernel ask it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::{fs, io};

use crate::luck::Luck;
use crate::power::Medium;

pub const ROOT: u64 = 1;

#[derive(Clone)]
pub struct Names {
    nodes: HashMap<u64, Node>,
    /// Changes of names that were not synced.
    fresh: Vec<Change>,
    next: u64,
    written: u64,
    /// The generation that was written to last, and where in its file.
    last: Option<(u64, u64)>,
}

#[derive(Clone)]
pub enum Node {
    File(File),
    Directory(Directory),
}

#[derive(Clone, Default)]
pub struct File {
    current: Vec<u8>,
    durable: Vec<u8>,
    fresh: Vec<Edit>,
}

#[derive(Clone)]
enum Edit {
    Write(u64, Vec<u8>),
    Size(u64),
}

#[derive(Clone, Default)]
pub struct Directory {
    current: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
}

/// A node loses a name, gets one, or both.
#[derive(Clone)]
struct Change {
    node: u64,
    from: Option<(u64, OsString)>,
    to: Option<(u64, OsString)>,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotThere,
    NotEmpty,
    WrongKind,
}

impl Names {
    pub fn new() -> Self {
        let nodes = HashMap::from([(ROOT, Node::Directory(Directory::default()))]);
        Self { nodes, fresh: Vec::new(), next: ROOT + 1, written: 0, last: None }
    }

    pub fn node(&self, number: u64) -> Result<&Node, Refusal> {
        self.nodes.get(&number).ok_or(Refusal::NotThere)
    }

    pub fn find(&self, directory: u64, name: &OsStr) -> Result<u64, Refusal> {
        self.directory(directory)?.current.get(name).copied().ok_or(Refusal::NotThere)
    }

    /// Names, and the nodes they name.
    pub fn list(&self, directory: u64) -> Result<Vec<(OsString, u64)>, Refusal> {
        let listed = self.directory(directory)?.current.iter();
        Ok(listed.map(|(name, node)| (name.clone(), *node)).collect())
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.nodes.values().map(Node::size).sum()
    }

    pub fn read(&self, number: u64, offset: u64, len: usize) -> Result<&[u8], Refusal> {
        let Node::File(file) = self.node(number)? else { return Err(Refusal::WrongKind) };
        let from = (offset as usize).min(file.current.len());
        Ok(&file.current[from..(from + len).min(file.current.len())])
    }

    pub fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.written += bytes.len() as u64;
        if self.path(number).last().is_some_and(|name| name == "db") {
            self.last = Some((number, offset));
        }
        self.file(number)?.edit(Edit::Write(offset, bytes.to_vec()));
        Ok(())
    }

    pub fn resize(&mut self, number: u64, size: u64) -> Result<(), Refusal> {
        self.file(number)?.edit(Edit::Size(size));
        Ok(())
    }

    /// Gives a new node a name.
    pub fn make(&mut self, directory: u64, name: &OsStr, node: Node) -> Result<u64, Refusal> {
        self.directory(directory)?;
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, node);
        self.change(Change { node: number, from: None, to: Some((directory, name.to_owned())) });
        Ok(number)
    }

    pub fn remove(&mut self, directory: u64, name: &OsStr) -> Result<(), Refusal> {
        let node = self.find(directory, name)?;
        if matches!(self.node(node)?, Node::Directory(held) if !held.current.is_empty()) {
            return Err(Refusal::NotEmpty);
        }
        self.change(Change { node, from: Some((directory, name.to_owned())), to: None });
        Ok(())
    }

    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Refusal> {
        let node = self.find(from.0, from.1)?;
        self.directory(to.0)?;
        let place = |(directory, name): (u64, &OsStr)| Some((directory, name.to_owned()));
        self.change(Change { node, from: place(from), to: place(to) });
        Ok(())
    }

    pub fn sync(&mut self, number: u64) -> Result<(), Refusal> {
        match self.nodes.get_mut(&number).ok_or(Refusal::NotThere)? {
            Node::File(file) => file.sync(),
            Node::Directory(_) => self.sync_names(number),
        }
        Ok(())
    }

    /// What lies in a file is still there to be read, and no later sync will make it durable: the kernel takes the pages for
    /// clean. Names can still be synced.
    pub fn fail_to_sync(&mut self, number: u64) -> Result<(), Refusal> {
        if let Node::File(file) = self.nodes.get_mut(&number).ok_or(Refusal::NotThere)? {
            file.fresh.clear();
        }
        Ok(())
    }

    /// Whether a sync of this would make anything durable.
    pub fn is_fresh(&self, number: u64) -> bool {
        match self.nodes.get(&number) {
            Some(Node::File(file)) => !file.fresh.is_empty(),
            _ => self.fresh.iter().any(|change| change.directories().any(|directory| directory == number)),
        }
    }

    /// The names from the root to this, as they are now; of what has lost its name, as far as it has one.
    pub fn path(&self, number: u64) -> Vec<String> {
        let (mut path, mut at) = (Vec::new(), number);
        while at != ROOT {
            let above = self.nodes.iter().find_map(|(number, node)| {
                let Node::Directory(directory) = node else { return None };
                let (name, _) = directory.current.iter().find(|(_, node)| **node == at)?;
                Some((*number, name))
            });
            let Some((above, name)) = above else { break };
            path.insert(0, name.to_string_lossy().into_owned());
            at = above;
        }
        path
    }

    /// A directory, and those that a rename ties to it: what is older in them must not come after it.
    fn sync_names(&mut self, directory: u64) {
        let mut tied = BTreeSet::from([directory]);
        let mut before = 0;
        while tied.len() > before {
            before = tied.len();
            for change in &self.fresh {
                if change.directories().any(|directory| tied.contains(&directory)) {
                    tied.extend(change.directories());
                }
            }
        }
        for change in std::mem::take(&mut self.fresh) {
            if change.directories().any(|directory| tied.contains(&directory)) {
                self.apply(&change, |directory| &mut directory.durable);
            } else {
                self.fresh.push(change);
            }
        }
    }

    fn change(&mut self, change: Change) {
        self.written += 1;
        self.apply(&change, |directory| &mut directory.current);
        self.fresh.push(change);
    }

    fn apply(&mut self, change: &Change, names: impl Fn(&mut Directory) -> &mut BTreeMap<OsString, u64>) {
        let Change { node, from, to } = change;
        if let Some((directory, name)) = from
            && let Some(Node::Directory(directory)) = self.nodes.get_mut(directory)
            // Where an earlier change was lost, the name may be another's.
            && names(directory).get(name) == Some(node)
        {
            names(directory).remove(name);
        }
        if let Some((directory, name)) = to
            && let Some(Node::Directory(directory)) = self.nodes.get_mut(directory)
        {
            names(directory).insert(name.clone(), *node);
        }
    }

    fn directory(&self, number: u64) -> Result<&Directory, Refusal> {
        match self.node(number)? {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Refusal::WrongKind),
        }
    }

    fn file(&mut self, number: u64) -> Result<&mut File, Refusal> {
        match self.nodes.get_mut(&number) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(Refusal::WrongKind),
            None => Err(Refusal::NotThere),
        }
    }

    /// What has a durable name, whose directory has one, and so on up to the root.
    fn reachable(&self) -> BTreeSet<u64> {
        let (mut seen, mut to_see) = (BTreeSet::new(), vec![ROOT]);
        while let Some(number) = to_see.pop() {
            if let (true, Some(Node::Directory(directory))) = (seen.insert(number), self.nodes.get(&number)) {
                to_see.extend(directory.durable.values());
            }
        }
        seen
    }

    /// Writes all of it into a directory.
    pub fn save(&self, to: &Path) -> io::Result<()> {
        self.save_directory(ROOT, to)
    }

    fn save_directory(&self, number: u64, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        for (name, node) in self.list(number).unwrap_or_default() {
            match self.nodes.get(&node) {
                Some(Node::File(file)) => fs::write(to.join(name), &file.current)?,
                Some(Node::Directory(_)) => self.save_directory(node, &to.join(name))?,
                None => {}
            }
        }
        Ok(())
    }
}

impl Node {
    pub fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.current.len() as u64,
            Self::Directory(_) => 0,
        }
    }
}

impl File {
    fn edit(&mut self, edit: Edit) {
        edit.apply(&mut self.current);
        self.fresh.push(edit);
    }

    fn sync(&mut self) {
        self.fresh.drain(..).for_each(|edit| edit.apply(&mut self.durable));
    }

    /// `hit` is where the last write of all went to, if it went here.
    fn survive(&mut self, luck: &mut Luck, hit: Option<u64>) {
        for edit in std::mem::take(&mut self.fresh) {
            match edit {
                Edit::Write(offset, bytes) => {
                    for part in luck.parts(offset, bytes.len()) {
                        let offset = offset + part.start as u64;
                        Edit::Write(offset, bytes[part].to_vec()).apply(&mut self.durable);
                    }
                }
                Edit::Size(_) if luck.keeps() => edit.apply(&mut self.durable),
                Edit::Size(_) => {}
            }
        }
        if let Some(place) = hit {
            luck.spoil(&mut self.durable, place);
        }
        self.current = self.durable.clone();
    }
}

impl Edit {
    fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Size(size) => contents.resize(*size as usize, 0),
            Self::Write(offset, bytes) => {
                let (from, to) = (*offset as usize, *offset as usize + bytes.len());
                contents.resize(contents.len().max(to), 0);
                contents[from..to].copy_from_slice(bytes);
            }
        }
    }
}

impl Change {
    fn directories(&self) -> impl Iterator<Item = u64> {
        [&self.from, &self.to].into_iter().flatten().map(|(directory, _)| *directory)
    }
}

impl Medium for Names {
    fn in_balance(&self) -> usize {
        let edits = self.nodes.values().map(|node| match node {
            Node::File(file) => file.fresh.len(),
            Node::Directory(_) => 0,
        });
        edits.sum::<usize>() + self.fresh.len()
    }

    fn survive(mut self, luck: &mut Luck) -> Self {
        let last = self.last.take();
        for change in std::mem::take(&mut self.fresh) {
            if luck.keeps() {
                self.apply(&change, |directory| &mut directory.durable);
            }
        }
        let reachable = self.reachable();
        self.nodes.retain(|number, _| reachable.contains(number));
        // In an order that is the same for the same seed.
        for number in reachable {
            match self.nodes.get_mut(&number) {
                Some(Node::File(file)) => {
                    let hit = last.filter(|(last, _)| *last == number);
                    file.survive(luck, hit.map(|(_, place)| place));
                }
                Some(Node::Directory(directory)) => directory.current = directory.durable.clone(),
                None => {}
            }
        }
        self
    }

    fn written(&self) -> u64 {
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survive(names: &Names, keep: f64) -> Names {
        names.clone().survive(&mut Luck::new(fastrand::Rng::with_seed(1), keep))
    }

    fn listed(names: &Names, directory: u64) -> Vec<String> {
        names.list(directory).unwrap().into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
    }

    fn make(names: &mut Names, directory: u64, name: &str, node: Node) -> u64 {
        names.make(directory, name.as_ref(), node).unwrap()
    }

    #[test]
    fn a_file_needs_its_own_sync_and_that_of_its_directory() {
        let mut names = Names::new();
        let file = make(&mut names, ROOT, "a", Node::File(File::default()));
        names.write(file, 0, b"something").unwrap();
        names.sync(file).unwrap();
        assert!(listed(&survive(&names, 0.0), ROOT).is_empty(), "a name without a sync of its directory");
        names.sync(ROOT).unwrap();
        assert_eq!(survive(&names, 0.0).read(file, 0, 99).unwrap(), b"something");
        names.write(file, 0, b"another").unwrap();
        assert_eq!(names.in_balance(), 1);
        assert_eq!(survive(&names, 0.0).read(file, 0, 99).unwrap(), b"something");
        assert_eq!(names.read(file, 5, 99).unwrap(), b"erng");
    }

    #[test]
    fn what_a_sync_has_failed_to_write_no_later_one_writes() {
        let mut names = Names::new();
        let file = make(&mut names, ROOT, "a", Node::File(File::default()));
        names.sync(ROOT).unwrap();
        names.write(file, 0, b"one").unwrap();
        names.fail_to_sync(file).unwrap();
        names.write(file, 4, b"two").unwrap();
        names.sync(file).unwrap();
        assert_eq!(names.read(file, 0, 99).unwrap(), b"one\0two");
        assert_eq!(survive(&names, 1.0).read(file, 0, 99).unwrap(), b"\0\0\0\0two");
    }

    #[test]
    fn what_lies_in_a_directory_without_a_durable_name_is_gone_with_it() {
        let mut names = Names::new();
        let above = make(&mut names, ROOT, "above", Node::Directory(Directory::default()));
        let below = make(&mut names, above, "below", Node::Directory(Directory::default()));
        let file = make(&mut names, below, "a", Node::File(File::default()));
        assert_eq!(names.path(file), ["above", "below", "a"]);
        names.sync(below).unwrap();
        names.sync(above).unwrap();
        assert!(listed(&survive(&names, 0.0), ROOT).is_empty());
        names.sync(ROOT).unwrap();
        assert_eq!(listed(&survive(&names, 0.0), below), ["a"]);
    }

    #[test]
    fn a_rename_is_kept_in_both_directories_or_in_neither_and_takes_what_is_older_along() {
        let mut names = Names::new();
        let [left, right] =
            ["left", "right"].map(|name| make(&mut names, ROOT, name, Node::Directory(Directory::default())));
        let old = make(&mut names, right, "a", Node::File(File::default()));
        let new = make(&mut names, left, "a", Node::File(File::default()));
        names.sync(ROOT).unwrap();
        names.sync(left).unwrap();
        names.rename((left, "a".as_ref()), (right, "a".as_ref())).unwrap();
        let lost = survive(&names, 0.0);
        assert_eq!((listed(&lost, left), listed(&lost, right)), (vec!["a".to_owned()], vec![]));
        names.sync(left).unwrap();
        let kept = survive(&names, 0.0);
        assert_eq!((listed(&kept, left), kept.find(right, "a".as_ref())), (vec![], Ok(new)));
        assert!(kept.node(old).is_err(), "the one that was replaced has no name");
    }

    #[test]
    fn only_what_is_empty_is_removed() {
        let mut names = Names::new();
        let held = make(&mut names, ROOT, "held", Node::Directory(Directory::default()));
        make(&mut names, held, "a", Node::File(File::default()));
        assert_eq!(names.remove(ROOT, "held".as_ref()), Err(Refusal::NotEmpty));
        names.remove(held, "a".as_ref()).unwrap();
        names.remove(ROOT, "held".as_ref()).unwrap();
        assert_eq!(names.remove(ROOT, "held".as_ref()), Err(Refusal::NotThere));
    }
}

//! Small files of the data directory in which a source remembers something for the next start.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Puts a file in the place of the one that is there: that or this is found after a crash, and nothing in between. This
/// one from when it returns: a sensor that was told that its name is known does not tell it again.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    // A name without a directory is that of a file in the one where the program was started.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(dir)?.sync_all()
}

/// Where it is written first. Marked in front: behind, it could be the file of a source whose name ends so.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("new-{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_whose_names_differ_behind_a_dot_share_no_file() {
        let dir = std::env::temp_dir().join(format!("tidegate-remembered-{:08x}", fastrand::u32(..)));
        fs::create_dir(&dir).unwrap();
        let names = ["a", "a.b", "a.new", "a.b.new", "new-a"].map(|name| dir.join(format!("filters-{name}")));
        for name in &names {
            // One is in the middle of writing its own.
            fs::write(beside(name), "half").unwrap();
        }
        for (n, name) in names.iter().enumerate() {
            write(name, n.to_string().as_bytes()).unwrap();
        }
        for (n, name) in names.iter().enumerate() {
            assert_eq!(fs::read_to_string(name).unwrap(), n.to_string());
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), names.len());
        fs::remove_dir_all(dir).unwrap();
    }
}

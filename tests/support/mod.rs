//! What several tests need.

pub mod binary;
pub mod disk;
pub mod gateway;
pub mod lossy;
pub mod mosquitto;
pub mod moto;
pub mod publisher;
pub mod readings;
pub mod scene;
pub mod source;

use std::path::{Path, PathBuf};

/// A directory of its own, gone with the test.
pub struct TempDir {
    pub path: PathBuf,
}

impl TempDir {
    pub fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tidegate-{name}-{}-{:08x}", std::process::id(), fastrand::u32(..)));
        std::fs::create_dir_all(&path).unwrap();
        Self { path }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Copies a directory and all that is in it.
pub fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() { copy_all(&path, &to) } else { std::fs::copy(&path, &to).map(drop).unwrap() }
    }
}

//! A directory for what is mounted and made, which goes with the run.

use std::path::{Path, PathBuf};

pub struct Place(PathBuf);

impl Place {
    pub fn new() -> std::io::Result<Self> {
        let name = format!("tidegate-power-cut-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is in a place made for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! What several tests need.

pub mod binary;
pub mod gateway;
pub mod lossy;
pub mod mosquitto;
pub mod moto;
pub mod publisher;
pub mod readings;
pub mod scene;
pub mod source;

use std::path::PathBuf;

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

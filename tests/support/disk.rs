//! A small disk of one's own: a real ext4 on a loop device, to be filled and to fail.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct SmallDisk {
    image: PathBuf,
    pub root: PathBuf,
}

impl SmallDisk {
    /// `None` where this user may not mount anything. Files `image` and `root` are made below `place`.
    pub fn new(place: &Path, megabytes: u64) -> Option<Self> {
        let disk = Self { image: place.join("image"), root: place.join("disk") };
        fs::create_dir_all(&disk.root).unwrap();
        File::create(&disk.image).and_then(|image| image.set_len(megabytes << 20)).unwrap();
        // Without blocks for root alone, which would see another disk than its users.
        let made = Command::new("/sbin/mkfs.ext4").args(["-q", "-m", "0"]).arg(&disk.image).status();
        if made.is_ok_and(|made| made.success()) && disk.mount() {
            return Some(disk);
        }
        assert!(std::env::var_os("CI").is_none(), "CI is root, and has mkfs.ext4 (e2fsprogs)");
        eprintln!("SKIPPED: only root may mount a small disk, made by mkfs.ext4 (e2fsprogs)");
        None
    }

    fn mount(&self) -> bool {
        let mounted = Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.root).status();
        mounted.is_ok_and(|mounted| mounted.success())
    }

    /// Takes every block that is left.
    pub fn fill(&self) {
        let file = File::create(self.root.join("filler")).unwrap();
        // Where it is more than there is, ext4 keeps what it came to.
        let more_than_all = rustix::fs::statvfs(&self.root).map(|disk| disk.f_blocks * disk.f_frsize).unwrap();
        let taken = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, more_than_all);
        assert_eq!(taken, Err(rustix::io::Errno::NOSPC));
        file.sync_all().unwrap();
    }

    pub fn free(&self) {
        fs::remove_file(self.root.join("filler")).unwrap();
    }

    /// What the kernel does with an ext4 whose journal it can no longer write: from now on it is only read.
    pub fn fail(&self) {
        let failed = Command::new("mount").args(["-o", "remount,abort"]).arg(&self.root).status();
        assert!(failed.unwrap().success());
    }

    /// Taken out and put in again, as after a reboot.
    pub fn remount(&self) {
        self.unmount();
        assert!(self.mount(), "it cannot be mounted again");
    }

    fn unmount(&self) {
        assert!(Command::new("umount").arg(&self.root).status().unwrap().success(), "somebody still uses it");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.root).status();
    }
}

//! How a medium gets under a directory, and away from there again.
//!
//! ```text
//!   ext4:    gateway ─▶ ext4 ─▶ loop device ─▶ disk.img (FUSE) ─▶ platter
//!   strict:  gateway ─▶ files (FUSE) ─▶ names
//! ```
//!
//! Whoever goes down waits for nothing but the kernel: the names are detached at once, and the thread that answers ends
//! when the last who used them is gone.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use fuser::{Config, Filesystem, Session, SessionACL};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::disk::{self, Disk};
use crate::names::Names;
use crate::platter::Platter;
use crate::power::{Medium, Power};
use crate::strict::Strict;

/// Of the simulated disk.
const DISK_BYTES: u64 = 256 << 20;

/// One kind of ground.
pub trait Mount {
    type Medium: Medium;
    /// Whether it knows in which log something is synced.
    const KNOWS_LOGS: bool;

    /// A medium that nobody has used yet.
    fn blank(&self) -> Self::Medium;

    /// Mounts the medium below a directory that is empty.
    fn up(&self, power: &Arc<Power<Self::Medium>>, below: &Path) -> anyhow::Result<Mounted>;

    /// Writes the medium down for a person to look at, and says how.
    fn keep(&self, medium: &Self::Medium, dir: &Path) -> io::Result<String>;
}

/// What is mounted, and where.
pub struct Mounted {
    pub root: PathBuf,
    /// Those on top first.
    points: Vec<PathBuf>,
    answering: Option<JoinHandle<io::Result<()>>>,
}

impl Mounted {
    /// A file system of ours.
    fn new(files: impl Filesystem, at: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&at)?;
        let device = File::options().read(true).write(true).open("/dev/fuse").context("cannot open /dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options)?;
        rustix::mount::mount("power-cut", &at, "fuse", MountFlags::NODEV | MountFlags::NOSUID, options.as_c_str())
            .with_context(|| format!("cannot mount on {}", at.display()))?;
        let mut mounted = Self { root: at.clone(), points: vec![at], answering: None };
        let session = Session::from_fd(files, device.into(), SessionACL::Owner, Config::default())?;
        mounted.answering = Some(std::thread::Builder::new().name("medium".to_owned()).spawn(move || session.run())?);
        Ok(mounted)
    }

    /// An ext4 in a file of this one.
    fn with_ext4(mut self, image: &str, at: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&at)?;
        let image = self.root.join(image);
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop,noinit_itable"]).arg(image).arg(&at))?;
        self.points.insert(0, at.clone());
        self.root = at;
        Ok(self)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for point in &self.points {
            // One that is not there any more is as good as gone.
            let _ = rustix::mount::unmount(point, UnmountFlags::DETACH);
        }
        // How it ended is told to nobody: it has ended.
        let _ = self.answering.take().map(JoinHandle::join);
    }
}

/// A real ext4 on a disk that loses what was not flushed.
pub struct Ext4 {
    formatted: Platter,
}

impl Ext4 {
    /// Formats a disk once, for all that come; `dir` is for that only.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        let image = dir.join("formatted.img");
        File::create(&image)?.set_len(DISK_BYTES)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard"]).arg(&image))?;
        let formatted = Platter::load(&image)?;
        fs::remove_file(&image)?;
        Ok(Self { formatted })
    }
}

impl Mount for Ext4 {
    type Medium = Platter;
    const KNOWS_LOGS: bool = false;

    fn blank(&self) -> Platter {
        self.formatted.clone()
    }

    fn up(&self, power: &Arc<Power<Platter>>, below: &Path) -> anyhow::Result<Mounted> {
        Mounted::new(Disk(power.clone()), below.join("disk"))?.with_ext4(disk::NAME, below.join("ext4"))
    }

    fn keep(&self, medium: &Platter, dir: &Path) -> io::Result<String> {
        let image = dir.join(disk::NAME);
        medium.save(&image)?;
        Ok(format!("mount -o loop {} SOMEWHERE", image.display()))
    }
}

/// Files that keep what POSIX promises, and no more.
pub struct StrictFiles;

impl Mount for StrictFiles {
    type Medium = Names;
    const KNOWS_LOGS: bool = true;

    fn blank(&self) -> Names {
        Names::new()
    }

    fn up(&self, power: &Arc<Power<Names>>, below: &Path) -> anyhow::Result<Mounted> {
        Mounted::new(Strict::new(power.clone()), below.join("files"))
    }

    fn keep(&self, medium: &Names, dir: &Path) -> io::Result<String> {
        let to = dir.join("files");
        medium.save(&to)?;
        Ok(format!("ls -R {}", to.display()))
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let ran = command.output().with_context(|| format!("cannot run {program}"))?;
    if !ran.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&ran.stderr).trim());
    }
    Ok(())
}

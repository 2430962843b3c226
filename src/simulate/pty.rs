//! A pseudo-terminal: the wire between a simulated sensor and the gateway, which opens the other end by its path.
//!
//! Neither end is inherited by a process that is started meanwhile, so dropping it is unplugging it. The gateway's end is
//! held open here as well: a gateway that is away does not end the sensor's, as it would not end a UART.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::io::unix::AsyncFd;
use tokio_serial::SerialStream;

use crate::config::{FlowControl, Line, Parity};
use crate::source::port;

/// As a pseudo-terminal has no speed, any will do.
const LINE: Line =
    Line { baud: 115_200, data_bits: 8, parity: Parity::None, stop_bits: 1, flow_control: FlowControl::None };

pub struct Pty {
    ours: AsyncFd<OwnedFd>,
    _theirs: SerialStream,
    /// Where the other end is found: goes before the end does, whose own path is soon another's.
    link: PathBuf,
}

impl Pty {
    /// A new one, whose other end is found at `link`.
    pub fn plug(link: &Path) -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        // As the gateway opens it, so that the line is raw before it comes and echoes nothing.
        let (theirs, _) = port::open(&name.to_string_lossy(), &LINE).map_err(io::Error::other)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        #[expect(deprecated, reason = "an owned descriptor is what it wants; its successor takes any, and is unsafe")]
        let ours = AsyncFd::new(ours)?;
        // Never half there: a link beside it takes its place.
        let beside = link.with_added_extension("new");
        let _ = std::fs::remove_file(&beside);
        std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(name.as_bytes()), &beside)?;
        std::fs::rename(&beside, link)?;
        Ok(Self { ours, _theirs: theirs, link: link.to_owned() })
    }

    /// Waits for bytes from the gateway.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.ours.readable().await?;
            if let Ok(read) = ready.try_io(|ours| Ok(rustix::io::read(ours, &mut *buffer)?)) {
                return read;
            }
        }
    }

    /// Waits until the line has taken some of it.
    pub async fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.ours.writable().await?;
            if let Ok(written) = ready.try_io(|ours| Ok(rustix::io::write(ours, bytes)?)) {
                return written;
            }
        }
    }

    /// Waits until the line has taken all of it.
    pub async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[self.write_some(bytes).await?..];
        }
        Ok(())
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // Gone already where its directory is.
        let _ = std::fs::remove_file(&self.link);
    }
}

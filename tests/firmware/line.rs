//! A serial port, raw.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

pub struct Line(File);

impl Line {
    pub fn open(port: &Path) -> Self {
        let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits() as i32;
        let file = File::options().read(true).write(true).custom_flags(flags).open(port).unwrap();
        let mut settings = tcgetattr(&file).unwrap();
        settings.make_raw();
        tcsetattr(&file, OptionalActions::Now, &settings).unwrap();
        Self(file)
    }

    /// What came, as soon as something did; nothing once the moment has passed.
    pub fn read(&mut self, until: Instant) -> Vec<u8> {
        let mut bytes = [0; 4096];
        loop {
            match self.0.read(&mut bytes) {
                Ok(0) => panic!("the line was cut"),
                Ok(length) => return bytes[..length].to_vec(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("the line was cut: {error}"),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Vec::new();
            }
            let left = Timespec::try_from(left).unwrap();
            poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)).unwrap();
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }
}

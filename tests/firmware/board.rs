//! A board with a program on it, in an emulator: it is powered on, told things, reset and unplugged.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::tools;
use crate::support::TempDir;

/// The longest an emulator is waited for.
pub const PATIENCE: Duration = Duration::from_secs(15);

pub struct Board {
    /// The name of its serial port, there while the board has power.
    pub port: PathBuf,
    dir: TempDir,
    kind: Kind,
    program: PathBuf,
    running: Option<Running>,
}

enum Kind {
    Avr { runner: PathBuf },
    CortexM,
}

struct Running {
    child: Child,
    said: Receiver<String>,
}

impl Board {
    /// An Arduino Uno, powered on.
    pub fn uno(program: &Path) -> Self {
        let runner = tools::make("tools/avr-runner", "avr-runner", &[]).join("avr-runner");
        Self::new(Kind::Avr { runner }, program)
    }

    /// A board with an LM3S6965, powered on.
    pub fn cortex_m(program: &Path) -> Self {
        Self::new(Kind::CortexM, program)
    }

    fn new(kind: Kind, program: &Path) -> Self {
        let dir = TempDir::new("board");
        let port = dir.path.join("port");
        let mut board = Self { port, dir, kind, program: program.to_owned(), running: None };
        board.plug_in();
        board
    }

    /// Power comes, and the port is there when this returns.
    pub fn plug_in(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let complaints = File::create(self.dir.path.join("stderr")).unwrap();
        let mut child = self.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(complaints).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, said) = sync_channel(100);
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        self.running = Some(Running { child, said });
        match self.kind {
            Kind::Avr { .. } => drop(self.hear("pty ")),
            Kind::CortexM => {
                let line = self.hear("char device redirected to ");
                let terminal = line.split(' ').find(|word| word.starts_with("/dev/")).unwrap();
                let beside = self.dir.path.join("port.new");
                symlink(terminal, &beside).unwrap();
                std::fs::rename(beside, &self.port).unwrap();
            }
        }
    }

    fn command(&self) -> Command {
        match &self.kind {
            Kind::Avr { runner } => {
                let mut command = Command::new(runner);
                command.arg("-l").arg(&self.port).arg("-e").arg(self.dir.path.join("eeprom")).arg(&self.program);
                command
            }
            Kind::CortexM => {
                let mut command = Command::new("qemu-system-arm");
                command
                    .args(["-M", "lm3s6965evb", "-display", "none", "-monitor", "stdio"])
                    .args(["-chardev", "pty,id=line", "-serial", "chardev:line"])
                    // The SRAM of a chip comes up with a pattern of its own each time, that of the emulator with zeros.
                    .args(["-device", &format!("loader,addr=0x2000fff8,data-len=4,data={:#x}", fastrand::u32(..))])
                    .arg("-kernel")
                    .arg(&self.program);
                command
            }
        }
    }

    /// Waits for a line with these words.
    fn hear(&mut self, words: &str) -> String {
        loop {
            let line = self.running.as_mut().unwrap().said.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| {
                let complaints = std::fs::read_to_string(self.dir.path.join("stderr")).unwrap();
                panic!("the emulator never said {words:?}: {error}; {complaints}")
            });
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Tells the emulator something, and returns its answer, if it is one that answers.
    fn tell(&mut self, command: &str) -> String {
        let input = self.running.as_mut().unwrap().child.stdin.as_mut().unwrap();
        writeln!(input, "{command}").unwrap();
        match self.kind {
            Kind::Avr { .. } => self.hear("ok"),
            Kind::CortexM => String::new(),
        }
    }

    /// Puts a voltage on a pin of the Uno.
    pub fn voltage(&mut self, pin: u8, millivolts: u16) {
        self.tell(&format!("adc {pin} {millivolts}"));
    }

    /// Puts bytes on the Uno's line that it never sent.
    pub fn noise(&mut self, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.tell(&format!("noise {hex}"));
    }

    /// How many bytes the Uno sent that nobody fetched in time.
    pub fn lost(&mut self) -> u64 {
        self.tell("lost").strip_prefix("ok ").unwrap().parse().unwrap()
    }

    /// Pulls the reset pin.
    pub fn reset(&mut self) {
        self.tell(match self.kind {
            Kind::Avr { .. } => "reset",
            Kind::CortexM => "system_reset",
        });
    }

    /// SIGKILL: the power is gone and so is the port. Its name goes first: what it stands for is soon the terminal of
    /// another board, which a gateway would take for this one.
    pub fn unplug(&mut self) {
        let never_came = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
        assert!(std::fs::remove_file(&self.port).as_ref().err().is_none_or(never_came));
        let mut running = self.running.take().unwrap();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.unplug();
        }
    }
}

//! A real broker: Mosquitto, on a free port of its own, ended with the test.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::TempDir;
use super::gateway::{PATIENCE, free_address};

pub struct Mosquitto {
    pub port: u16,
    pub dir: TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    /// Stock settings but for what the lines say; everybody may come in unless they say otherwise.
    pub fn start(lines: &str) -> Self {
        Self::start_in(TempDir::new("mosquitto"), lines)
    }

    /// The same, in a directory that holds what the lines name.
    pub fn start_in(dir: TempDir, lines: &str) -> Self {
        let port = free_address().port();
        let anonymous = if lines.contains("allow_anonymous") { "" } else { "allow_anonymous true\n" };
        let text = format!(
            "listener {port} 127.0.0.1\n{anonymous}user root\nlog_dest file {}\nlog_type all\nconnection_messages true\n{lines}\n",
            dir.path.join("log").display()
        );
        std::fs::write(dir.path.join("mosquitto.conf"), text).unwrap();
        let mut broker = Self { port, dir, child: None };
        broker.restart();
        broker
    }

    /// Starts it again, on the same port.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let binary =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|path| PathBuf::from(path).exists());
        let child = Command::new(binary.unwrap_or("mosquitto"))
            .arg("-c")
            .arg(self.dir.path.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is installed by `bash tests/run`");
        self.child = Some(child);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "mosquitto does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path.join("log")).unwrap_or_default()
    }

    /// The lines of its log that hold all of these words.
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        let log = self.log();
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }

    /// Publishes one message with `mosquitto_pub`, and returns once the broker has confirmed it.
    pub fn publish(&self, topic: &str, payload: &[u8], more: &[&str]) {
        self.publisher(&[&["-t", topic, "-s"], more].concat(), payload);
    }

    /// Publishes a message a line, as fast as the broker takes them.
    pub fn publish_lines(&self, topic: &str, lines: &str) {
        self.publisher(&["-t", topic, "-l"], lines.as_bytes());
    }

    fn publisher(&self, words: &[&str], input: &[u8]) {
        let mut publisher = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-q", "1"])
            .args(words)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub is installed by `bash tests/run`");
        publisher.stdin.take().unwrap().write_all(input).unwrap();
        let ended = publisher.wait_with_output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

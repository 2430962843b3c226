//! A real broker: Mosquitto, on a free port of its own, ended with the test.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

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
        let logged = if lines.contains("log_type") { "" } else { "log_type all\n" };
        let text = format!(
            "listener {port} 127.0.0.1\n{anonymous}user root\nlog_dest file {}\n{logged}connection_messages true\n{lines}\n",
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

    /// SIGTERM: it saves what it has, if it is told to.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        child.wait().unwrap();
    }

    /// SIGHUP: it reads its passwords again.
    pub fn reload(&self) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), Signal::HUP).unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path.join("log")).unwrap_or_default()
    }

    /// The lines of its log that hold all of these words.
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        let log = self.log();
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }

    /// Waits until its log has so many lines that hold all of these words.
    pub async fn says(&self, count: usize, words: &[&str]) {
        let until = Instant::now() + PATIENCE;
        while self.lines(words).len() < count {
            let found = self.lines(words).len();
            assert!(Instant::now() < until, "the broker's log has {found} lines of {count} with {words:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asserts that every PUBACK of this client names a message that was handed out on the same connection, and returns
    /// how many there were.
    pub fn pubacks(&self, client: &str) -> usize {
        let (joined, sent) = (format!(" as {client} ("), format!("Sending PUBLISH to {client} ("));
        let acknowledged = format!("Received PUBACK from {client} (Mid: ");
        let (mut open, mut pubacks) = (HashSet::new(), 0);
        for line in self.log().lines() {
            if line.contains("New client connected") && line.contains(&joined) {
                open.clear();
            } else if let Some((_, rest)) = line.split_once(&sent) {
                open.extend(rest.split(", ").find_map(|part| part.strip_prefix('m')).map(str::to_owned));
            } else if let Some((_, rest)) = line.split_once(&acknowledged) {
                let id = rest.split(',').next().unwrap();
                assert!(open.remove(id), "acknowledged on a connection it did not come by: {line}");
                pubacks += 1;
            }
        }
        pubacks
    }

    /// Connects as this client, so that the broker throws out whoever is connected under the name, and is gone again.
    /// The session stays, with what waits in it for a PUBACK.
    pub fn take_over(&self, client: &str) {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // MQTT 3.1.1, no clean session, a keep-alive of 60 s.
        let mut packet = vec![0x10, 12 + client.len() as u8, 0, 4];
        packet.extend(b"MQTT\x04\x00\x00\x3c\x00");
        packet.push(client.len() as u8);
        packet.extend(client.as_bytes());
        connection.write_all(&packet).unwrap();
        let mut answer = [0; 4];
        connection.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0x20, 2, 1, 0], "let in, to a session that was there");
    }

    /// Publishes one message with `mosquitto_pub`, and returns once the broker has confirmed it.
    pub fn publish(&self, topic: &str, payload: &[u8], more: &[&str]) {
        self.publisher(&[&["-t", topic, "-s"], more].concat(), payload);
    }

    /// Publishes a message a line, as fast as the broker takes them.
    pub fn publish_lines(&self, topic: &str, lines: &str) {
        self.publisher(&["-t", topic, "-l"], lines.as_bytes());
    }

    /// Publishes so many messages on one connection, one every `pause`.
    pub fn publish_paced(&self, topic: &str, count: u32, pause: Duration) {
        let mut publisher = self.spawn_publisher(&["-t", topic, "-l"]);
        let mut input = publisher.stdin.take().unwrap();
        for n in 0..count {
            writeln!(input, "{{\"n\":{n}}}").unwrap();
            std::thread::sleep(pause);
        }
        drop(input);
        let ended = publisher.wait_with_output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }

    fn spawn_publisher(&self, words: &[&str]) -> Child {
        Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-q", "1"])
            .args(words)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub is installed by `bash tests/run`")
    }

    fn publisher(&self, words: &[&str], input: &[u8]) {
        let mut publisher = self.spawn_publisher(words);
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

//! The ESP32's program on the unix port of `MicroPython`: by wire, and over TLS to a real broker.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::board::PATIENCE;
use super::peer::{Peer, Reading};
use super::{sensor, tools};
use crate::support::TempDir;
use crate::support::mosquitto::Mosquitto;

/// The interpreter; `None`, with the reason printed, where it is not installed; never in CI.
fn interpreter() -> Option<PathBuf> {
    let found = std::env::var_os("TIDEGATE_TEST_MICROPYTHON").map(PathBuf::from).filter(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "micropython is missing");
        eprintln!("SKIPPED: no micropython; `bash tests/run` installs it");
    }
    found
}

/// The program, running with these settings.
pub struct Script {
    pub dir: TempDir,
    interpreter: PathBuf,
    child: Option<Child>,
}

impl Script {
    pub fn new(dir: TempDir, mut settings: Json) -> Option<Self> {
        let interpreter = interpreter()?;
        settings["mv_file"] = json!(dir.path.join("mv"));
        std::fs::write(dir.path.join("settings.json"), settings.to_string()).unwrap();
        let mut script = Self { dir, interpreter, child: None };
        script.voltage(712);
        script.start();
        Some(script)
    }

    pub fn start(&mut self) {
        let said = File::create(self.dir.path.join("said")).unwrap();
        let child = Command::new(&self.interpreter)
            .arg(tools::example("esp32-micropython").join("main.py"))
            .arg(self.dir.path.join("settings.json"))
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn();
        self.child = Some(child.unwrap());
    }

    pub fn voltage(&self, millivolts: u16) {
        let (beside, file) = (self.dir.path.join("mv.new"), self.dir.path.join("mv"));
        std::fs::write(&beside, millivolts.to_string()).unwrap();
        std::fs::rename(beside, file).unwrap();
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(self.dir.path.join("said")).unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("the program said: {}", self.said());
        }
    }
}

/// Two serial ports and a wire between them.
pub struct Wire {
    pub ends: [PathBuf; 2],
    child: Child,
}

impl Wire {
    pub fn new(dir: &TempDir) -> Self {
        let ends = ["sensor", "gateway"].map(|name| dir.path.join(name));
        let words = ends.clone().map(|end| format!("pty,raw,echo=0,link={}", end.display()));
        let child = Command::new("socat").args(words).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while !ends.iter().all(|end| end.exists()) {
            assert!(Instant::now() < until, "socat makes no terminals");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { ends, child }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The program with a wire to where a gateway would be.
pub fn by_wire(period_ms: u32) -> Option<(Script, Wire)> {
    if !tools::there(&["socat"]) {
        return None;
    }
    let dir = TempDir::new("wire");
    let wire = Wire::new(&dir);
    let settings =
        json!({"device": "esp32-1", "period_ms": period_ms, "serial": {"port": wire.ends[0], "resend_ms": 200}});
    Some((Script::new(dir, settings)?, wire))
}

#[test]
fn frames_of_micropython_are_those_of_the_vectors() {
    let Some(interpreter) = interpreter() else { return };
    let test = tools::example("esp32-micropython").join("test/frames_test.py");
    let said = tools::run(Command::new(interpreter).arg(test).arg(tools::vectors()));
    assert!(said.ends_with(" vectors\n"), "{said}");
}

#[test]
fn the_esp32_greets_until_it_is_acknowledged() {
    let Some((_script, wire)) = by_wire(10) else { return };
    sensor::greets_until_it_is_acknowledged(&wire.ends[1], "esp32-1");
}

#[test]
fn the_esp32_sends_again_until_it_is_acknowledged() {
    let Some((_script, wire)) = by_wire(10) else { return };
    sensor::sends_again_until_it_is_acknowledged(&wire.ends[1]);
}

#[test]
fn the_esp32_survives_noise() {
    let Some((_script, wire)) = by_wire(10) else { return };
    sensor::survives_noise(&wire.ends[1]);
}

#[test]
fn the_esp32_tells_what_it_dropped() {
    let Some((_script, wire)) = by_wire(10) else { return };
    sensor::tells_what_it_dropped(&wire.ends[1]);
}

#[test]
fn the_esp32_sends_the_voltage_of_its_pin() {
    let Some((script, wire)) = by_wire(10) else { return };
    let mut peer = Peer::attach(&wire.ends[1]);
    peer.greet();
    for fed in [0, 712, 3_300] {
        script.voltage(fed);
        let until = Instant::now() + PATIENCE;
        loop {
            let (seq, reading) = peer.reading();
            peer.acknowledge(seq);
            if reading.mv == u64::from(fed) {
                break;
            }
            assert!(Instant::now() < until, "{fed} mV were put on the pin, not {reading:?}");
        }
    }
}

/// A broker's certificate of a CA, and another CA's.
pub fn certificates() -> TempDir {
    let dir = TempDir::new("ca");
    let openssl = |words: &str| tools::run(Command::new("openssl").args(words.split(' ')).current_dir(&dir.path));
    for name in ["ca", "stranger"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
        openssl(&format!("x509 -in {name}.pem -outform DER -out {name}.der"));
    }
    std::fs::write(dir.path.join("san"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout broker.key -out broker.csr",
    );
    openssl("x509 -req -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile san -in broker.csr -out broker.pem");
    dir
}

/// A broker with a listener for TLS, and one without; the port of the first.
pub fn tls_broker() -> (Mosquitto, u16) {
    let dir = certificates();
    let port = crate::support::gateway::free_address().port();
    let at = dir.path.display();
    let lines = format!(
        "max_queued_messages 0\nlistener {port} 127.0.0.1\nallow_anonymous true\ncafile {at}/ca.pem\ncertfile {at}/broker.pem\nkeyfile {at}/broker.key\n"
    );
    (Mosquitto::start_in(dir, &lines), port)
}

/// The program, with TLS to a broker that has to show a certificate of this CA.
pub fn by_tls(broker: &Mosquitto, port: u16, ca: &str, device: &str) -> Option<Script> {
    let ca_file = broker.dir.path.join(ca);
    let at = json!({"host": "127.0.0.1", "port": port, "name": "localhost", "ca_file": ca_file});
    Script::new(TempDir::new("tls"), json!({"device": device, "period_ms": 10, "mqtt": at, "slots": 5000}))
}

/// What `mosquitto_sub` hears.
struct Subscriber {
    child: Child,
    lines: Receiver<String>,
}

impl Subscriber {
    fn new(broker: &Mosquitto) -> Self {
        let mut child = Command::new("mosquitto_sub")
            .args(["-p", &broker.port.to_string(), "-q", "1", "-i", "listener", "-c", "-v", "-t", "sensors/#"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = sync_channel(1000);
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let until = Instant::now() + PATIENCE;
        while broker.lines(&["Sending SUBACK to listener"]).is_empty() {
            assert!(Instant::now() < until, "it does not subscribe: {}", broker.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, lines }
    }

    fn reading(&self) -> Reading {
        let line = self.lines.recv_timeout(PATIENCE).expect("the broker is silent");
        Reading::of(line.strip_prefix("sensors/esp32-1/telemetry ").unwrap().as_bytes())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn readings_go_to_a_broker_over_tls_and_none_is_lost_when_the_connection_is() {
    if interpreter().is_none() {
        return;
    }
    let (broker, port) = tls_broker();
    let subscriber = Subscriber::new(&broker);
    let script = by_tls(&broker, port, "ca.der", "esp32-1").unwrap();
    let mut seen = BTreeSet::new();
    for breaks in 1..=5 {
        while seen.len() < 40 * breaks {
            let reading = subscriber.reading();
            assert_eq!((reading.mv, reading.dropped), (712, 0));
            seen.insert(reading.n);
        }
        // Under the name of the sensor, which the broker throws out.
        broker.take_over("esp32-1");
    }
    let until = Instant::now() + PATIENCE;
    while seen.last().unwrap() + 1 != seen.len() as u64 || seen.len() < 300 {
        assert!(Instant::now() < until, "missing of {seen:?}");
        seen.insert(subscriber.reading().n);
    }
    assert!(broker.lines(&["New client connected", "esp32-1"]).len() > 5, "{}", script.said());
}

#[test]
fn a_broker_that_cannot_show_a_certificate_gets_nothing() {
    if interpreter().is_none() {
        return;
    }
    let (broker, port) = tls_broker();
    let script = by_tls(&broker, port, "stranger.der", "esp32-1").unwrap();
    let until = Instant::now() + PATIENCE;
    while !script.said().contains("not correctly signed by the trusted CA") {
        assert!(Instant::now() < until, "it said {:?}; {}", script.said(), broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(broker.lines(&["esp32-1"]), Vec::<String>::new());
}

/// A packet of MQTT: its first byte, and what follows the length.
fn packet(connection: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    connection.read_exact(&mut head).unwrap();
    assert!(head[1] < 0x80, "no packet of the program is so long");
    let mut body = vec![0; usize::from(head[1])];
    connection.read_exact(&mut body).unwrap();
    (head[0], body)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (mut connection, _) = listener.accept().unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(packet(&mut connection).0, 0x10, "CONNECT");
    connection.write_all(&[0x20, 2, 1, 0]).unwrap();
    connection
}

#[test]
fn a_message_without_a_puback_goes_again_on_the_next_connection_as_it_was_but_for_dup() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = json!({"host": "127.0.0.1", "port": listener.local_addr().unwrap().port()});
    let Some(_script) = Script::new(TempDir::new("dup"), json!({"device": "esp32-1", "period_ms": 10, "mqtt": at}))
    else {
        return;
    };
    let mut connection = accept(&listener);
    let sent: Vec<_> = (0..5).map(|_| packet(&mut connection)).collect();
    assert!(sent.iter().all(|(head, _)| *head == 0x32), "QoS 1: {sent:?}");
    // After the topic, the identifier: the third is acknowledged, and no other.
    let identifier = |body: &[u8]| -> [u8; 2] { body[2 + usize::from(body[1])..][..2].try_into().unwrap() };
    let [high, low] = identifier(&sent[2].1);
    connection.write_all(&[0x40, 2, high, low]).unwrap();
    drop(connection);

    let mut connection = accept(&listener);
    let mut again = Vec::new();
    while again.len() < 5 {
        let (head, body) = packet(&mut connection);
        if sent.iter().any(|(_, before)| *before == body) {
            assert_eq!(head, 0x3A, "DUP");
            again.push(body.clone());
        } else {
            // What was never heard may have been sent all the same.
            assert!(head == 0x32 || head == 0x3A);
        }
        let [high, low] = identifier(&body);
        connection.write_all(&[0x40, 2, high, low]).unwrap();
        if again.len() == 4 && head == 0x32 {
            break;
        }
    }
    let left: Vec<_> = [0, 1, 3, 4].map(|at: usize| sent[at].1.clone()).into();
    assert!(again == left || again.len() == 5, "{again:?}");
}

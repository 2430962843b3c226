//! A serial source named `wire` on a port of its own; the test is both the sensor and the writer.

use std::path::PathBuf;
use std::time::Duration;

use tidegate::simulate::pty::Pty;
use tidegate::simulate::serial::firmware::encode;
use tidegate::source::{Item, State};
use tidegate_wire::frame::{Deframer, Frame, Hello, Kind};

use crate::support::gateway::PATIENCE;
pub use crate::support::source::Rig;

/// How long nothing has to come before nothing is coming.
const QUIET: Duration = Duration::from_millis(150);

impl Rig {
    /// With these keys, and an inbox for so many messages. Its port is `port` in the rig's directory, or what `keys` say
    /// of it.
    pub fn serial(name: &str, keys: &str, messages: usize) -> Self {
        let port = if keys.contains("port =") { "" } else { "port = \"DIR/port\"\n" };
        Self::new(name, &format!("type = \"serial\"\nname = \"wire\"\n{port}{keys}"), messages)
    }

    /// With frames.
    pub fn frames(name: &str, messages: usize) -> Self {
        Self::serial(name, "framing = \"cobs\"", messages)
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path.join("port")
    }

    /// Plugs a sensor in, and waits until the source is connected to it.
    pub async fn plug(&mut self) -> Sensor {
        let sensor = Sensor::at(&self.path());
        self.is("connected", |state| *state == State::Connected).await;
        assert!(matches!(self.next().await, Item::Up(_)), "the log knows that the source is up");
        sensor
    }

    /// How often a fault was counted.
    pub fn faults(&self, fault: &str) -> u64 {
        self.metric(&format!("source_frame_faults_total{{fault=\"{fault}\",source=\"wire\"}}"))
    }

    pub fn outcome(&self, outcome: &str) -> u64 {
        self.metric(&format!("readings_total{{outcome=\"{outcome}\",source=\"wire\"}}"))
    }
}

/// The sensor's end of a port; dropping it is unplugging it.
pub struct Sensor {
    pub pty: Pty,
    deframer: Deframer<64>,
    read: Vec<u8>,
}

impl Sensor {
    pub fn at(path: &std::path::Path) -> Self {
        Self { pty: Pty::plug(path).unwrap(), deframer: Deframer::default(), read: Vec::new() }
    }

    pub async fn send(&self, bytes: &[u8]) {
        tokio::time::timeout(PATIENCE, self.pty.write(bytes)).await.expect("the line takes nothing").unwrap();
    }

    pub async fn data(&self, seq: u16, payload: &str) {
        self.send(&encode(Kind::Data, seq, payload.as_bytes())).await;
    }

    pub async fn hello(&self, boot_nonce: u32, device: &str) {
        let mut payload = vec![0; 4 + device.len()];
        Hello { boot_nonce, device }.write(&mut payload).unwrap();
        self.send(&encode(Kind::Hello, boot_nonce as u16, &payload)).await;
    }

    /// The seq of the next ACK.
    pub async fn ack(&mut self) -> u16 {
        tokio::time::timeout(PATIENCE, self.next_ack()).await.expect("no ACK came")
    }

    /// The seq of an ACK that is there or comes at once.
    pub async fn try_ack(&mut self) -> Option<u16> {
        tokio::time::timeout(Duration::from_millis(2), self.next_ack()).await.ok()
    }

    /// Nothing is on the line, and nothing comes.
    pub async fn no_ack(&mut self) {
        if let Ok(seq) = tokio::time::timeout(QUIET, self.next_ack()).await {
            panic!("an ACK of {seq} came");
        }
    }

    async fn next_ack(&mut self) -> u16 {
        loop {
            while let Some(end) = self.read.iter().position(|byte| *byte == 0) {
                let piece: Vec<u8> = self.read.drain(..=end).collect();
                if let Some(frame) = self.deframer.next(&mut &piece[..]) {
                    let Frame { kind, seq, payload } = frame.expect("a whole frame");
                    assert_eq!((kind, payload), (Kind::Ack, &[][..]));
                    return seq;
                }
            }
            let mut some = [0; 256];
            let length = self.pty.read(&mut some).await.unwrap();
            self.read.extend_from_slice(&some[..length]);
        }
    }
}

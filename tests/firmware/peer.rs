//! What a sensor talks to, by the book and in few lines: it reads frames and acknowledges what a test tells it to.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tidegate_wire::frame::{Deframer, Frame, Hello, Kind};

use super::board::PATIENCE;
use super::line::Line;

pub struct Peer {
    line: Line,
    deframer: Deframer<512>,
    heard: VecDeque<Heard>,
    /// Pieces of the line that were no frames.
    pub faults: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Hello { seq: u16, nonce: u32, device: String },
    Data { seq: u16, payload: Vec<u8> },
}

/// A reading of the examples: `{"n", "up_ms", "mv", "dropped"}`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub n: u64,
    pub up_ms: u64,
    pub mv: u64,
    pub dropped: u64,
}

impl Peer {
    pub fn attach(port: &Path) -> Self {
        Self { line: Line::open(port), deframer: Deframer::default(), heard: VecDeque::new(), faults: 0 }
    }

    /// The next frame.
    pub fn hear(&mut self) -> Heard {
        self.hear_within(PATIENCE).expect("the sensor is silent")
    }

    /// The next frame, if there is one soon.
    pub fn hear_within(&mut self, time: Duration) -> Option<Heard> {
        let until = Instant::now() + time;
        while self.heard.is_empty() {
            let bytes = self.line.read(until);
            if bytes.is_empty() {
                return None;
            }
            let mut rest = &bytes[..];
            while let Some(frame) = self.deframer.next(&mut rest) {
                match frame {
                    Ok(frame) => self.heard.extend(heard(&frame)),
                    Err(_) => self.faults += 1,
                }
            }
        }
        self.heard.pop_front()
    }

    pub fn acknowledge(&mut self, seq: u16) {
        let mut out = [0; Frame::encoded_max(0)];
        let length = Frame { kind: Kind::Ack, seq, payload: &[] }.encode(&mut out).unwrap();
        self.line.write(&out[..length]);
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.line.write(bytes);
    }

    /// Waits for a HELLO, acknowledges it, and returns its nonce and the device it names.
    pub fn greet(&mut self) -> (u32, String) {
        loop {
            if let Heard::Hello { seq, nonce, device } = self.hear() {
                assert_eq!(seq, nonce as u16, "the HELLO takes the first number");
                self.acknowledge(seq);
                return (nonce, device);
            }
        }
    }

    /// The next reading, with its number; a HELLO that is said again meanwhile is answered again.
    pub fn reading(&mut self) -> (u16, Reading) {
        loop {
            match self.hear() {
                Heard::Hello { seq, .. } => self.acknowledge(seq),
                Heard::Data { seq, payload } => return (seq, Reading::of(&payload)),
            }
        }
    }
}

fn heard(frame: &Frame<'_>) -> Option<Heard> {
    match frame.kind {
        Kind::Data => Some(Heard::Data { seq: frame.seq, payload: frame.payload.to_vec() }),
        Kind::Hello => {
            let hello = Hello::read(frame.payload).expect("a HELLO can be read");
            Some(Heard::Hello { seq: frame.seq, nonce: hello.boot_nonce, device: hello.device.to_owned() })
        }
        Kind::Ack => panic!("a sensor acknowledges nothing"),
    }
}

impl Reading {
    /// Of CBOR, or of JSON.
    pub fn of(payload: &[u8]) -> Self {
        let json: Json = match payload.first() {
            Some(b'{') => serde_json::from_slice(payload).unwrap(),
            _ => serde_cbor::from_slice(payload).unwrap(),
        };
        let number = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("no {name} in {json}"));
        Self { n: number("n"), up_ms: number("up_ms"), mv: number("mv"), dropped: number("dropped") }
    }
}

//! A voltage on ADC0 of an LM3S6965 evaluation board, sent to a gateway in acknowledged frames. UART 0 (the board's USB)
//! goes to the gateway, the voltage (0 to 3 V) to pin ADC0. See README.md.
#![no_std]
#![no_main]

mod board;
mod outbox;

use minicbor::Encoder;
use minicbor::encode::write::Cursor;
use tidegate_wire::frame::{Deframer, Frame, Hello, Kind};

use crate::board::Board;
use crate::outbox::{Outbox, Reading};

const DEVICE: &str = match option_env!("DEVICE") {
    Some(name) => name,
    None => "lm3s-1",
};
const PERIOD_MS: u32 = number(option_env!("PERIOD_MS"), 1_000);
/// A frame without an answer goes again after so long.
const RESEND_MS: u32 = number(option_env!("RESEND_MS"), 1_000);

/// The most that a reading takes: a map of four, with names of 1, 5, 2 and 7 letters.
const PAYLOAD_MAX: usize = 1 + 4 + 15 + 4 * 5;
const LINE_MAX: usize = {
    let (data, hello) = (Frame::encoded_max(PAYLOAD_MAX), Frame::encoded_max(4 + DEVICE.len()));
    1 + if data > hello { data } else { hello }
};

/// What is on its way out. One frame at a time.
struct Line {
    bytes: [u8; LINE_MAX],
    length: usize,
    sent: usize,
}

impl Line {
    fn is_idle(&self) -> bool {
        self.sent == self.length
    }

    fn go_on(&mut self, board: &mut Board) {
        self.sent += board.send(&self.bytes[self.sent..self.length]);
    }

    /// An end goes first as well: what noise or a reset left on the line then costs no frame.
    fn put(&mut self, frame: &Frame<'_>) {
        self.bytes[0] = 0;
        (self.sent, self.length) = (0, 1 + frame.encode(&mut self.bytes[1..]).unwrap_or(0));
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let Some((mut board, slots)) = Board::start(PERIOD_MS) else { cortex_m::peripheral::SCB::sys_reset() };
    let boot_nonce = board.draw_nonce();
    let first = boot_nonce as u16;
    let mut outbox = Outbox::open(slots, first.wrapping_add(1), RESEND_MS);
    let mut line = Line { bytes: [0; LINE_MAX], length: 0, sent: 0 };
    let mut deframer = Deframer::<16>::default();
    let mut greeting = Greeting { known: false, said_ms: None };

    loop {
        let now = board.now_ms();
        if let Some(mv) = board.sample_mv() {
            outbox.put(now, mv);
        }
        while let Some(byte) = board.receive() {
            if let Some(Ok(Frame { kind: Kind::Ack, seq, .. })) = deframer.next(&mut &[byte][..]) {
                // Until the HELLO is acknowledged, an ACK may be meant for a frame from before the reset.
                if greeting.known {
                    outbox.acknowledge(seq);
                } else {
                    greeting.known = greeting.said_ms.is_some() && seq == first;
                }
            }
        }
        if line.is_idle() {
            if !greeting.known {
                if greeting.is_due(now) {
                    say_hello(&mut line, boot_nonce);
                }
            } else if let Some((seq, reading)) = outbox.due(now) {
                say(&mut line, seq, reading);
            }
        }
        line.go_on(&mut board);
        board.sleep();
    }
}

struct Greeting {
    known: bool,
    said_ms: Option<u32>,
}

impl Greeting {
    /// Whether the HELLO is to be said now; it counts as said.
    fn is_due(&mut self, now: u32) -> bool {
        let due = self.said_ms.is_none_or(|said| now.wrapping_sub(said) >= RESEND_MS);
        if due {
            self.said_ms = Some(now);
        }
        due
    }
}

fn say_hello(line: &mut Line, boot_nonce: u32) {
    let mut payload = [0; 4 + DEVICE.len()];
    let length = Hello { boot_nonce, device: DEVICE }.write(&mut payload).unwrap_or(0);
    line.put(&Frame { kind: Kind::Hello, seq: boot_nonce as u16, payload: &payload[..length] });
}

fn say(line: &mut Line, seq: u16, reading: Reading) {
    let mut payload = [0; PAYLOAD_MAX];
    let length = write(reading, &mut payload).unwrap_or(0);
    line.put(&Frame { kind: Kind::Data, seq, payload: &payload[..length] });
}

/// `{"n": 7, "up_ms": 7000, "mv": 712, "dropped": 0}` in CBOR, the same bytes for the same reading; how many.
fn write(reading: Reading, out: &mut [u8]) -> Option<usize> {
    let mut cbor = Encoder::new(Cursor::new(out));
    cbor.map(4).ok()?;
    let fields = [("n", reading.n), ("up_ms", reading.up_ms), ("mv", reading.mv), ("dropped", reading.dropped)];
    for (name, value) in fields {
        cbor.str(name).ok()?.u32(value).ok()?;
    }
    Some(cbor.writer().position())
}

const fn number(text: Option<&str>, otherwise: u32) -> u32 {
    let Some(text) = text else { return otherwise };
    let (mut value, mut at) = (0, 0);
    while at < text.len() {
        let digit = text.as_bytes()[at];
        assert!(digit.is_ascii_digit(), "a number of milliseconds");
        value = value * 10 + (digit - b'0') as u32;
        at += 1;
    }
    value
}

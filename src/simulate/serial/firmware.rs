//! What a sensor on a serial line does: says who it is, keeps each reading until it is acknowledged, sends again. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_wire::frame::{Frame, Hello, Kind};

/// How long a sensor waits for an ACK.
pub const RESEND: Duration = Duration::from_millis(800);

pub struct Firmware {
    seq: u16,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    kind: Kind,
    seq: u16,
    payload: Vec<u8>,
    /// `None`: not yet sent.
    sent: Option<Duration>,
}

impl Firmware {
    /// A sensor that starts, and begins with a HELLO.
    #[must_use]
    pub fn boot(boot_nonce: u32, device: &str) -> Self {
        let mut firmware = Self { seq: boot_nonce as u16, waiting: VecDeque::new() };
        let mut payload = vec![0; 4 + device.len()];
        Hello { boot_nonce, device }.write(&mut payload);
        firmware.keep(Kind::Hello, payload);
        firmware
    }

    /// The sensor was without power for a moment: it starts anew, and still has what was not acknowledged.
    pub fn reboot(&mut self, boot_nonce: u32, device: &str) {
        let held = std::mem::replace(self, Self::boot(boot_nonce, device)).waiting;
        held.into_iter()
            .filter(|waiting| waiting.kind == Kind::Data)
            .for_each(|waiting| self.measured(waiting.payload));
    }

    /// A reading is there.
    pub fn measured(&mut self, payload: Vec<u8>) {
        self.keep(Kind::Data, payload);
    }

    fn keep(&mut self, kind: Kind, payload: Vec<u8>) {
        self.waiting.push_back(Waiting { kind, seq: self.seq, payload, sent: None });
        self.seq = self.seq.wrapping_add(1);
    }

    /// The gateway has this one.
    pub fn acknowledged(&mut self, seq: u16) {
        self.waiting.retain(|waiting| waiting.seq != seq);
    }

    /// How many readings are not acknowledged.
    #[must_use]
    pub fn held(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.kind == Kind::Data).count()
    }

    /// Whether nothing waits to be acknowledged.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next frame to go out now, oldest first, and its seq; nothing before the HELLO has arrived.
    pub fn due(&mut self, now: Duration) -> Option<(u16, Vec<u8>)> {
        let is_due = |waiting: &&mut Waiting| waiting.sent.is_none_or(|sent| now >= sent + RESEND);
        let is_hello = self.waiting.front().is_some_and(|waiting| waiting.kind == Kind::Hello);
        let most = if is_hello { 1 } else { usize::MAX };
        let waiting = self.waiting.iter_mut().take(most).find(is_due)?;
        waiting.sent = Some(now);
        Some((waiting.seq, encode(waiting.kind, waiting.seq, &waiting.payload)))
    }
}

/// A frame as it goes over the line.
#[must_use]
pub fn encode(kind: Kind, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; Frame::encoded_max(payload.len())];
    let length = Frame { kind, seq, payload }.encode(&mut bytes).unwrap_or_default();
    bytes.truncate(length);
    bytes
}

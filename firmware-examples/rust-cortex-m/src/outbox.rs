//! The readings that nobody has acknowledged yet.
//!
//! Reading `n` lies in slot `n` mod [`SLOTS`], so a new one takes the place of the oldest; where that had not been
//! acknowledged it is dropped, and counted. The slots lie where a reset leaves them alone: each has a check, and
//! [`Outbox::open`] finds those again that a reset left behind.
//!
//! Invariants:
//! - a reading keeps its sequence number for as long as the sensor runs; after a reset it gets another, since the
//!   numbers then begin elsewhere;
//! - no more than [`SLOTS`] numbers lie between the oldest reading that is not acknowledged and the newest: the gateway
//!   recognises a repeat among the last 64.

/// How many readings are kept.
pub const SLOTS: usize = 64;
/// While nobody answers, the wait before a reading goes again doubles, up to so many times the first.
const PATIENCE: u32 = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Reading {
    /// Counts readings since power came.
    pub n: u32,
    pub up_ms: u32,
    pub mv: u32,
    /// Readings that were dropped before this one.
    pub dropped: u32,
}

/// Nothing but numbers: whatever memory holds when power comes is a slot, and mostly one that is not whole.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Slot {
    reading: Reading,
    check: u32,
    state: u32,
    /// Of this run: 0 where it was not sent yet.
    sent: u32,
    seq: u32,
    sent_ms: u32,
}

/// Two values that memory does not hold by accident.
const HELD: u32 = 0x4845_4C44;
const ACKNOWLEDGED: u32 = 0x444F_4E45;

pub struct Outbox<'a> {
    slots: &'a mut [Slot; SLOTS],
    next_n: u32,
    next_seq: u16,
    dropped: u32,
    resend_ms: u32,
    wait_ms: u32,
}

impl<'a> Outbox<'a> {
    /// Finds what a reset left behind, and goes on from there; numbers begin at `seq`.
    pub fn open(slots: &'a mut [Slot; SLOTS], seq: u16, resend_ms: u32) -> Self {
        let (mut next_n, mut dropped) = (0, 0);
        for (at, slot) in slots.iter_mut().enumerate() {
            slot.sent = 0;
            if !slot.is_whole(at) {
                slot.state = 0;
            } else if slot.reading.n >= next_n {
                (next_n, dropped) = (slot.reading.n.wrapping_add(1), slot.reading.dropped);
            }
        }
        Self { slots, next_n, next_seq: seq, dropped, resend_ms, wait_ms: resend_ms }
    }

    pub fn put(&mut self, up_ms: u32, mv: u32) {
        let slot = &mut self.slots[self.next_n as usize % SLOTS];
        if slot.state == HELD {
            self.dropped = self.dropped.saturating_add(1);
        }
        let reading = Reading { n: self.next_n, up_ms, mv, dropped: self.dropped };
        // The check is of the new reading: a reset in the middle of this finds none rather than half of one.
        *slot = Slot { reading, check: reading.check(), state: HELD, ..Slot::EMPTY };
        self.next_n = self.next_n.wrapping_add(1);
    }

    /// The oldest reading that was not sent in this run, or was sent too long ago, and its number; it counts as sent
    /// now.
    pub fn due(&mut self, now_ms: u32) -> Option<(u16, Reading)> {
        let mut first = true;
        for n in self.next_n.saturating_sub(SLOTS as u32)..self.next_n {
            let slot = &mut self.slots[n as usize % SLOTS];
            if slot.state != HELD {
                continue;
            }
            if slot.sent == 0 {
                slot.seq = u32::from(self.next_seq);
                self.next_seq = self.next_seq.wrapping_add(1);
            } else if now_ms.wrapping_sub(slot.sent_ms) < self.wait_ms {
                first = false;
                continue;
            } else if first {
                self.wait_ms = (self.wait_ms * 2).min(self.resend_ms * PATIENCE);
            }
            (slot.sent, slot.sent_ms) = (1, now_ms);
            return Some((slot.seq as u16, slot.reading));
        }
        None
    }

    /// A number that no reading of this run waits under means nothing.
    pub fn acknowledge(&mut self, seq: u16) {
        let waits = |slot: &&mut Slot| slot.state == HELD && slot.sent != 0 && slot.seq == u32::from(seq);
        if let Some(slot) = self.slots.iter_mut().find(waits) {
            slot.state = ACKNOWLEDGED;
            self.wait_ms = self.resend_ms;
        }
    }
}

impl Slot {
    pub const EMPTY: Self = Self {
        reading: Reading { n: 0, up_ms: 0, mv: 0, dropped: 0 },
        check: 0,
        state: 0,
        sent: 0,
        seq: 0,
        sent_ms: 0,
    };

    fn is_whole(&self, at: usize) -> bool {
        (self.state == HELD || self.state == ACKNOWLEDGED)
            && self.reading.n as usize % SLOTS == at
            && self.check == self.reading.check()
    }
}

impl Reading {
    /// FNV-1a over its words: enough to tell a reading from half of one.
    fn check(&self) -> u32 {
        let words = [self.n, self.up_ms, self.mv, self.dropped];
        words.into_iter().fold(0x811C_9DC5, |hash: u32, word| (hash ^ word).wrapping_mul(0x0100_0193).rotate_left(5))
    }
}

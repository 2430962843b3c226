//! What is known of the sensor at the other end, and which of its frames are repeats. Pure.
//!
//! ```text
//! HELLO ─▶ an era begins: nothing is known of it yet
//! DATA  ─▶ New      to be stored, then acknowledged, unless an era began in between
//!          OnItsWay equal to one of the last 64 of this era, which is acknowledged once it is stored
//!          Stored   equal to one of them, and that is stored: acknowledged again
//! ```
//!
//! Each HELLO begins an era, one that is sent again too. So a sensor that draws the same nonce at two boots loses nothing by
//! it, and one whose HELLO was acknowledged in vain has at most stored twice what it sent since.
//!
//! Two frames are equal if seq and a sum of the payload are. The sum is wider than the CRC of a frame, which two
//! different payloads share more easily.
//!
//! Invariants:
//! - what is acknowledged was stored;
//! - no frame from before a HELLO is acknowledged after it: its seq may by now be that of another;
//! - without a HELLO nothing is taken for a repeat: equal frames may be two readings.

use std::collections::VecDeque;

/// How many frames are remembered.
const REMEMBERED: usize = 64;

#[derive(Debug, Default)]
pub struct Link {
    /// 0 until there was a HELLO.
    era: u64,
    recent: VecDeque<Seen>,
}

#[derive(Debug)]
struct Seen {
    seq: u16,
    sum: u32,
    is_stored: bool,
}

/// A frame that is being stored.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what is stored is acknowledged by it"]
pub struct Ticket {
    era: u64,
    seq: u16,
    sum: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    New(Ticket),
    OnItsWay,
    Stored,
}

impl Link {
    /// A sensor has started.
    pub fn hello(&mut self) {
        self.era += 1;
        self.recent.clear();
    }

    /// A DATA has come.
    pub fn data(&mut self, seq: u16, payload: &[u8]) -> Taken {
        let sum = crc32c::crc32c(payload);
        if self.era > 0 {
            if let Some(seen) = self.recent.iter().find(|seen| seen.seq == seq && seen.sum == sum) {
                return if seen.is_stored { Taken::Stored } else { Taken::OnItsWay };
            }
            if self.recent.len() == REMEMBERED {
                self.recent.pop_front();
            }
            self.recent.push_back(Seen { seq, sum, is_stored: false });
        }
        Taken::New(Ticket { era: self.era, seq, sum })
    }

    /// A frame is on stable storage: the seq to be acknowledged, if its sensor still waits for it.
    pub fn stored(&mut self, ticket: &Ticket) -> Option<u16> {
        if ticket.era != self.era {
            return None;
        }
        if let Some(seen) = self.recent.iter_mut().find(|seen| seen.seq == ticket.seq && seen.sum == ticket.sum) {
            seen.is_stored = true;
        }
        Some(ticket.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(link: &mut Link, seq: u16, payload: &str) -> Ticket {
        match link.data(seq, payload.as_bytes()) {
            Taken::New(ticket) => ticket,
            taken => panic!("seq {seq} is {taken:?}"),
        }
    }

    #[test]
    fn a_repeat_is_acknowledged_again_only_once_the_first_is_stored() {
        let mut link = Link::default();
        link.hello();
        let first = new(&mut link, 7, "a");
        assert_eq!(link.data(7, b"a"), Taken::OnItsWay);
        assert_eq!(link.stored(&first), Some(7));
        assert_eq!(link.data(7, b"a"), Taken::Stored);
        let _ = new(&mut link, 7, "b");
        let _ = new(&mut link, 8, "a");
    }

    #[test]
    fn without_a_hello_nothing_is_a_repeat() {
        let mut link = Link::default();
        for _ in 0..3 {
            let ticket = new(&mut link, 7, "a");
            assert_eq!(link.stored(&ticket), Some(7));
        }
    }

    #[test]
    fn after_a_hello_nothing_from_before_is_acknowledged_or_known() {
        let mut link = Link::default();
        let unnamed = new(&mut link, 6, "a");
        link.hello();
        assert_eq!(link.stored(&unnamed), None);
        let before = new(&mut link, 7, "a");
        link.hello();
        let after = new(&mut link, 7, "a");
        assert_eq!(link.stored(&before), None, "its seq is another's now");
        assert_eq!(link.data(7, b"a"), Taken::OnItsWay, "the one from before does not answer for it");
        assert_eq!(link.stored(&after), Some(7));
    }

    #[test]
    fn the_last_sixty_four_are_remembered_and_what_is_older_is_stored_again_and_acknowledged() {
        let mut link = Link::default();
        link.hello();
        let tickets: Vec<_> = (0..65).map(|seq| new(&mut link, seq, "a")).collect();
        assert_eq!(link.data(1, b"a"), Taken::OnItsWay);
        let again = new(&mut link, 0, "a");
        assert_eq!(link.stored(&tickets[0]), Some(0));
        assert_eq!(link.stored(&again), Some(0));
        assert_eq!(link.stored(&tickets[64]), Some(64));
    }

    #[test]
    fn a_sensor_that_starts_again_at_any_point_with_the_same_nonce_loses_nothing() {
        for reset_at in 0..=70 {
            let mut link = Link::default();
            link.hello();
            for seq in 0..reset_at {
                let ticket = new(&mut link, seq, "same");
                link.stored(&ticket);
            }
            link.hello();
            for seq in 0..70 {
                let _ = new(&mut link, seq, "same");
            }
        }
    }
}

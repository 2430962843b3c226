//! ACKs on their way out. Pure.
//!
//! A sensor that does not read costs nothing but its ACKs: beyond a bound the oldest go, and it sends again.

use std::collections::VecDeque;

use tidegate_wire::frame::{Frame, Kind};

/// More than any sensor holds unacknowledged.
const WAITING: usize = 1_024;
/// ACKs that leave in one write.
const TOGETHER: usize = 32;

#[derive(Debug, Default)]
pub struct Acks {
    waiting: VecDeque<u16>,
    /// Frames being written, how many, and how far; none: what spoils one that was cut.
    out: Vec<u8>,
    frames: u64,
    written: usize,
}

impl Acks {
    /// `false`: there was no room, and the oldest went.
    pub fn push(&mut self, seq: u16) -> bool {
        let had_room = self.waiting.len() < WAITING;
        if !had_room {
            self.waiting.pop_front();
        }
        self.waiting.push_back(seq);
        had_room
    }

    /// None of these may leave any more. One that has left in part is spoilt: more than its missing bytes follow, of which
    /// one then says that the frame goes on for 254 bytes, before the end that comes at once.
    pub fn forget(&mut self) {
        self.waiting.clear();
        if self.frames == 0 && !self.out.is_empty() {
            // What spoils the one before is still on its way.
            return;
        }
        self.out.clear();
        if std::mem::take(&mut self.written) > 0 {
            self.out.extend([0xFF; Frame::encoded_max(0)]);
            self.out.push(0);
        }
        self.frames = 0;
    }

    /// What is to be written next; empty: nothing.
    pub fn bytes(&mut self) -> &[u8] {
        if self.out.is_empty() {
            let mut frame = [0; Frame::encoded_max(0)];
            while let Some(seq) = self.waiting.front().copied().filter(|_| self.frames < TOGETHER as u64) {
                self.waiting.pop_front();
                let length = Frame { kind: Kind::Ack, seq, payload: &[] }.encode(&mut frame);
                self.out.extend_from_slice(&frame[..length.unwrap_or(0)]);
                self.frames += 1;
            }
        }
        &self.out[self.written..]
    }

    /// So many bytes were written; says how many ACKs are out with them.
    pub fn wrote(&mut self, bytes: usize) -> u64 {
        self.written += bytes;
        if self.written < self.out.len() {
            return 0;
        }
        self.out.clear();
        self.written = 0;
        std::mem::take(&mut self.frames)
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_wire::frame::Deframer;

    use super::*;

    /// Writes everything, so many bytes at a time.
    fn drain(acks: &mut Acks, portion: usize, line: &mut Vec<u8>) -> u64 {
        let mut sent = 0;
        while !acks.is_empty() {
            let bytes = acks.bytes();
            let some = portion.min(bytes.len());
            line.extend_from_slice(&bytes[..some]);
            sent += acks.wrote(some);
        }
        sent
    }

    fn seqs(mut line: &[u8]) -> Vec<u16> {
        let mut deframer = Deframer::<64>::default();
        let mut seqs = Vec::new();
        while let Some(frame) = deframer.next(&mut line) {
            seqs.extend(frame.ok().map(|frame| frame.seq));
        }
        seqs
    }

    #[test]
    fn acks_leave_in_order_in_whatever_portions_the_line_takes() {
        for portion in 1..200 {
            let (mut acks, mut line) = (Acks::default(), Vec::new());
            (0..100).for_each(|seq| assert!(acks.push(seq * 600)));
            assert_eq!(drain(&mut acks, portion, &mut line), 100);
            assert!(seqs(&line).into_iter().eq((0..100).map(|seq| seq * 600)));
        }
    }

    #[test]
    fn what_is_forgotten_never_arrives_wherever_it_was_cut() {
        for (written, seq) in (0..10).flat_map(|written| (0..=u16::MAX).step_by(7).map(move |seq| (written, seq))) {
            let (mut acks, mut line) = (Acks::default(), Vec::new());
            acks.push(seq);
            acks.push(seq);
            let bytes = &acks.bytes()[..written];
            line.extend_from_slice(bytes);
            acks.wrote(written);
            let whole = seqs(&line).len();
            acks.forget();
            acks.push(0x0506);
            drain(&mut acks, 3, &mut line);
            assert_eq!(seqs(&line).len(), whole + 1, "{seq} cut after {written}");
            assert_eq!(seqs(&line).last(), Some(&0x0506));
        }
    }

    #[test]
    fn however_often_it_is_forgotten_a_cut_ack_is_spoilt() {
        for (spoilt, seq) in
            (0..=Frame::encoded_max(0)).flat_map(|spoilt| (0..=u16::MAX).step_by(97).map(move |seq| (spoilt, seq)))
        {
            let (mut acks, mut line) = (Acks::default(), Vec::new());
            acks.push(seq);
            // All but its end.
            let cut = acks.bytes().len() - 1;
            line.extend_from_slice(&acks.bytes()[..cut]);
            acks.wrote(cut);
            acks.forget();
            line.extend_from_slice(&acks.bytes()[..spoilt]);
            acks.wrote(spoilt);
            (0..3).for_each(|_| acks.forget());
            drain(&mut acks, 3, &mut line);
            // What a line brings next may well begin with an end.
            line.push(0);
            acks.push(0x0506);
            drain(&mut acks, 3, &mut line);
            assert_eq!(seqs(&line), [0x0506], "{seq}, of which {spoilt} spoiling bytes had left");
        }
    }

    #[test]
    fn beyond_the_bound_the_oldest_go() {
        let (mut acks, mut line) = (Acks::default(), Vec::new());
        let kept = (0..2_000).filter(|seq| acks.push(*seq)).count();
        assert_eq!(kept, WAITING);
        drain(&mut acks, 1_000, &mut line);
        assert!(seqs(&line).into_iter().eq(2_000 - WAITING as u16..2_000));
    }
}

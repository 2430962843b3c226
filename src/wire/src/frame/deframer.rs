//! Frames out of what a line brings, in whatever portions.

use super::{Fault, Frame};

/// Gathers the bytes of one frame at a time. `N` is the most that a frame takes on the line, without its end.
#[derive(Debug)]
pub struct Deframer<const N: usize> {
    buffer: [u8; N],
    filled: usize,
    /// Whether this frame is longer than the buffer: what comes is thrown away up to its end.
    too_long: bool,
}

impl<const N: usize> Default for Deframer<N> {
    fn default() -> Self {
        Self { buffer: [0; N], filled: 0, too_long: false }
    }
}

impl<const N: usize> Deframer<N> {
    /// Takes bytes off the front of `bytes` up to the end of a frame, and gives that frame, or why it is none; `None`
    /// once they are used up. Two ends with nothing in between are nothing.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Result<Frame<'_>, Fault>> {
        loop {
            let end = bytes.iter().position(|byte| *byte == 0);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            match self.buffer.get_mut(self.filled..self.filled + piece.len()) {
                Some(room) if !self.too_long => {
                    room.copy_from_slice(piece);
                    self.filled += piece.len();
                }
                _ => self.too_long = true,
            }
            let Some((_end, rest)) = rest.split_first() else {
                *bytes = rest;
                return None;
            };
            *bytes = rest;
            let filled = core::mem::take(&mut self.filled);
            if core::mem::take(&mut self.too_long) {
                return Some(Err(Fault::Long));
            }
            if filled > 0 {
                return Some(Frame::decode(&mut self.buffer[..filled]));
            }
        }
    }

    /// Forgets what has come of a frame: the line was cut.
    pub fn reset(&mut self) {
        (self.filled, self.too_long) = (0, false);
    }
}

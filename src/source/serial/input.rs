//! What a port has brought and what is cut out of it: lines, or frames.

use tidegate_wire::frame::{Deframer, Fault, Frame};

use super::lines::{Line, Lines};
use crate::config::{self, Framing};

/// Bytes read at once: what the kernel keeps of a port.
const READ: usize = 4_096;
/// The longest payload that a frame is put together for, so that one which is too long by the configuration can still be
/// told from noise, and acknowledged.
const LONGEST: usize = 65_536;

pub struct Input {
    buffer: Box<[u8; READ]>,
    /// Read, and not yet cut up.
    from: usize,
    to: usize,
    cut: Cut,
}

enum Cut {
    Lines(Lines),
    Frames(Box<Deframer<{ Frame::encoded_max(LONGEST) }>>),
}

/// One thing out of what came.
pub enum Piece<'a> {
    Line(&'a [u8]),
    Frame(Frame<'a>),
    Faulty(&'static str),
}

impl Input {
    pub fn new(serial: &config::Serial) -> Self {
        let cut = match serial.framing {
            Framing::Lines => Cut::Lines(Lines::new(serial.max_frame)),
            Framing::Cobs => Cut::Frames(Box::default()),
        };
        Self { buffer: Box::new([0; READ]), from: 0, to: 0, cut }
    }

    /// Where the next bytes go; `None` while there are some.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        (self.from == self.to).then_some(&mut self.buffer[..])
    }

    /// So many bytes were read into it.
    pub fn filled(&mut self, bytes: usize) {
        (self.from, self.to) = (0, bytes);
    }

    /// The next piece; `None` once all is used up.
    pub fn next(&mut self) -> Option<Piece<'_>> {
        let mut rest = &self.buffer[self.from..self.to];
        let before = rest.len();
        let piece = match &mut self.cut {
            Cut::Lines(lines) => lines.next(&mut rest).map(|line| match line {
                Line::Whole(line) => Piece::Line(line),
                Line::TooLong => Piece::Faulty("oversize"),
            }),
            Cut::Frames(deframer) => deframer.next(&mut rest).map(|frame| match frame {
                Ok(frame) => Piece::Frame(frame),
                Err(fault) => Piece::Faulty(label(fault)),
            }),
        };
        self.from += before - rest.len();
        piece
    }
}

fn label(fault: Fault) -> &'static str {
    match fault {
        Fault::Cut | Fault::Short => "cut",
        Fault::Checksum => "checksum",
        Fault::Kind(_) => "kind",
        Fault::Long => "oversize",
    }
}

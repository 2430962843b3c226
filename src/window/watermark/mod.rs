//! Watermarks: up to which event time all is believed to have come.
//!
//! A **clock** is what one device, or one source, says of time: the latest event time that it told. It is active
//! from a reading until nothing has come from it for `idle_timeout`. A watermark follows clocks at a distance of
//! `watermark`, and never falls:
//!
//! - grouped by device with `by = "device"` ([`Own`]): each device's windows follow its own clock alone, so a slow
//!   clock makes only itself late;
//! - else ([`Shared`]): all windows follow the least of the active clocks.
//!
//! Once the last clock of a watermark has fallen silent, the watermark goes on by the time that passes from there
//! while a source is connected (of a device: its own source), and so the last windows close. While none is, it
//! stands still: what a broker keeps for us through an outage is not late.
//!
//! A reading whose time is more than `max_ahead` after its arrival says nothing of time. Where it is the first that
//! is heard, the moment of its arrival stands in, so that windows opened by a clock that is always ahead close in
//! the end.
//!
//! What has passed is measured as [`Passing`] counts it.

mod own;
mod shared;

pub use own::{Device, Own};
pub use shared::{Clock, Shared};

use super::passing::Passing;

/// Before anything was heard.
pub const NEVER: i64 = i64::MIN;

/// How clocks are followed, microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub watermark: i64,
    pub idle_timeout: i64,
    /// The most clocks that are kept.
    pub most: usize,
}

/// What a reading says of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Time(i64),
    /// Nothing: its time is too far ahead of its arrival, which is this.
    Ahead(i64),
}

/// The clocks of a window.
#[derive(Debug)]
pub enum Clocks {
    Own(Own),
    Shared(Shared),
}

impl Clocks {
    /// The watermark of a part: a device where each follows its own clock, else the only one.
    pub fn watermark(&self, part: usize, passing: &Passing) -> i64 {
        match self {
            Self::Own(own) => own.watermark(part, passing),
            Self::Shared(shared) => shared.watermark(passing.time()),
        }
    }

    /// Raises a part's watermark to at least this.
    pub fn raise(&mut self, part: usize, to: i64, passing: &Passing) {
        match self {
            Self::Own(own) => own.raise(part, to, passing),
            Self::Shared(shared) => shared.raise(to, passing.time()),
        }
    }
}

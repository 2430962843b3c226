//! The fold: readings to rows, in event time. Pure: no clock, no I/O, no logging.

pub mod aggregate;
mod key;
pub mod plan;

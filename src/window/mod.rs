//! The fold: readings to rows, in event time. Pure: no clock, no I/O, no logging.

pub mod aggregate;
pub mod expr;
mod key;
mod like;
mod number;
pub mod plan;

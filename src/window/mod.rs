//! The fold: readings to rows, in event time. Pure: no clock, no I/O, no logging.

pub mod expr;
mod like;
mod number;
pub mod plan;
pub mod sql;

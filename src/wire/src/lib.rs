//! The wire formats of Tidegate: what firmware, gateway and cloud share.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod row;
mod stub;
pub use row::{Row, Series, Value};
pub use stub::*;

//! Sensors on serial lines.

pub mod firmware;

//! The whole gateway against simulated sensors and a simulated stream.

pub mod broker;
pub mod stream;

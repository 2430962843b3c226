//! The whole gateway against simulated sensors and a simulated stream.

pub mod broker;
pub mod consumer;
pub mod fleet;
pub mod replay;
pub mod sensor;
pub mod stream;
pub mod verify;

//! The firmware examples, built as a user builds them and run in emulators: against a peer by the book, and against the
//! real gateway.

mod avr;
mod board;
mod cortex;
mod gateway;
mod line;
pub mod micropython;
mod modbus;
mod peer;
mod sensor;
pub mod tools;

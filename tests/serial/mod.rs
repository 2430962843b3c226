//! The serial source: over pseudo-terminals, with the writer's end in the test's hand or with the real gateway behind it.

mod frames;
mod lines;
pub mod lives;
mod ports;
mod rig;

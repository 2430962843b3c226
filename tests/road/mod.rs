//! The road against a scripted Kinesis.

mod folded;
mod lanes;
mod passed;
mod refused;
mod rig;
mod rows;

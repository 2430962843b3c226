//! The road against a scripted Kinesis.

mod lanes;
mod refused;
mod rig;
mod rows;

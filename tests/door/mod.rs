//! The door on real brokers: who is let in, what is asked for, what comes, and what never does.

mod exceptions;
mod limits;
mod login;
mod loss;
mod refused;
mod sparkplug;
mod speed;
mod topics;

pub const PROTOCOLS: [&str; 2] = ["5", "3.1.1"];

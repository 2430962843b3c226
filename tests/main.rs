//! One test binary.

mod cloud;
mod faults;
mod promises;
mod queue;
mod road;
mod simulate;
mod support;
mod tidy;
mod vectors;

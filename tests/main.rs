//! One test binary.

mod faults;
mod road;
mod simulate;
mod support;
mod tidy;
mod vectors;

//! One test binary.

mod road;
mod support;
mod vectors;

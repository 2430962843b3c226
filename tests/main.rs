//! One test binary.

mod cloud;
mod disk;
mod door;
mod faults;
mod firmware;
mod fold;
mod golden;
mod modbus;
mod promises;
mod queue;
mod road;
mod serial;
mod simulate;
mod support;
mod tidy;
mod tls;
mod vectors;

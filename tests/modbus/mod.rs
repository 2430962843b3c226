//! The Modbus source against meters of the test's own, over TCP and over pseudo-terminals.

mod faults;
mod pymodbus;
mod reading;
mod rig;

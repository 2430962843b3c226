//! Meters that speak Modbus.

pub mod slave;

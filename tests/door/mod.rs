//! The door on real brokers: who is let in, what is asked for, what comes, and what never does.

mod exceptions;
mod full;
mod limits;
mod login;
mod loss;
mod refused;
mod sparkplug;
mod speed;
mod topics;

use crate::support::TempDir;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::PATIENT_BROKER;

pub const PROTOCOLS: [&str; 2] = ["5", "3.1.1"];

/// A broker that saves what it has, every second and when it is asked to stop.
fn persistent() -> Mosquitto {
    let dir = TempDir::new("mosquitto");
    let place = dir.path.display().to_string();
    let lines = format!("persistence true\npersistence_location {place}/\nautosave_interval 1\n{PATIENT_BROKER}");
    Mosquitto::start_in(dir, &lines)
}

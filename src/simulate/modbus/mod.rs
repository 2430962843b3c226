//! Meters on one line: each answer to a poll is the next reading of a script.
//!
//! ```text
//! input registers   0, 1  n, u32     2  temp, i16 hundredths     3  hum, u16 hundredths     4  on, bit 0
//! ```
//!
//! A meter knows that an answer was read when the next request comes: so the line is unplugged in the middle of a question,
//! and nothing that counts as generated is in it. Now and then a meter refuses, with an exception.

pub mod slave;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use self::slave::{Asked, Reply};
use super::fleet::{FleetError, Ledger};
use super::pty::Pty;
use super::sensor::{COUNTER, Link, Script, Sensor, Sent, What};
use crate::clock::Clock;
use crate::reading::Value;

const ONE_EXCEPTION_IN: u32 = 60;
const ONE_UNPLUGGING_IN: u32 = 150;
const UNPLUGGED: Duration = Duration::from_millis(300);
/// `SERVER DEVICE FAILURE`.
const DEVICE_FAILURE: u8 = 4;

/// The configuration of a unit.
#[must_use]
pub fn unit(index: usize, poll: Duration) -> String {
    let register =
        |field: &str, rest: &str| format!("[[source.unit.register]]\nfield = \"{field}\"\ntable = \"input\"\n{rest}\n");
    format!(
        "[[source.unit]]\nunit = {}\ndevice = \"meter-{index:03}\"\npoll = \"{}us\"\n{}{}{}{}",
        index + 1,
        poll.as_micros(),
        register(COUNTER, "address = 0\ntype = \"u32\""),
        register("temp", "address = 2\ntype = \"i16\"\nscale = 0.01"),
        register("hum", "address = 3\nscale = 0.01"),
        register("on", "address = 4\nbit = 0"),
    )
}

/// What was done to the gateway on the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub exceptions: u64,
    pub unplugged: u64,
}

/// Answers until `duration` is over; hands back the line, still plugged in.
pub async fn play(
    sensors: &[Sensor],
    port: PathBuf,
    seed: u64,
    duration: Duration,
    ledger: Arc<Ledger>,
) -> Result<(Option<Pty>, Done), FleetError> {
    let meters: Vec<_> = sensors.iter().enumerate().filter(|(_, sensor)| sensor.link == Link::Modbus).collect();
    if meters.is_empty() {
        return Ok((None, Done::default()));
    }
    let meter = |(index, sensor): (usize, &Sensor)| Meter { index, script: sensor.script(ledger.start) };
    let mut meters: Vec<_> = meters.into_iter().map(meter).collect();
    let (mut random, mut done) = (fastrand::Rng::with_seed(seed), Done::default());
    let until = Instant::now() + duration;
    let mut pty = Pty::plug(&port)?;
    let (mut line, mut some) = (Vec::new(), [0; 256]);
    while let Ok(read) = timeout_at(until, pty.read(&mut some)).await {
        line.extend_from_slice(&some[..read?]);
        if line.len() >= 8 && random.u32(..ONE_UNPLUGGING_IN) == 0 {
            drop(pty);
            line.clear();
            done.unplugged += 1;
            sleep(UNPLUGGED).await;
            pty = Pty::plug(&port)?;
            continue;
        }
        let reply = |asked: Asked| {
            let meter = meters.get_mut(usize::from(asked.unit).wrapping_sub(1));
            let Some(meter) = meter.filter(|_| (asked.first, asked.count) == (0, 5)) else { return Reply::Silence };
            if random.u32(..ONE_EXCEPTION_IN) == 0 {
                done.exceptions += 1;
                return Reply::Exception(DEVICE_FAILURE);
            }
            ledger.enter(meter.index, Clock::System.now().wall);
            meter.script.find_map(words).map_or(Reply::Silence, Reply::Words)
        };
        if let Some(answer) = slave::rtu(&mut line, reply) {
            pty.write(&answer).await?;
        }
    }
    Ok((Some(pty), done))
}

struct Meter {
    index: usize,
    script: Script,
}

fn words(step: super::sensor::Step) -> Option<Vec<u16>> {
    let What::Reading(Sent { n, fields, .. }) = step.what else { return None };
    let mut words = vec![(n >> 16) as u16, n as u16];
    words.extend(fields.iter().map(|(_, value)| match value {
        Value::F64(number) => (number * 100.0).round() as i16 as u16,
        value => u16::from(*value == Value::Bool(true)),
    }));
    Some(words)
}

//! Sensors on serial lines, a line each: what they measure goes out in frames, until it is acknowledged.
//!
//! The lines are bad ones. Noise comes between frames, frames are cut or have a bit flipped, and now and then a sensor is
//! unplugged in the middle of a frame, with others not acknowledged; it comes back without a memory of its seqs, but with
//! its readings.
//!
//! Each thing that is done to a line is one frame that the gateway has to count. It has read it for sure once it has
//! acknowledged something that was sent behind it; until then the line is not unplugged.

pub mod firmware;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_wire::frame::{Deframer, Kind};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::firmware::Firmware;
use super::fleet::{FleetError, Ledger};
use super::gateway::Wires;
use super::pty::Pty;
use super::sensor::{Link, Script, Sensor, Step, What};
use crate::clock::Clock;

const ONE_NOISE_IN: u32 = 40;
const ONE_FLIP_IN: u32 = 40;
const ONE_CUT_IN: u32 = 40;
const ONE_UNPLUGGING_IN: u32 = 100;
const UNPLUGGED: Duration = Duration::from_millis(300);
/// How often a sensor looks for what it has to send again.
const LOOK: Duration = Duration::from_millis(100);
/// A gateway that has acknowledged nothing for so long will not.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was done to the gateway on a line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Frames that are none.
    pub corrupt: u64,
    pub unplugged: u64,
}

/// Plays all that is due until `duration` or the scripts are over, and until everything is acknowledged; hands back the
/// lines, still plugged in.
pub async fn play(
    sensors: &[Sensor],
    wires: &Wires,
    seed: u64,
    duration: Option<Duration>,
    ledger: &Arc<Ledger>,
) -> Result<(Vec<Pty>, Done), FleetError> {
    let mut players = JoinSet::new();
    let on_lines = sensors.iter().enumerate().filter(|(_, sensor)| sensor.link == Link::Serial);
    for (line, (index, sensor)) in on_lines.enumerate() {
        let random = fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(line as u64));
        let player = Player::new(sensor, index, wires.serial_port(line), random, ledger.clone());
        players.spawn(player.play(duration));
    }
    let (mut lines, mut all) = (Vec::new(), Done::default());
    while let Some(played) = players.join_next().await {
        let (pty, done) = match played {
            Ok(played) => played?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        lines.push(pty);
        all.corrupt += done.corrupt;
        all.unplugged += done.unplugged;
    }
    Ok((lines, all))
}

struct Player {
    device: Arc<str>,
    index: usize,
    script: Script,
    ledger: Arc<Ledger>,
    port: PathBuf,
    firmware: Firmware,
    random: fastrand::Rng,
    start: Instant,
    deframer: Deframer<64>,
    /// On its way out, and how far.
    out: Vec<u8>,
    written: usize,
    wants_unplugging: bool,
    done: Done,
    /// Of what was done, what the gateway has read for sure.
    proven: u64,
    /// What had been done when a frame first went out whole, by its seq.
    before: HashMap<u16, u64>,
    heard: Instant,
}

impl Player {
    fn new(sensor: &Sensor, index: usize, port: PathBuf, mut random: fastrand::Rng, ledger: Arc<Ledger>) -> Self {
        Self {
            device: sensor.device.clone(),
            index,
            script: sensor.script(ledger.start),
            ledger,
            port,
            firmware: Firmware::boot(random.u32(..), &sensor.device),
            random,
            start: Instant::now(),
            deframer: Deframer::default(),
            out: Vec::new(),
            written: 0,
            wants_unplugging: false,
            done: Done::default(),
            proven: 0,
            before: HashMap::new(),
            heard: Instant::now(),
        }
    }

    async fn play(mut self, until: Option<Duration>) -> Result<(Pty, Done), FleetError> {
        let mut pty = Pty::plug(&self.port)?;
        let mut next = self.next_step(until);
        let mut some = [0; 256];
        loop {
            let is_over = next.is_none();
            if is_over && self.firmware.is_idle() && self.proven < self.done.corrupt {
                // Nothing else is left to be acknowledged behind what was done.
                self.start_anew();
            }
            if is_over && (self.firmware.is_idle() || self.heard.elapsed() > PATIENCE) {
                return Ok((pty, self.done));
            }
            if self.out.is_empty() {
                self.send_next(is_over);
            }
            if self.wants_unplugging && self.proven == self.done.corrupt && !is_over {
                pty = self.unplug(pty).await?;
            }
            let look = Instant::now() + LOOK;
            let due = next.as_ref().map_or(look, |step| (self.start + step.due).min(look));
            tokio::select! {
                () = sleep_until(due) => {}
                read = pty.read(&mut some) => {
                    let length = read?;
                    self.hear(&some[..length]);
                }
                written = write_some(&pty, &self.out[self.written..]) => self.wrote(written?),
            }
            if let Some(step) = next.take_if(|step| self.start + step.due <= Instant::now()) {
                self.measure(step.what);
                next = self.next_step(until);
            }
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }

    fn next_step(&mut self, until: Option<Duration>) -> Option<Step> {
        self.script.next().filter(|step| until.is_none_or(|until| step.due < until))
    }

    fn measure(&mut self, what: What) {
        let payload = match what {
            What::Reading(sent) => {
                self.ledger.enter(self.index, Clock::System.now().wall);
                sent.payload()
            }
            What::Corrupt(bytes) => {
                self.ledger.enter_corrupt();
                bytes
            }
        };
        self.firmware.measured(payload.to_vec());
        self.wants_unplugging |= self.random.u32(..ONE_UNPLUGGING_IN) == 0;
    }

    /// Puts the next frame on the line, whole or not, with or without noise before it.
    fn send_next(&mut self, is_over: bool) {
        let Some((seq, mut frame)) = self.firmware.due(self.start.elapsed()) else { return };
        // What is to be proven has to end some time.
        let is_calm = is_over || self.wants_unplugging;
        if !is_calm && self.random.u32(..ONE_NOISE_IN) == 0 {
            self.done.corrupt += 1;
            let length = self.random.usize(1..30);
            self.out.extend((0..length).map(|_| self.random.u8(1..)));
            self.out.push(0);
        }
        if !is_calm && self.random.u32(..ONE_FLIP_IN) == 0 {
            self.done.corrupt += 1;
            flip(&mut frame, &mut self.random);
        } else if !is_calm && self.random.u32(..ONE_CUT_IN) == 0 {
            self.done.corrupt += 1;
            frame.truncate(self.random.usize(1..frame.len() - 1));
            frame.push(0);
        } else {
            self.before.entry(seq).or_insert(self.done.corrupt);
        }
        self.out.extend(frame);
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.deframer.next(&mut bytes) {
            let Some(frame) = frame.ok().filter(|frame| frame.kind == Kind::Ack) else { continue };
            self.heard = Instant::now();
            self.firmware.acknowledged(frame.seq);
            self.proven = self.proven.max(self.before.remove(&frame.seq).unwrap_or(0));
        }
    }

    /// In the middle of a frame, and in again.
    async fn unplug(&mut self, pty: Pty) -> Result<Pty, FleetError> {
        self.wants_unplugging = false;
        self.done.unplugged += 1;
        let half = &b"half of a frame, cut"[..self.random.usize(1..20)];
        let _ = timeout(Duration::from_millis(1), pty.write(half)).await;
        drop(pty);
        self.out.clear();
        self.written = 0;
        self.deframer.reset();
        self.start_anew();
        sleep(UNPLUGGED).await;
        Ok(Pty::plug(&self.port)?)
    }

    fn start_anew(&mut self) {
        let nonce = self.random.u32(..);
        self.before.clear();
        self.firmware.reboot(nonce, &self.device);
    }
}

/// One bit of a frame, so that its end stays its end.
fn flip(frame: &mut [u8], random: &mut fastrand::Rng) {
    loop {
        let (at, bit) = (random.usize(..frame.len() - 1), 1 << random.u8(..8));
        if frame[at] != bit {
            frame[at] ^= bit;
            return;
        }
    }
}

/// Never while there is nothing to write.
async fn write_some(pty: &Pty, bytes: &[u8]) -> std::io::Result<usize> {
    if bytes.is_empty() { std::future::pending().await } else { pty.write_some(bytes).await }
}

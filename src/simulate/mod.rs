//! The whole gateway against simulated sensors and a simulated stream, and an independent check of what arrived.
//!
//! ```text
//!   fleet ──MQTT──▶ broker ──MQTT──▶ gateway (a process) ──HTTP──▶ stream ──▶ check ──▶ report
//!     └───────────────── ledger of what was generated ──────────────────────────┘
//! ```
//!
//! Everything but the gateway runs in this process, so killing the gateway takes nothing else with it.

pub mod broker;
pub mod consumer;
pub mod fleet;
pub mod gateway;
pub mod replay;
pub mod report;
pub mod sensor;
pub mod stream;
pub mod verify;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use broker::Broker;
use fleet::{FleetError, Ledger, Target};
use gateway::{Gateway, Place};
use report::{Findings, Report};
use sensor::Sensor;
use stream::{Faults, Stream};
use verify::Check;

use crate::clock::Clock;

/// How often the run looks around.
const TICK: Duration = Duration::from_millis(100);
/// A run in which nothing has arrived for so long, with the link up, will not get better.
const STALLED: Duration = Duration::from_mins(1);
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// Of the stream.
const SHARDS: u32 = 2;

/// What is to be simulated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: until the scripts of all sensors are over.
    pub duration: Option<Duration>,
    pub sensors: Vec<Sensor>,
    pub faults: Faults,
    /// When the gateway is killed, since the start.
    pub kills: Vec<Duration>,
    pub config: Option<PathBuf>,
    pub http: Option<SocketAddr>,
    /// The gateway's data directory: exists, and stays.
    pub dir: PathBuf,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub elapsed: Duration,
    pub generated: u64,
    pub arrived: u64,
    pub is_out: bool,
    pub kills: u64,
    pub sending: bool,
}

/// Runs to the end; `tell` is called several times a second.
pub async fn run(mut settings: Settings, mut tell: impl FnMut(Progress)) -> anyhow::Result<Report> {
    settings.kills.sort();
    let broker = Broker::start().await.context("the simulated broker cannot listen")?;
    let target = Target { host: broker.address().ip().to_string(), port: broker.address().port() };
    fleet::open_session(&target, gateway::CLIENT_ID, gateway::FILTER).await?;
    let seed = settings.faults.seed;
    let stream =
        stream::Settings { stream: gateway::STREAM.to_owned(), shards: SHARDS, faults: settings.faults.clone() };
    let stream = Stream::start(stream).await.context("the simulated stream cannot listen")?;
    let place = Place {
        broker_port: target.port,
        endpoint: stream.url(),
        http: settings.http.map_or_else(free_address, Ok)?,
        data_dir: settings.dir.clone(),
        config: settings.config.clone(),
    };
    let mut run = Run {
        start: Instant::now(),
        gateway: Gateway::start(place)?,
        check: Check::new(&settings.sensors, Arc::new(Ledger::new(settings.sensors.len(), Clock::System.now().wall))),
        broker,
        stream,
        taken: 0,
        kills_to_come: settings.kills.split_off(0).into(),
        kills: 0,
    };
    let (sensors, duration, ledger) = (settings.sensors, settings.duration, run.check.ledger().clone());
    let fleet = tokio::spawn(async move { fleet::play(&sensors, &target, duration, &ledger).await });
    let mut fault = run.watch(fleet, &mut tell).await?;
    let (committed, dead_letters) = run.count().await?;
    let ended = run.gateway.stop(STOP_PATIENCE).await?;
    if !ended.success() {
        fault.get_or_insert(format!("the gateway ended with {ended} when it was asked to stop"));
    }
    run.take();
    Ok(Report::new(&Findings {
        seed,
        check: &run.check,
        committed,
        dead_letters,
        counts: run.stream.counts(),
        usage: run.gateway.usage(),
        kills: run.kills,
        fault,
    }))
}

/// A simulation under way.
struct Run {
    start: Instant,
    broker: Broker,
    stream: Stream,
    gateway: Gateway,
    check: Check,
    /// How many records of the stream the check has seen.
    taken: usize,
    kills_to_come: std::collections::VecDeque<Duration>,
    kills: u64,
}

impl Run {
    /// Looks on, and kills when it is time to, until all that was generated has arrived. Says what went wrong if it
    /// did not.
    async fn watch(
        &mut self,
        mut fleet: JoinHandle<Result<(), FleetError>>,
        tell: &mut impl FnMut(Progress),
    ) -> anyhow::Result<Option<String>> {
        let mut tick = tokio::time::interval(TICK);
        let (mut sending, mut seen, mut moved) = (true, 0, Instant::now());
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                played = &mut fleet, if sending => {
                    played.context("the fleet broke down")??;
                    sending = false;
                }
            }
            self.take();
            self.gateway.look();
            if let Some(ended) = self.gateway.ended()? {
                return Ok(Some(format!("the gateway ended by itself with {ended}")));
            }
            if self.kills_to_come.front().is_some_and(|at| self.start.elapsed() >= *at) {
                self.kills_to_come.pop_front();
                self.kills += 1;
                self.gateway.kill_and_restart().await?;
            }
            let progress = self.progress(sending);
            tell(progress);
            if sending || progress.is_out || progress.arrived != seen {
                (seen, moved) = (progress.arrived, Instant::now());
            }
            if !sending && self.is_over().await {
                return Ok(None);
            }
            if moved.elapsed() > STALLED {
                return Ok(Some(format!("nothing has arrived for {} s", STALLED.as_secs())));
            }
        }
    }

    /// Gives the check what has arrived.
    fn take(&mut self) {
        for record in self.stream.records(self.taken) {
            self.check.take(&record);
            self.taken += 1;
        }
    }

    /// Everything is acknowledged and delivered, and nothing is left to be killed.
    async fn is_over(&self) -> bool {
        if self.check.lost() > 0 || self.broker.pending() > 0 || !self.kills_to_come.is_empty() {
            return false;
        }
        self.gateway.status().await.is_ok_and(|status| status.queue.readings == 0)
    }

    fn progress(&self, sending: bool) -> Progress {
        Progress {
            elapsed: self.start.elapsed(),
            generated: self.check.ledger().total(),
            arrived: self.check.tally().unique,
            is_out: self.stream.is_out(),
            kills: self.kills,
            sending,
        }
    }

    /// How many readings the gateway has committed, and how many dead letters it keeps.
    async fn count(&self) -> anyhow::Result<(u64, u64)> {
        Ok((self.gateway.committed().await?, self.gateway.status().await?.dead_letters))
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

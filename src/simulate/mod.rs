//! The whole gateway against simulated sensors and a simulated stream, and an independent check of what arrived.
//!
//! ```text
//!   fleet ──MQTT──▶ broker ──MQTT──▶ gateway (a process) ──HTTP──▶ stream ──▶ check ──▶ report
//!     ├──────── serial lines, Modbus ──▶──┘                                     │
//!     └───────────────── ledger of what was generated ──────────────────────────┘
//! ```
//!
//! Everything but the gateway runs in this process, so killing the gateway takes nothing else with it. Broker and stream
//! may be real ones instead. At the end, once everything has been committed, the gateway is told that nothing more will
//! come, so that its windows close and their rows can be checked as well ([`windows`]).

pub mod broker;
mod cloud;
pub mod consumer;
pub mod fleet;
pub mod gateway;
pub mod ground;
pub mod modbus;
pub mod pty;
pub mod replay;
pub mod report;
pub mod sensor;
pub mod serial;
pub mod stream;
pub mod verify;
pub mod windows;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use broker::Broker;
use cloud::{Cloud, Real};
use fleet::{FleetError, Ledger, Target};
use gateway::{Gateway, Place, Wires};
use ground::{Firm, Ground};
use pty::Pty;
use report::{Findings, Report};
use sensor::Sensor;
use stream::{Faults, Stream};
use verify::Check;
use windows::Evidence;

use crate::clock::Clock;
use crate::http::Status;

/// How often the run looks around.
const TICK: Duration = Duration::from_millis(100);
/// What the broker has handed over and the gateway has delivered is in the stream by then.
const SETTLED: Duration = Duration::from_secs(3);
/// The gateway's status is of the last half second: what it says after so long, it says of a moment since then.
const STATUS_IS_NEW: Duration = Duration::from_secs(1);
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
    pub config: Option<PathBuf>,
    pub http: Option<SocketAddr>,
    /// A real broker and the endpoint of a real stream, instead of the simulated ones.
    pub mqtt: Option<Target>,
    pub endpoint: Option<String>,
    /// The gateway's data directory: exists, and stays.
    pub dir: PathBuf,
    /// The simulated ports, in a directory that exists.
    pub wires: Wires,
    /// What the gateway's process finds in its environment beside ours.
    pub env: Vec<(String, String)>,
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

/// Runs to the end, and kills the gateway so long after the start; `tell` is called several times a second.
pub async fn run(settings: Settings, kills: Vec<Duration>, tell: impl FnMut(Progress)) -> anyhow::Result<Report> {
    run_on(&mut Firm::new(kills), settings, tell).await
}

/// The same for a gateway on other ground, which says when it is killed and what goes with it.
pub async fn run_on(
    ground: &mut impl Ground,
    settings: Settings,
    mut tell: impl FnMut(Progress),
) -> anyhow::Result<Report> {
    let broker = match settings.mqtt {
        Some(_) => None,
        None => Some(Broker::start().await.context("the simulated broker cannot listen")?),
    };
    let here = |broker: &Broker| Target { host: broker.address().ip().to_string(), port: broker.address().port() };
    let Some(target) = settings.mqtt.clone().or_else(|| broker.as_ref().map(here)) else { unreachable!("one of them") };
    // At a real broker, or in a real stream, others may be simulating as well.
    let name = if settings.mqtt.is_some() || settings.endpoint.is_some() {
        format!("simulated-{:08x}", fastrand::u32(..))
    } else {
        "simulated".to_owned()
    };
    fleet::open_session(&target, &name, gateway::FILTER).await?;
    let seed = settings.faults.seed;
    let mut place = Place {
        name,
        broker: target.clone(),
        endpoint: settings.endpoint.clone().unwrap_or_default(),
        real_stream: settings.endpoint.is_some(),
        http: settings.http.map_or_else(free_address, Ok)?,
        data_dir: settings.dir.clone(),
        config: settings.config.clone(),
        recorded: settings.sensors.iter().any(Sensor::is_recorded),
        wires: settings.wires.clone(),
        env: settings.env,
    };
    let Ok(config) = place.config() else { anyhow::bail!("the configuration has changed since the start") };
    let evidence = Evidence::of(config.windows.into_iter().map(|window| window.spec).collect());
    let ledger = Arc::new(Ledger::new(settings.sensors.len(), Clock::System.now().wall));
    let cloud = cloud(&mut place, settings.faults.clone()).await?;
    let mut run = Run {
        start: Instant::now(),
        gateway: Gateway::start(place)?,
        check: Check::new(&settings.sensors, ledger.clone()).with_windows(evidence),
        broker,
        cloud,
        kills: 0,
        closed: None,
        judged: None,
        played: None,
    };
    let (sensors, wires, duration) = (settings.sensors, settings.wires, settings.duration);
    let fleet = tokio::spawn(async move {
        let line = wires.modbus_port();
        tokio::try_join!(
            fleet::play(&sensors, &target, duration, &ledger),
            serial::play(&sensors, &wires, seed, duration, &ledger),
            modbus::play(&sensors, line, seed, duration.unwrap_or_default(), ledger.clone()),
        )
    });
    let mut fault = run.watch(ground, fleet, &mut tell).await?;
    let counted = async { anyhow::Ok((run.count().await?, run.wires().await?)) }.await;
    let ((committed, dead_letters), wires) = match counted {
        // Of one that has ended nothing can be asked.
        Err(_) if fault.is_some() => Default::default(),
        counted => counted?,
    };
    let ended = run.gateway.stop(STOP_PATIENCE).await?;
    if !ended.success() {
        fault.get_or_insert(format!("the gateway ended with {ended} when it was asked to stop"));
    }
    run.take().await?;
    Ok(Report::new(&Findings {
        seed,
        check: &run.check,
        committed,
        dead_letters,
        counts: run.cloud.counts(),
        usage: run.gateway.usage(),
        kills: run.kills,
        wires,
        fault,
    }))
}

/// A simulation under way.
struct Run {
    start: Instant,
    /// `None`: a real one.
    broker: Option<Broker>,
    cloud: Cloud,
    gateway: Gateway,
    check: Check,
    kills: u64,
    /// When the gateway was told that nothing more will come.
    closed: Option<Instant>,
    /// How many rows had arrived when they were compared last with what should come.
    judged: Option<u64>,
    /// What became of the fleet; its lines stay plugged in.
    played: Option<Played>,
}

type Played = ((), (Vec<Pty>, serial::Done), (Option<Pty>, modbus::Done));

impl Run {
    /// Looks on, and kills when it is time to, until all that was generated has arrived. Says what went wrong if it
    /// did not.
    async fn watch(
        &mut self,
        ground: &mut impl Ground,
        mut fleet: JoinHandle<Result<Played, FleetError>>,
        tell: &mut impl FnMut(Progress),
    ) -> anyhow::Result<Option<String>> {
        let mut tick = tokio::time::interval(TICK);
        let (mut sending, mut seen, mut moved) = (true, 0, Instant::now());
        loop {
            let strikes = tokio::select! {
                () = ground.strike() => true,
                _ = tick.tick() => false,
                played = &mut fleet, if sending => {
                    self.played = Some(played.context("the fleet broke down")??);
                    sending = false;
                    false
                }
            };
            if strikes && let Some(fault) = self.kill(ground).await? {
                return Ok(Some(fault));
            }
            self.take().await?;
            self.gateway.look();
            // It may have ended as it should, sooner than we were told.
            if let Some(ended) = self.gateway.ended()?
                && (ended.code().is_none() || !ground.allows(ended))
            {
                return Ok(Some(by_itself(ended)));
            }
            let progress = self.progress(sending);
            tell(progress);
            let arrived = progress.arrived + self.check.windows().delivered();
            if sending || progress.is_out || arrived != seen {
                (seen, moved) = (arrived, Instant::now());
            }
            if !sending && ground.is_quiet() && self.is_over(moved.elapsed()).await {
                return Ok(None);
            }
            if moved.elapsed() > STALLED {
                return Ok(Some(format!("nothing has arrived for {} s", STALLED.as_secs())));
            }
        }
    }

    /// Kills the gateway and starts it again. Says what went wrong if it was not the kill that ended it.
    async fn kill(&mut self, ground: &mut impl Ground) -> anyhow::Result<Option<String>> {
        self.kills += 1;
        let ended = self.gateway.kill(ground).await?;
        self.check.killed(Clock::System.now().wall);
        if !ground.allows(ended) {
            return Ok(Some(by_itself(ended)));
        }
        self.gateway.restart()?;
        Ok(None)
    }

    /// Gives the check what has arrived.
    async fn take(&mut self) -> anyhow::Result<()> {
        self.cloud.take().await?.iter().for_each(|record| self.check.take(record));
        Ok(())
    }

    /// Everything is acknowledged and delivered. What is missing after a while of that will not come any more.
    async fn is_over(&mut self, still: Duration) -> bool {
        let pending = self.broker.as_ref().map_or(0, Broker::pending);
        if pending > 0 || (self.check.lost() > 0 && still < SETTLED) {
            return false;
        }
        let Ok(status) = self.gateway.status().await else { return false };
        status.queue.readings == 0 && (!self.check.windows().has_windows() || self.rows_are_over(&status, still).await)
    }

    /// The windows are closed, and their rows delivered.
    async fn rows_are_over(&mut self, status: &Status, still: Duration) -> bool {
        let Some(closed) = self.closed else {
            // Where it does not answer, it is asked again.
            self.closed = self.gateway.close_windows().await.is_ok().then(Instant::now);
            return false;
        };
        // A status from before the end would say that nothing waits.
        let still = still.min(closed.elapsed());
        if still < STATUS_IS_NEW || status.queue.unfolded > 0 || status.queue.rows > 0 {
            return false;
        }
        // Working all out takes its time: it is done again only when more has come.
        let delivered = self.check.windows().delivered();
        let news = self.judged.replace(delivered) != Some(delivered);
        still >= SETTLED || news && delivered >= self.check.windows().judge().expected
    }

    fn progress(&self, sending: bool) -> Progress {
        Progress {
            elapsed: self.start.elapsed(),
            generated: self.check.ledger().total(),
            arrived: self.check.tally().unique,
            is_out: self.cloud.is_out(),
            kills: self.kills,
            sending,
        }
    }

    /// What was done on the wires, and what the gateway has counted of it in this life.
    async fn wires(&self) -> anyhow::Result<report::Wires> {
        let Some(((), (_, serial), (_, modbus))) = &self.played else { return Ok(report::Wires::default()) };
        Ok(report::Wires {
            corrupt_frames: serial.corrupt,
            corrupt_frames_counted: self.gateway.sum("tidegate_source_frame_faults_total").await?,
            exceptions: modbus.exceptions,
            exceptions_counted: self.gateway.sum(r#"tidegate_modbus_faults_total{fault="exception""#).await?,
            unplugged: serial.unplugged + modbus.unplugged,
        })
    }

    /// How many readings the gateway has committed, and how many dead letters it keeps.
    async fn count(&self) -> anyhow::Result<(u64, u64)> {
        Ok((self.gateway.committed().await?, self.gateway.status().await?.dead_letters))
    }
}

/// The stream that this gateway is to deliver to; one of our own is told to it.
async fn cloud(place: &mut Place, faults: Faults) -> anyhow::Result<Cloud> {
    if place.real_stream {
        let Ok(config) = place.config() else { anyhow::bail!("the configuration has changed since the start") };
        let kinesis = config.kinesis;
        let real = Real::open(&place.endpoint, &kinesis.stream, &kinesis.region, &place.name).await?;
        return Ok(Cloud::Real(Box::new(real)));
    }
    let settings = stream::Settings { stream: gateway::STREAM.to_owned(), shards: SHARDS, faults };
    let stream = Stream::start(settings).await.context("the simulated stream cannot listen")?;
    place.endpoint = stream.url();
    Ok(Cloud::Simulated(stream, 0))
}

fn by_itself(ended: ExitStatus) -> String {
    format!("the gateway ended by itself with {ended}")
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

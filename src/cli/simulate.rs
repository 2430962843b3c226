//! `tidegate simulate`: the whole gateway with nothing else installed, and a check that nothing was lost.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::{ask, load};
use crate::gateway;
use crate::simulate::fleet::Target;
use crate::simulate::gateway::{Place, Wires};
use crate::simulate::replay::Rows;
use crate::simulate::sensor::Sensor;
use crate::simulate::stream::{Deed, Faults, Outage, Sabotage};
use crate::simulate::{self, Progress, Settings};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  tidegate simulate\n  tidegate simulate --mqtt-sensors 50 --rate 20 --outage 2s+4s \
                  --throttle 0.3 --kill-after 3\n  tidegate simulate --mqtt mqtt://localhost --endpoint \
                  https://kinesis.eu-west-1.amazonaws.com -c tidegate.toml\n  tidegate simulate --replay history.csv --speed 1000\n\n\
                  Durations are written 20s, 500ms, 2m; a bare number is seconds. Exit code 1 if anything is lost, \
                  changed or out of order, or a row of a window is wrong. Without -c a few windows run, by the second \
                  for sensors and by the hour for files.\n\nWhere this program runs in an emulator, TIDEGATE_RUNNER has \
                  the words that start it, such as `qemu-aarch64-static -L /usr/aarch64-linux-gnu`."
)]
pub struct Args {
    /// How long the sensors send [default: 20s; with --replay to the end of the files]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// How many sensors publish over MQTT [default: 20; with --replay 0]
    #[arg(long, value_name = "N")]
    mqtt_sensors: Option<usize>,
    /// How many sensors send frames over a serial line each [default: 4; with --replay 0]
    #[arg(long, value_name = "N")]
    serial_sensors: Option<usize>,
    /// How many meters are polled by Modbus on one line
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u8).range(..=247))]
    modbus_units: u8,
    /// Readings a second of each sensor
    #[arg(long, default_value_t = 10.0, value_name = "HZ", value_parser = rate)]
    rate: f64,
    /// What the sensors and the faults are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The link is down from START for LENGTH
    #[arg(long, value_name = "START+LENGTH", value_parser = outage)]
    outage: Vec<Outage>,
    /// The fraction of records Kinesis refuses for throughput
    #[arg(long, default_value_t = 0.0, value_name = "FRACTION", value_parser = fraction)]
    throttle: f64,
    /// Kill the gateway (SIGKILL) at this moment, and start it again
    #[arg(long, value_name = "TIME", value_parser = duration)]
    kill_after: Vec<Duration>,
    /// A configuration to take [queue], [batch], [link], limits and every [[window]] from
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A sensor for each CSV file (a column time, timestamp or ts; the rest are fields)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    replay: Vec<PathBuf>,
    /// How many times as fast as recorded a file is replayed
    #[arg(long, default_value_t = 60.0, value_name = "FACTOR", value_parser = rate)]
    speed: f64,
    /// Where the gateway's status and metrics are served [default: a free port]
    #[arg(long, value_name = "ADDR", value_parser = ask::address)]
    http: Option<SocketAddr>,
    /// Publish to this broker, and have the gateway subscribe there: sensors/NAME/telemetry, MQTT 5
    #[arg(long, value_name = "URL")]
    mqtt: Option<Target>,
    /// Deliver to this Kinesis endpoint, with your credentials; stream and region from --config [stream: simulated]
    #[arg(long, value_name = "URL", value_parser = endpoint, conflicts_with_all = ["outage", "throttle"])]
    endpoint: Option<String>,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// Keep the gateway's data directory here
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    // The command line of the gateway's own process.
    #[arg(long, hide = true, requires_all = ["http", "keep", "mqtt", "endpoint"])]
    as_gateway: Option<String>,
    #[arg(long, hide = true, requires = "as_gateway")]
    real_stream: bool,
    #[arg(long, hide = true, requires = "as_gateway")]
    recorded: bool,
    #[arg(long, hide = true, requires = "as_gateway")]
    wires: Option<PathBuf>,
    /// Has the simulated stream lie once, to try the check.
    #[arg(long, hide = true, value_parser = sabotage, conflicts_with = "endpoint")]
    sabotage: Option<Sabotage>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(place) = place(&args) {
        return run_gateway(&place);
    }
    // Found out before anything starts; the gateway reads it again.
    args.config.as_deref().map(load::load).transpose()?;
    // Gone with their names at the end of this function.
    let (temporary, wires) = (Temporary::new()?, Temporary::new()?);
    let dir = args.keep.as_deref().map_or(Ok(temporary.0.clone()), keep)?;
    let settings = settings(&args, dir, wires.0.clone())?;
    let (until, bar) = (settings.duration, bar(settings.duration));
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = simulate::run(settings, args.kill_after.clone(), |progress| show(&bar, until, progress)) => report,
            () = asked_to_stop() => bail!("interrupted: nothing was checked"),
        }
    });
    bar.finish_and_clear();
    let report = report?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn asked_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

fn place(args: &Args) -> Option<Place> {
    Some(Place {
        name: args.as_gateway.clone()?,
        broker: args.mqtt.clone()?,
        real_stream: args.real_stream,
        endpoint: args.endpoint.clone()?,
        http: args.http?,
        data_dir: args.keep.clone()?,
        config: args.config.clone(),
        recorded: args.recorded,
        wires: wires(args, args.wires.clone().unwrap_or_default()),
        env: Vec::new(),
    })
}

fn run_gateway(place: &Place) -> anyhow::Result<ExitCode> {
    let Ok(config) = place.config() else { bail!("the configuration has changed since the start") };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        gateway::run(config, async move {
            terminate.recv().await;
        })
        .await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The simulated ports in this directory.
fn wires(args: &Args, dir: PathBuf) -> Wires {
    let serial = args.serial_sensors.unwrap_or(if args.replay.is_empty() { 4 } else { 0 });
    Wires { dir, serial, modbus: args.modbus_units.into(), poll: poll(args.rate) }
}

/// No meter is polled more often than may be configured.
fn poll(rate: f64) -> Duration {
    Duration::try_from_secs_f64(rate.recip())
        .unwrap_or(Duration::MAX)
        .clamp(Duration::from_millis(10), Duration::from_hours(24))
}

fn settings(args: &Args, dir: PathBuf, wires_dir: PathBuf) -> anyhow::Result<Settings> {
    let wires = wires(args, wires_dir);
    let published = args.mqtt_sensors.unwrap_or(if args.replay.is_empty() { 20 } else { 0 });
    let published = (0..published).map(|index| Sensor::synthetic(args.seed, index, args.rate));
    let framed = (0..wires.serial).map(|index| Sensor::serial(args.seed, index, args.rate));
    let asked = (0..wires.modbus).map(|index| Sensor::modbus(args.seed, index, args.rate));
    let mut sensors: Vec<Sensor> = published.chain(framed).chain(asked).collect();
    let synthetic = sensors.len();
    for file in &args.replay {
        let stem = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy();
        let device = stem.replace(['/', '+', '#'], "_");
        if sensors.iter().any(|sensor| *sensor.device == *device) {
            bail!("two sensors would be called {device}: rename {}", file.display());
        }
        sensors.push(Sensor::replay(device.into(), Arc::new(Rows::load(file)?), args.speed));
    }
    if sensors.is_empty() {
        bail!("there is no sensor: give --mqtt-sensors, --serial-sensors, --modbus-units or --replay");
    }
    let default = (args.replay.is_empty() || synthetic > 0).then_some(Duration::from_secs(20));
    let faults = Faults {
        seed: args.seed,
        throttle: args.throttle,
        outages: args.outage.clone(),
        sabotage: args.sabotage,
        ..Faults::default()
    };
    Ok(Settings {
        duration: args.duration.or(default),
        sensors,
        faults,
        config: args.config.clone(),
        http: args.http,
        mqtt: args.mqtt.clone(),
        endpoint: args.endpoint.clone(),
        dir,
        wires,
        env: Vec::new(),
    })
}

/// A data directory that stays; one that is not empty holds readings of another run, which would confuse the check.
fn keep(dir: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    if std::fs::read_dir(dir)?.next().is_some() {
        bail!("{} is not empty: name a new directory", dir.display());
    }
    Ok(std::path::absolute(dir)?)
}

/// A directory that goes with the run.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> anyhow::Result<Self> {
        let name = format!("tidegate-simulate-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is in a place made for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Drawn only where somebody watches.
fn bar(duration: Option<Duration>) -> ProgressBar {
    let (bar, template) = match duration {
        Some(duration) => (ProgressBar::new(duration.as_millis() as u64), "{bar:30} {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
    };
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, duration: Option<Duration>, progress: Progress) {
    let Progress { elapsed, generated, arrived, is_out, kills, sending } = progress;
    bar.set_position(elapsed.min(duration.unwrap_or(elapsed)).as_millis() as u64);
    let link = if is_out { ", link down" } else { "" };
    let killed = if kills > 0 { format!(", killed {kills} times") } else { String::new() };
    let doing = if sending { "sending" } else { "draining" };
    bar.set_message(format!("{doing} {} s: {generated} generated, {arrived} arrived{link}{killed}", elapsed.as_secs()));
}

fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 20s, 500ms or 2m"))
}

fn outage(text: &str) -> Result<Outage, String> {
    let (start, length) = text.split_once('+').ok_or("write START+LENGTH, as in 2s+4s")?;
    Ok(Outage { start: duration(start)?, length: duration(length)? })
}

fn endpoint(text: &str) -> Result<String, String> {
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    if is_url { Ok(text.to_owned()) } else { Err("write http://HOST:PORT or https://HOST".to_owned()) }
}

fn sabotage(text: &str) -> Result<Sabotage, String> {
    let (deed, stream) = match text.split_once('-') {
        Some((deed, "rows")) => (deed, "rows"),
        _ => (text, "readings"),
    };
    let deed = match deed {
        "lose" => Deed::Lose,
        "change" => Deed::Change,
        "swap" => Deed::Swap,
        _ => return Err("write lose, change or swap, or lose-rows and so on".to_owned()),
    };
    Ok(Sabotage { stream, deed })
}

fn fraction(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number")?;
    if (0.0..1.0).contains(&number) { Ok(number) } else { Err("write a fraction from 0 to below 1".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number")?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("write a number above 0".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_numbers_are_seconds() {
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert!(duration("soon").unwrap_err().contains("20s"));
        assert!(duration("-1").is_err());
        let expected = Outage { start: Duration::from_secs(2), length: Duration::from_secs(4) };
        assert_eq!(outage("2s+4s"), Ok(expected));
        assert_eq!(outage("2+4"), Ok(expected));
        assert!(outage("2s").is_err());
    }

    #[test]
    fn a_fraction_lies_below_one_and_a_rate_above_zero() {
        assert_eq!(fraction("0.3"), Ok(0.3));
        assert!(fraction("1").is_err() && fraction("-0.1").is_err() && fraction("x").is_err());
        assert_eq!(rate("20"), Ok(20.0));
        assert!(rate("0").is_err() && rate("inf").is_err());
    }
}

//! The gateway of a simulation: a process of its own, so that it can be killed and so that its memory, its processor
//! time and its writes are its own.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use super::fleet::Target;
use super::ground::Ground;
use super::windows;
use crate::cli::ask;
use crate::config::{self, Config};
use crate::http::Status;

pub const FILTER: &str = "sensors/+/telemetry";
pub const STREAM: &str = "simulated";

/// The words of an emulator, such as `qemu-aarch64-static -L /usr/aarch64-linux-gnu`: how the process is started on a
/// machine whose kernel cannot run this program itself.
const RUNNER: &str = "TIDEGATE_RUNNER";

/// One that is about to be killed is waited for so long.
const TO_BE_ASKED: Duration = Duration::from_millis(200);

/// What the process is told on its hidden command line.
#[derive(Clone, Debug)]
pub struct Place {
    /// The gateway's id, and its client id: at a real broker and in a real stream no one else's.
    pub name: String,
    pub broker: Target,
    pub endpoint: String,
    /// Whether the stream is one of the user's: its name, region and credentials are his as well.
    pub real_stream: bool,
    pub http: SocketAddr,
    pub data_dir: PathBuf,
    /// A user's configuration to start from.
    pub config: Option<PathBuf>,
    /// Whether there are sensors that replay files: event times are not those of the clock on the wall.
    pub recorded: bool,
    pub wires: Wires,
    /// What the process finds in its environment beside ours.
    pub env: Vec<(String, String)>,
}

/// The simulated ports.
#[derive(Clone, Debug, Default)]
pub struct Wires {
    /// Where they are found.
    pub dir: PathBuf,
    /// Sensors on a serial line each.
    pub serial: usize,
    /// Meters on one line, and how often each is polled.
    pub modbus: usize,
    pub poll: Duration,
}

impl Wires {
    /// The port of a serial sensor.
    #[must_use]
    pub fn serial_port(&self, index: usize) -> PathBuf {
        self.dir.join(format!("serial-{index:03}"))
    }

    /// The port of the meters.
    #[must_use]
    pub fn modbus_port(&self) -> PathBuf {
        self.dir.join("meters")
    }

    /// A name of its own for the source of a serial sensor; the device is what its HELLO says.
    fn sources(&self) -> String {
        let mut text = String::new();
        for index in 0..self.serial {
            text += &format!(
                "[[source]]\ntype = \"serial\"\nname = \"line-{index:03}\"\nport = \"{}\"\nframing = \"cobs\"\n\
                 time = \"{}\"\n",
                self.serial_port(index).display(),
                super::sensor::TIME
            );
        }
        if self.modbus > 0 {
            // Nobody here is silent for good: a machine that stands still for a while is not to lose an answer by it.
            let port = self.modbus_port();
            text += &format!(
                "[[source]]\ntype = \"modbus\"\nname = \"meters\"\ntransport = \"rtu\"\nport = \"{}\"\n\
                 timeout = \"2s\"\ngap = \"1ms\"\n",
                port.display()
            );
        }
        for index in 0..self.modbus {
            text += &super::modbus::unit(index, self.poll);
        }
        text
    }
}

impl Place {
    /// The configuration of a simulated gateway: a user's own, with doors and road led into the simulation. Readings
    /// are delivered even where he wants rows alone: they are what the check goes by.
    pub fn config(&self) -> Result<Config, Vec<config::Fault>> {
        let text = format!(
            "[gateway]\nid = \"{name}\"\n\
             [[source]]\ntype = \"mqtt\"\nname = \"fleet\"\nurl = \"{broker}\"\nclient_id = \"{name}\"\n\
             [[source.subscribe]]\nfilter = \"{FILTER}\"\ntopic = \"sensors/{{device}}/telemetry\"\nformat = \"json\"\n\
             time = \"{}\"\n{wires}\
             [kinesis]\nstream = \"{STREAM}\"\nregion = \"{region}\"\nbackoff = {{ base = \"100ms\", max = \"2s\" }}\n\
             {windows}",
            super::sensor::TIME,
            windows = if self.recorded { windows::RECORDED } else { windows::LIVE },
            wires = self.wires.sources(),
            name = self.name,
            broker = self.broker,
            region = std::env::var("AWS_REGION").unwrap_or_else(|_| "eu-west-1".to_owned()),
        );
        let env = config::Environment::of_process();
        let (simulated, _) = config::parse(&text, Path::new("simulated"), &env)?;
        let mut config = match &self.config {
            Some(file) => config::load(file, &env)?.0,
            None => simulated.clone(),
        };
        config.sources = simulated.sources;
        config.forward.readings = true;
        config.gateway.data_dir.clone_from(&self.data_dir);
        config.gateway.id = simulated.gateway.id;
        if !self.real_stream {
            config.kinesis.stream = simulated.kinesis.stream;
        }
        config.kinesis.endpoint_url = Some(self.endpoint.clone());
        config.http = config::Http { listen: Some(self.http), token: None };
        Ok(config)
    }

    fn command(&self) -> io::Result<Command> {
        let mut command = emulated(std::env::current_exe()?, &std::env::var(RUNNER).unwrap_or_default());
        command
            .args(["simulate", "--as-gateway", &self.name, "--http", &self.http.to_string(), "--keep"])
            .arg(&self.data_dir);
        command.args(["--mqtt", &self.broker.to_string(), "--endpoint", &self.endpoint]);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if self.recorded {
            command.arg("--recorded");
        }
        let Wires { dir, serial, modbus, poll } = &self.wires;
        command.args(["--serial-sensors", &serial.to_string(), "--modbus-units", &modbus.to_string()]);
        command.args(["--rate", &poll.as_secs_f64().recip().to_string(), "--wires"]).arg(dir);
        if self.real_stream {
            command.arg("--real-stream");
        } else {
            command.env("AWS_ACCESS_KEY_ID", "simulated").env("AWS_SECRET_ACCESS_KEY", "simulated");
            command.env("AWS_EC2_METADATA_DISABLED", "true").env_remove("AWS_SESSION_TOKEN").env_remove("AWS_PROFILE");
        }
        // Lines that are pulled out and links that go down are the point here: the verdict tells, not the log.
        if std::env::var_os("TIDEGATE_LOG_LEVEL").is_none() {
            command.env("TIDEGATE_LOG_LEVEL", "error");
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        // The terminal's interrupt is for the simulation, which then ends the gateway.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}

/// A program as the words of an emulator start it, or by itself where there are none.
fn emulated(program: PathBuf, runner: &str) -> Command {
    let mut words = runner.split_whitespace();
    let Some(emulator) = words.next() else { return Command::new(program) };
    let mut command = Command::new(emulator);
    command.args(words).arg(program);
    command
}

/// What a process took from its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub rss_peak_bytes: u64,
    pub cpu_seconds: f64,
    /// Bytes that were sent to the disk, as `/proc/PID/io` counts them: by the page, and where the kernel has large
    /// folios by the folio, which may be many times what the disk is given.
    pub disk_bytes_written: u64,
}

/// The process, over all its lives.
pub struct Gateway {
    place: Place,
    child: Child,
    /// Of the lives that are over.
    past: Usage,
    /// Of this life, as last seen.
    present: Usage,
    committed_past: u64,
}

impl Gateway {
    pub fn start(place: Place) -> anyhow::Result<Self> {
        let child = spawn(&place)?;
        Ok(Self { place, child, past: Usage::default(), present: Usage::default(), committed_past: 0 })
    }

    /// SIGKILL, and what goes with it on this ground. Says how the process ended.
    pub async fn kill(&mut self, ground: &mut impl Ground) -> anyhow::Result<ExitStatus> {
        self.look();
        // A life too short to be asked, or without a disk, has committed little; what it has is not counted.
        let committed = tokio::time::timeout(TO_BE_ASKED, self.committed()).await;
        self.committed_past =
            committed.map_or(self.committed_past, |committed| committed.unwrap_or(self.committed_past));
        let ended = ground.cut(&mut self.child).await?;
        self.past = self.usage();
        self.present = Usage::default();
        Ok(ended)
    }

    /// The next life, where the last is over.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.place)?;
        Ok(())
    }

    /// Its exit status, should it have ended by itself.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Takes note of what the process has used so far.
    pub fn look(&mut self) {
        if let Some(usage) = self.child.id().and_then(usage) {
            self.present = usage;
        }
    }

    /// Of all its lives.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            rss_peak_bytes: self.past.rss_peak_bytes.max(self.present.rss_peak_bytes),
            cpu_seconds: self.past.cpu_seconds + self.present.cpu_seconds,
            disk_bytes_written: self.past.disk_bytes_written + self.present.disk_bytes_written,
        }
    }

    pub async fn status(&self) -> anyhow::Result<Status> {
        serde_json::from_slice(&self.ask("/status").await?).context("the gateway's status is not what it should be")
    }

    /// How many readings it says it has committed in all its lives; what it did between the last question and a
    /// kill it could tell nobody.
    pub async fn committed(&self) -> anyhow::Result<u64> {
        Ok(self.committed_past + self.sum(r#"tidegate_readings_total{outcome="committed""#).await?)
    }

    /// The sum of all metrics whose text begins so, of this life.
    pub async fn sum(&self, beginning: &str) -> anyhow::Result<u64> {
        let text = String::from_utf8(self.ask("/metrics").await?)?;
        let counts = text.lines().filter(|line| line.starts_with(beginning));
        let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(counts.sum::<f64>() as u64)
    }

    /// Has every window that is open close.
    pub async fn close_windows(&self) -> anyhow::Result<()> {
        ask::answer(ask::post(self.place.http, "/windows/close", None).await?).map(drop)
    }

    async fn ask(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        ask::answer(ask::get(self.place.http, path, None).await?)
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.look();
        if let Some(pid) = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32)) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(ended) => Ok(ended?),
            Err(_) => anyhow::bail!("the gateway did not stop within {} s of SIGTERM", patience.as_secs()),
        }
    }
}

fn spawn(place: &Place) -> anyhow::Result<Child> {
    place.command()?.spawn().context("the gateway cannot be started")
}

/// Reads /proc; `None` where there is none, or the process is gone.
fn usage(pid: u32) -> Option<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let number = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    // Fields 14 and 15 are user and system time; the second may hold blanks, and ends in a bracket.
    let stat = read("stat")?;
    let ticks: Vec<u64> = stat
        .rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|tick| tick.parse().ok())
        .collect();
    Some(Usage {
        rss_peak_bytes: number(&read("status")?, "VmHWM:")? * 1_024,
        cpu_seconds: ticks.iter().sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64,
        disk_bytes_written: number(&read("io")?, "write_bytes:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(config: Option<PathBuf>) -> Place {
        Place {
            name: "simulated".to_owned(),
            broker: Target { host: "127.0.0.1".to_owned(), port: 1884 },
            real_stream: false,
            endpoint: "http://127.0.0.1:1".to_owned(),
            http: ([127, 0, 0, 1], 9471).into(),
            data_dir: "/tmp/simulated".into(),
            config,
            recorded: false,
            wires: Wires { dir: "/tmp/wires".into(), serial: 2, modbus: 2, poll: Duration::from_millis(100) },
            env: Vec::new(),
        }
    }

    #[test]
    fn an_emulator_is_started_with_its_words_and_the_program_and_none_where_there_are_no_words() {
        let words = |runner: &str| {
            let command = emulated("/tmp/tidegate".into(), runner);
            let command = command.as_std();
            [&[command.get_program()][..], &command.get_args().collect::<Vec<_>>()].concat().join(" ".as_ref())
        };
        assert_eq!(words("qemu-arm-static -L  /usr/arm"), "qemu-arm-static -L /usr/arm /tmp/tidegate");
        assert_eq!(words(" "), "/tmp/tidegate");
    }

    #[test]
    fn a_users_configuration_keeps_its_settings_and_loses_its_doors_and_its_road() {
        let file = std::env::temp_dir().join(format!("tidegate-simulate-{}.toml", std::process::id()));
        let text = "[[source]]\ntype = \"mqtt\"\nname = \"plant\"\nurl = \"mqtt://10.0.0.1\"\n\
                    [[source.subscribe]]\nfilter = \"#\"\nformat = \"json\"\n\
                    [batch]\nmax_age = \"1s\"\n[kinesis]\nstream = \"telemetry\"\nregion = \"us-east-1\"\n\
                    [forward]\nreadings = \"none\"\n[[window]]\nname = \"all\"\n\
                    sql = \"SELECT COUNT(*) FROM readings GROUP BY TUMBLE(time, INTERVAL '1' SECOND)\"\n";
        std::fs::write(&file, text).unwrap();
        let config = place(Some(file.clone())).config().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(config.batch.max_age, Duration::from_secs(1));
        assert_eq!(config.kinesis.endpoint_url.as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(config.sources, place(None).config().unwrap().sources);
        let names: Vec<_> = config.windows.iter().map(|window| &*window.spec.name).collect();
        assert_eq!((names, config.forward.readings), (vec!["all"], true));
    }

    #[test]
    fn windows_suit_what_the_sensors_send() {
        let names = |place: Place| -> Vec<String> {
            place.config().unwrap().windows.iter().map(|window| window.spec.name.to_string()).collect()
        };
        assert_eq!(names(place(None)), ["samples_5s", "hops_6s", "sessions"]);
        assert_eq!(names(Place { recorded: true, ..place(None) }), ["samples_1h", "hops_1d", "sessions"]);
    }

    #[test]
    fn the_usage_of_a_process_is_read_from_the_system() {
        let used = usage(std::process::id()).unwrap();
        assert!(used.rss_peak_bytes > 1 << 20);
        assert!(usage(u32::MAX).is_none());
    }
}

//! What the gateway takes from its machine: `cargo bench --bench footprint`.
//!
//! - start to first PUBACK: from the start of the process to the moment at which a message that waited at the broker is
//!   acknowledged, so on stable storage; with an empty queue, and with ten million readings in it;
//! - resident memory (`VmHWM`): at 1,000 readings/s of 200 devices through five windows, online, and offline with that
//!   backlog in the queue and in front of the windows;
//! - processor time a reading, online.
//!
//! The broker and the stream are the simulated ones; the gateway is the real binary on a real disk:
//! this build's, or the one that `TIDEGATE_TEST_GATEWAY` starts, such as that of `cross/build`.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumqttc::mqttbytes::QoS;
use rumqttc::{AsyncClient, MqttOptions, PublishOptions};
use tidegate::cli::ask;
use tidegate::clock::{Clock, boot_id};
use tidegate::queue::entry::{Entry, Stamp};
use tidegate::queue::{Queue, SledStore, Store, generation_bytes};
use tidegate::reading::{Micros, Reading, Series, Value};
use tidegate::simulate::broker::Broker;
use tidegate::simulate::stream::{Faults, Settings, Stream};

#[path = "../tests/support/binary.rs"]
mod binary;
use binary::binary;

const DEVICES: usize = 200;
const BACKLOG: u64 = 10_000_000;
const STARTS: usize = 5;
const NOWHERE: &str = "http://127.0.0.1:1";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let broker = Broker::start().await?;
    let stream =
        Stream::start(Settings { stream: "telemetry".to_owned(), shards: 1, faults: Faults::default() }).await?;
    let fleet = Fleet::connect(broker.address().port());

    let place = Place::new(&broker);
    place.start_and_subscribe().await?.stop()?;
    println!("start to first PUBACK, empty: {} (at most 150 ms)", starts(&place, &broker, &fleet).await?);

    let place = place.fresh().with_windows().with_endpoint(&stream.url());
    let (memory, processor) = load(&place, &fleet).await?;
    println!("online, {DEVICES} devices, 1,000 readings/s, 5 windows: {memory} (at most 35 MB); {processor}");

    let place = place.fresh();
    place.start_and_subscribe().await?.stop()?;
    let made = Instant::now();
    fill(&place.data_dir())?;
    let on_disk = SledStore::open(&place.data_dir())?.used(None)? as f64 / BACKLOG as f64;
    println!("{BACKLOG} readings committed in {:.1} s, {on_disk:.1} bytes each on disk", made.elapsed().as_secs_f64());
    println!("start to first PUBACK, with that backlog: {} (at most 400 ms)", starts(&place, &broker, &fleet).await?);
    let place = place.with_windows();
    let (memory, _) = load(&place, &fleet).await?;
    println!("the same load, with that backlog, offline: {memory} (at most 45 MB)");
    fs::remove_dir_all(&place.dir)?;
    Ok(())
}

/// The least, the middle and the longest of a few starts.
async fn starts(place: &Place, broker: &Broker, fleet: &Fleet) -> anyhow::Result<String> {
    let mut took = Vec::new();
    for _ in 0..STARTS {
        fleet.publish(0).await?;
        until("the message is at the broker", async || broker.pending() > 0).await?;
        let start = Instant::now();
        let gateway = place.start()?;
        until("it is acknowledged", async || broker.pending() == 0).await?;
        took.push(start.elapsed().as_millis());
        gateway.stop()?;
    }
    took.sort_unstable();
    Ok(format!("{} ms ({} to {})", took[STARTS / 2], took[0], took[STARTS - 1]))
}

/// Half a minute at full rate: what it takes of memory, and of the processor.
async fn load(place: &Place, fleet: &Fleet) -> anyhow::Result<(String, String)> {
    const TICKS: u64 = 6_000;
    const READINGS_A_TICK: u64 = 5;
    let gateway = place.start_and_subscribe().await?;
    let before = gateway.processor_time()?;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    for n in 0..TICKS {
        tick.tick().await;
        for device in 0..READINGS_A_TICK {
            fleet.publish(n * READINGS_A_TICK + device).await?;
        }
    }
    let each = (gateway.processor_time()? - before) * 1e6 / (TICKS * READINGS_A_TICK) as f64;
    let peak = gateway.memory("VmHWM:")?;
    let (data, code) = (gateway.memory("RssAnon:")?, gateway.memory("RssFile:")?);
    gateway.stop()?;
    let memory = format!("{peak:.1} MB at most; at the end {data:.1} of data, {code:.1} of code");
    Ok((memory, format!("{each:.0} µs of processor time a reading")))
}

/// Commits a backlog as the gateway itself would have, a thousand readings a group.
fn fill(data_dir: &Path) -> anyhow::Result<()> {
    let store: Arc<dyn Store> = Arc::new(SledStore::open(data_dir)?);
    let now = Clock::System.now();
    let (queue, mut appenders) = Queue::open(store, now, generation_bytes(2 << 30))?;
    let series: Vec<_> = (0..DEVICES).map(series).collect();
    let names = ["temp", "hum", "n", "on"].map(Arc::<str>::from);
    let mut random = fastrand::Rng::with_seed(1);
    let begin = now.wall.0 - BACKLOG as i64 * 1_000;
    for group in 0..BACKLOG / 1_000 {
        let received = begin + group as i64 * Micros::PER_SECOND;
        let reading = |n: u64| Reading {
            time: Some(Micros(received + n as i64 * 1_000)),
            series: series[n as usize % DEVICES].clone(),
            fields: names.iter().cloned().zip(fields(group * 1_000 + n, &mut random)).collect(),
        };
        let entries = (0..1_000).map(reading).map(|reading| Entry::Reading { reading, age: 0 }).collect();
        let stamp = Stamp { received, boot: boot_id().into(), mono: now.mono.0, synced: true };
        appenders.readings.append(queue.identity.epoch, stamp, entries)?;
        if group % 20 == 19 {
            appenders.readings.sync()?;
        }
    }
    appenders.readings.sync()?;
    Ok(())
}

fn series(device: usize) -> Arc<Series> {
    Arc::new(Series { source: "plant".into(), device: format!("press-{device}").into(), ..Series::default() })
}

fn fields(n: u64, random: &mut fastrand::Rng) -> [Value; 4] {
    let decimal = |x: i64| Value::F64(x as f64 / 100.0);
    [
        decimal(2_000 + random.i64(0..100)),
        decimal(5_000 + random.i64(0..100)),
        Value::U64(n),
        Value::Bool(n.is_multiple_of(7)),
    ]
}

/// A publisher of all devices.
struct Fleet(AsyncClient);

impl Fleet {
    fn connect(port: u16) -> Self {
        let mut options = MqttOptions::new("fleet", ("127.0.0.1", port));
        options.set_outgoing_inflight_upper_limit(1_000);
        let (client, mut events) = AsyncClient::builder(options).capacity(1_000).build();
        tokio::spawn(async move { while events.poll().await.is_ok() {} });
        Self(client)
    }

    async fn publish(&self, n: u64) -> anyhow::Result<()> {
        let [Value::F64(temp), Value::F64(hum), ..] = fields(n, &mut fastrand::Rng::with_seed(n)) else {
            unreachable!("two decimals come first")
        };
        let time = Clock::System.now().wall.0;
        let payload = format!(r#"{{"ts":{time},"temp":{temp},"hum":{hum},"n":{n},"on":{}}}"#, n.is_multiple_of(7));
        let topic = format!("sensors/press-{}/telemetry", n as usize % DEVICES);
        self.0.publish(topic, payload, PublishOptions::new(QoS::AtLeastOnce)).await?;
        Ok(())
    }
}

/// A data directory and how the gateway on it is configured.
struct Place {
    dir: PathBuf,
    mqtt_port: u16,
    http: SocketAddr,
    endpoint: String,
    windows: bool,
}

impl Place {
    fn new(broker: &Broker) -> Self {
        let dir = std::env::temp_dir().join(format!("tidegate-footprint-{}", std::process::id()));
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let http = free.expect("the loopback interface has a free port");
        let mqtt_port = broker.address().port();
        Self { dir, mqtt_port, http, endpoint: NOWHERE.to_owned(), windows: false }.fresh()
    }

    /// With nothing in it, and offline.
    fn fresh(self) -> Self {
        let _ = fs::remove_dir_all(&self.dir);
        fs::create_dir_all(&self.dir).expect("there is a directory for temporary files");
        Self { endpoint: NOWHERE.to_owned(), windows: false, ..self }
    }

    fn with_windows(self) -> Self {
        Self { windows: true, ..self }
    }

    fn with_endpoint(self, endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..self }
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn config(&self) -> String {
        let mut text = format!(
            "[gateway]\nid = \"footprint\"\ndata_dir = \"{}\"\n\
             [[source]]\ntype = \"mqtt\"\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
             [[source.subscribe]]\nfilter = \"sensors/+/telemetry\"\ntopic = \"sensors/{{device}}/telemetry\"\n\
             time = \"ts\"\n[http]\nlisten = \"{}\"\n[queue]\ncommit_linger = \"0ms\"\n\
             [kinesis]\nstream = \"telemetry\"\nregion = \"eu-west-1\"\nendpoint_url = \"{}\"\n",
            self.data_dir().display(),
            self.mqtt_port,
            self.http,
            self.endpoint
        );
        let queries = [
            "device, COUNT(*) AS n, AVG(temp) AS mean FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' MINUTE)",
            "device, MIN(temp) AS low, MAX(temp) AS high FROM readings GROUP BY device, TUMBLE(time, INTERVAL '10' SECOND)",
            "device, PERCENTILE(hum, 0.95) AS p95 FROM readings GROUP BY device, TUMBLE(time, INTERVAL '10' SECOND)",
            "device, COUNT(*) AS n FROM readings GROUP BY device, HOP(time, INTERVAL '10' SECOND, INTERVAL '1' MINUTE)",
            "COUNT(*) AS n, SUM(n) AS total FROM readings GROUP BY TUMBLE(time, INTERVAL '10' SECOND)",
        ];
        for (number, query) in queries.iter().enumerate().filter(|_| self.windows) {
            write!(text, "[[window]]\nname = \"w{number}\"\nsql = \"SELECT {query}\"\n").expect("a string takes it");
        }
        text
    }

    fn start(&self) -> anyhow::Result<Gateway> {
        let config = self.dir.join("tidegate.toml");
        fs::write(&config, self.config())?;
        let mut command = binary();
        command.args(["run", "--log-level", "error", "-c"]).arg(&config).stdout(Stdio::null());
        command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
        Ok(Gateway(command.spawn()?))
    }

    /// From here on the broker keeps messages for it.
    async fn start_and_subscribe(&self) -> anyhow::Result<Gateway> {
        let gateway = self.start()?;
        until("the gateway is ready", async || self.is_ready().await).await?;
        Ok(gateway)
    }

    async fn is_ready(&self) -> bool {
        matches!(ask::get(self.http, "/readyz", None).await, Ok((200, _)))
    }
}

struct Gateway(Child);

impl Gateway {
    /// A line of `/proc/PID/status`, in megabytes.
    fn memory(&self, key: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next()).unwrap_or_default().parse::<f64>()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// Seconds in which it ran, in user mode and in the kernel.
    fn processor_time(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // proc_pid_stat(5): behind the name in brackets, the 14th and 15th of all.
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = behind_name.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<_, _>>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    fn stop(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_raw(self.0.id() as i32).expect("a process has an id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        anyhow::ensure!(self.0.wait()?.success(), "the gateway failed");
        Ok(())
    }
}

async fn until(what: &str, done: impl AsyncFn() -> bool) -> anyhow::Result<()> {
    let start = Instant::now();
    while !done().await {
        anyhow::ensure!(start.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

//! A fleet, a real broker, the real binary and a stream, and what became of what the fleet sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tidegate::batch::read::{ReadRecord, read_record};
use tidegate::clock::Clock;
use tidegate::simulate::fleet::{Ledger, Target, play};
use tidegate::simulate::sensor::Sensor;
use tidegate::simulate::stream::{Faults, Settings, Stream};
use tidegate::simulate::verify::Check;
use tidegate::simulate::windows::Evidence;
use tokio::task::JoinHandle;

use super::gateway::{PATIENCE, TestGateway, fleet_source, tidegate};
use super::mosquitto::Mosquitto;

pub struct Scene {
    pub broker: Mosquitto,
    pub stream: Stream,
    pub gateway: TestGateway,
    pub sensors: Vec<Sensor>,
    pub ledger: Arc<Ledger>,
}

/// Readings go out five times a second, so that tests need not wait.
pub const QUICK: &str = "[batch]\nmax_age = \"200ms\"\n";
/// Mosquitto keeps what comes while the gateway is away.
pub const PATIENT_BROKER: &str = "max_queued_messages 0\n";

impl Scene {
    /// Everything but the gateway runs; `config` is added to its configuration.
    pub async fn new(name: &str, broker: Mosquitto, faults: Faults, config: &str) -> Self {
        let source = fleet_source(name, broker.port, "");
        Self::with_sources(name, broker, &source, faults, config).await
    }

    /// The same with sources of its own.
    pub async fn with_sources(name: &str, broker: Mosquitto, sources: &str, faults: Faults, config: &str) -> Self {
        let settings = Settings { stream: "telemetry".to_owned(), shards: 2, faults };
        let stream = Stream::start(settings).await.unwrap();
        let gateway = TestGateway::with_sources(name, sources, &stream.url(), config);
        let sensors: Vec<_> = (0..10).map(|index| Sensor::synthetic(5, index, 20.0)).collect();
        let ledger = Arc::new(Ledger::new(sensors.len(), Clock::System.now().wall));
        Self { broker, stream, gateway, sensors, ledger }
    }

    /// The fleet publishes for so long; it is over once the broker has confirmed everything.
    pub fn publish(&self, duration: Duration) -> JoinHandle<()> {
        let target = Target { host: "127.0.0.1".to_owned(), port: self.broker.port };
        let (sensors, ledger) = (self.sensors.clone(), self.ledger.clone());
        tokio::spawn(async move { play(&sensors, &target, Some(duration), &ledger).await.unwrap() })
    }

    /// What has arrived by now.
    pub fn check(&self) -> Check {
        let env = tidegate::config::Environment::default();
        let (config, _) = tidegate::config::load(self.gateway.config(), &env).unwrap();
        let windows = Evidence::of(config.windows.into_iter().map(|window| window.spec).collect());
        let mut check = Check::new(&self.sensors, self.ledger.clone()).with_windows(windows);
        self.stream.records(0).iter().for_each(|record| check.take(record));
        check
    }

    /// Waits until nothing that the broker confirmed to the fleet is missing, whole and in order.
    pub async fn all_arrives(&self) -> Check {
        let until = Instant::now() + PATIENCE;
        let mut check = self.check();
        while check.lost() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
            check = self.check();
        }
        let tally = check.tally();
        assert!(self.ledger.total() > 100, "nothing was published");
        assert_eq!(check.lost(), 0, "of {} readings; {:?}", self.ledger.total(), tally.first_fault);
        assert_eq!((tally.corrupt, tally.unreadable, tally.out_of_order), (0, 0, 0), "{:?}", tally.first_fault);
        assert_eq!(check.consumer().unexplained().count(), 0, "{:?}", check.consumer().holes());
        check
    }

    /// Every record so far, read.
    pub fn records(&self) -> Vec<ReadRecord> {
        self.stream.records(0).iter().map(|record| read_record(&record.data).unwrap()).collect()
    }

    /// Waits for so many readings of any kind, as (device, fields) in JSON.
    pub async fn readings(&self, count: usize) -> Vec<(String, Json)> {
        let until = Instant::now() + PATIENCE;
        loop {
            let records = self.records();
            let rows =
                records.iter().filter(|record| record.envelope.stream == "readings").flat_map(|record| &record.rows);
            let readings: Vec<_> = rows.map(|row| (row.series.device.to_string(), fields(row))).collect();
            if readings.len() >= count {
                return readings;
            }
            assert!(Instant::now() < until, "{} of {count} readings{}", readings.len(), last_of(&readings));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for so many readings of one device, and returns their fields.
    pub async fn readings_of(&self, device: &str, count: usize) -> Vec<Json> {
        let until = Instant::now() + PATIENCE;
        loop {
            let readings = self.readings(0).await.into_iter().filter(|(of, _)| of == device);
            let readings: Vec<_> = readings.map(|(_, fields)| fields).collect();
            if readings.len() >= count {
                return readings;
            }
            assert!(Instant::now() < until, "{} of {count} readings of {device}", readings.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The dead letters, oldest first.
    pub fn letters(&self) -> Vec<Json> {
        let listed = tidegate(&["dead", "list", "--json", "-n", "1000", "-c", self.gateway.config().to_str().unwrap()]);
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until a source is in one of these states, and returns why.
    pub async fn source_is(&self, name: &str, states: &[&str], because: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.gateway.get("/status").await.map(|(_, text)| text).unwrap_or_default();
            let status: Json = serde_json::from_str(&status).unwrap_or_default();
            let sources = status["sources"].as_array().cloned().unwrap_or_default();
            let source = sources.iter().find(|source| source["name"] == name).cloned().unwrap_or_default();
            let (state, why) = (source["state"].as_str().unwrap_or(""), source["why"].as_str().unwrap_or(""));
            if states.contains(&state) && why.contains(because) {
                return why.to_owned();
            }
            assert!(Instant::now() < until, "source {name} is not {states:?} with {because:?}: {source}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the broker's log has so many lines that hold all of these words.
    pub async fn broker_says(&self, count: usize, words: &[&str]) {
        self.broker.says(count, words).await;
    }

    /// Waits until the broker has a PUBACK for all that it has handed out to this client, and would repeat nothing.
    pub async fn all_is_acknowledged(&self, client: &str) {
        let until = Instant::now() + PATIENCE;
        let count = |what: &str| self.broker.lines(&[&format!("{what} {client} ")]).len();
        while count("Sending PUBLISH to") > count("Received PUBACK from") {
            assert!(Instant::now() < until, "the broker still waits for PUBACKs");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a metric of the gateway has at least this value.
    pub async fn metric_reaches(&self, name: &str, least: f64) {
        let until = Instant::now() + PATIENCE;
        while self.gateway.metric(name).await < least {
            assert!(Instant::now() < until, "{name} is {}, not {least}", self.gateway.metric(name).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The devices and fields that came last, as much of them as a person reads.
fn last_of(readings: &[(String, Json)]) -> String {
    let last = readings.iter().rev().take(3);
    last.map(|(device, fields)| format!("; {device} {}", fields.to_string().chars().take(80).collect::<String>()))
        .collect()
}

fn fields(row: &tidegate_wire::Row) -> Json {
    let field = |(name, value): &(Arc<str>, _)| (name.to_string(), serde_json::json!(tidegate::reading::Plain(value)));
    row.fields.iter().map(field).collect::<serde_json::Map<_, _>>().into()
}

//! A fleet, a real broker, the real binary and a stream, and what became of what the fleet sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::batch::read::{ReadRecord, read_record};
use tidegate::clock::Clock;
use tidegate::simulate::fleet::{Ledger, Target, play};
use tidegate::simulate::sensor::Sensor;
use tidegate::simulate::stream::{Faults, Settings, Stream};
use tidegate::simulate::verify::Check;
use tokio::task::JoinHandle;

use super::gateway::{PATIENCE, TestGateway};
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
        let settings = Settings { stream: "telemetry".to_owned(), shards: 2, faults };
        let stream = Stream::start(settings).await.unwrap();
        let gateway = TestGateway::new(name, broker.port, &stream.url(), config);
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
        let mut check = Check::new(&self.sensors, self.ledger.clone());
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
    pub async fn readings(&self, count: usize) -> Vec<(String, serde_json::Value)> {
        let until = Instant::now() + PATIENCE;
        loop {
            let records = self.records();
            let rows =
                records.iter().filter(|record| record.envelope.stream == "readings").flat_map(|record| &record.rows);
            let readings: Vec<_> = rows.map(|row| (row.series.device.to_string(), fields(row))).collect();
            if readings.len() >= count {
                return readings;
            }
            assert!(Instant::now() < until, "{} of {count} readings: {readings:?}", readings.len());
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

fn fields(row: &tidegate_wire::Row) -> serde_json::Value {
    let field = |(name, value): &(Arc<str>, _)| (name.to_string(), serde_json::json!(tidegate::reading::Plain(value)));
    row.fields.iter().map(field).collect::<serde_json::Map<_, _>>().into()
}

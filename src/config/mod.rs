//! The configuration as meant. `read` turns what is written into it, or names every fault with its place.

mod fault;
mod files;
mod mean;
mod read;
mod source;
mod tree;
mod window;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use fault::{Fault, Note};
pub use files::Environment;
pub use source::modbus::{Kind, Modbus, Order, Register, Table, Transport, Unit};
pub use source::serial::{FlowControl, Framing, Line, Parity, Serial};

use crate::window::Spec;

/// Reads a file, what lies in `conf.d/` beside it, and the environment. Every fault is found in one run.
pub fn load(path: &Path, env: &Environment) -> Result<(Config, Vec<Note>), Vec<Fault>> {
    let (tree, faults) = files::gather(path, env)?;
    mean::mean(&tree, faults, path.parent().unwrap_or(Path::new(".")), env)
}

/// Reads one text as if it were a file of this name.
pub fn parse(text: &str, name: &Path, env: &Environment) -> Result<(Config, Vec<Note>), Vec<Fault>> {
    let tree = tree::parse(text, name)?;
    mean::mean(&tree, Vec::new(), name.parent().unwrap_or(Path::new(".")), env)
}

/// Everything `run` needs; every default is already in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub gateway: Gateway,
    pub link: Link,
    pub sources: Vec<Source>,
    pub queue: Queue,
    pub batch: Batch,
    pub kinesis: Kinesis,
    pub http: Http,
    pub windows: Vec<Window>,
    pub forward: Forward,
}

/// A query over event time.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub spec: Spec,
    /// The longest that what was folded may have to be folded again after a crash.
    pub checkpoint_interval: Duration,
}

/// What is delivered besides the rows of windows, which always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Otherwise a reading is let go once it is folded.
    pub readings: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// `None`: host name and four hex digits kept in the data directory.
    pub id: Option<String>,
    pub data_dir: PathBuf,
    pub shutdown_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub profile: Profile,
    pub connect_timeout: Duration,
    /// The longest one whole request may take.
    pub request_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Lan,
    Cellular,
    Metered,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    Mqtt(Mqtt),
    Serial(Serial),
    Modbus(Modbus),
}

impl Source {
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Mqtt(mqtt) => &mqtt.name,
            Self::Serial(serial) => &serial.name,
            Self::Modbus(modbus) => &modbus.name,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub tls: Option<Tls>,
    pub protocol: Protocol,
    /// `None`: `tidegate-` and the gateway's id and the source's name.
    pub client_id: Option<String>,
    pub session_expiry: Duration,
    pub keep_alive: Duration,
    pub in_flight: u16,
    /// Bytes of one payload; above: a dead letter.
    pub max_payload: usize,
    /// Bytes of one packet; above: MQTT 5 brokers discard it, 3.1.1 sources stop.
    pub max_packet: u32,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub subscriptions: Vec<Subscription>,
}

/// Certificates, already read: PEM.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tls {
    /// `None`: the system's roots.
    pub ca: Option<Vec<u8>>,
    /// Certificate chain and key of mutual TLS.
    pub client: Option<(Vec<u8>, Secret)>,
}

/// A password or a key: never shown.
#[derive(Clone, PartialEq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    V311,
    V5,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// As sent to the broker, `$share/group/` included.
    pub filter: String,
    /// Names the levels: `sensors/{device}/telemetry`. `None`: the device is the whole topic.
    pub topic: Option<String>,
    /// 0 or 1; 2 is asked for as 1.
    pub qos: u8,
    /// Whether retained messages are taken.
    pub retained: bool,
    pub payload: Payload,
    pub drop_repeats: bool,
}

/// How the bytes of a payload become fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    pub format: Format,
    /// The field that names the device; taken out of the fields.
    pub device_field: Option<String>,
    /// The field that holds the event time; taken out of the fields.
    pub time: Option<String>,
    /// `None`: told apart by size.
    pub time_unit: Option<TimeUnit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Disk blocks of the whole data directory.
    pub max_bytes: u64,
    /// Free bytes of the disk below which the queue counts as full.
    pub min_free: u64,
    pub when_full: WhenFull,
    pub commit_linger: Duration,
    pub max_dead: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest readings go first, each loss with a gap record.
    ShedOldest,
    /// Sources are held back.
    Block,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub compression: Compression,
    pub level: i32,
    /// The longest a reading waits for company.
    pub max_age: Duration,
    /// Of one finished record.
    pub max_bytes: usize,
    /// Whether the moment of arrival goes along.
    pub received: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Zstd,
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Kinesis {
    /// Name or ARN.
    pub stream: String,
    pub region: String,
    pub endpoint_url: Option<String>,
    pub lanes: u32,
    /// Bytes of one record, partition key included.
    pub max_record: usize,
    /// Bytes of one request, partition keys included.
    pub max_request: usize,
    pub backoff: Backoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub base: Duration,
    pub max: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// `None`: no port is opened (`listen = "off"`).
    pub listen: Option<SocketAddr>,
    /// A bearer token, needed off loopback.
    pub token: Option<Secret>,
}

#[cfg(test)]
mod tests;

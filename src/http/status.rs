//! What a gateway says about itself: the JSON of `/status`, the verdict of `/readyz`, the text of `/`.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The gateway's id.
    pub gateway: String,
    pub version: String,
    pub epoch: u64,
    /// RFC 3339.
    pub started: String,
    pub uptime_seconds: u64,
    pub clock_synced: bool,
    pub storage: Storage,
    pub queue: Queue,
    pub sources: Vec<Source>,
    pub windows: Vec<Window>,
    pub sink: Sink,
    /// Letters held now.
    pub dead_letters: u64,
    /// Gap records since the start.
    pub gaps: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    pub writable: bool,
    /// Nothing is taken until there is room: the oldest readings are being shed, or delivery has to make it.
    pub full: bool,
    /// Why it is not writable, or full.
    pub why: Option<String>,
    /// Disk blocks of the data directory.
    pub bytes: u64,
    pub max_bytes: u64,
}

/// What is committed and not yet delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    pub readings: u64,
    /// Readings that the windows have not seen yet; 0 without windows.
    pub unfolded: u64,
    pub rows: u64,
    /// `None` while it is empty.
    pub oldest_age_seconds: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    /// `mqtt`, as in the configuration.
    pub kind: String,
    /// `connecting`, `connected`, `down`, `stopped`.
    pub state: String,
    pub connected: bool,
    pub why: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub name: String,
    /// Open groups: keys times windows.
    pub open: u64,
    /// How far the watermark is behind the wall clock; `None` while nothing is open.
    pub lag_seconds: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sink {
    pub stream: String,
    pub state: SinkState,
    pub why: Option<String>,
    /// RFC 3339.
    pub last_success: Option<String>,
    /// The pause before the next attempt; 0 while all is well.
    pub backoff_seconds: f64,
    /// Since the start.
    pub delivered_readings: u64,
    pub delivered_rows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkState {
    Ok,
    #[serde(rename = "backing off")]
    BackingOff,
    /// The stream or the credentials want a person.
    Refused,
    /// Nothing was sent yet, and nothing waits.
    Idle,
}

impl Status {
    /// Why readings cannot be taken and kept now; empty: ready. Being offline is not among the reasons.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.storage.writable {
            reasons.push(format!("the storage is not writable{}", because(self.storage.why.as_ref())));
        }
        if self.storage.writable && self.storage.full {
            reasons.push(format!("the queue is full, and nothing is taken{}", because(self.storage.why.as_ref())));
        }
        if !self.sources.iter().any(|source| source.connected) {
            reasons.push("no source is connected".to_owned());
            reasons.extend(self.sources.iter().map(ToString::to_string));
        }
        reasons
    }
}

impl fmt::Display for Status {
    /// A page of text for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = humantime::format_duration(Duration::from_secs(self.uptime_seconds));
        writeln!(f, "gateway  {} · tidegate {} · epoch {}", self.gateway, self.version, self.epoch)?;
        writeln!(f, "up       {up}, since {}", self.started)?;
        if !self.clock_synced {
            writeln!(f, "clock    not set: times of arrival are marked unsynced")?;
        }
        writeln!(f, "storage  {}", self.storage)?;
        writeln!(f, "queue    {}", self.queue)?;
        for source in &self.sources {
            writeln!(f, "source   {source}")?;
        }
        for window in &self.windows {
            writeln!(f, "window   {window}")?;
        }
        writeln!(f, "sink     {}", self.sink)?;
        writeln!(f, "dead     {} letters", self.dead_letters)?;
        writeln!(f, "gaps     {}", self.gaps)
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self {
            Self { writable: false, .. } => "not writable",
            Self { full: true, .. } => "full",
            _ => "writable",
        };
        write!(f, "{} of {}, {state}{}", ByteSize(self.bytes), ByteSize(self.max_bytes), because(self.why.as_ref()))
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} readings wait", self.readings)?;
        if self.rows > 0 {
            write!(f, " and {} rows", self.rows)?;
        }
        let oldest = self.oldest_age_seconds.and_then(|age| Duration::try_from_secs_f64(age.round()).ok());
        oldest.map_or(Ok(()), |age| write!(f, ", the oldest for {}", humantime::format_duration(age)))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) {}{}", self.name, self.kind, self.state, because(self.why.as_ref()))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} groups open", self.name, self.open)?;
        self.lag_seconds.map_or(Ok(()), |lag| write!(f, ", its watermark {lag:.1} s behind"))
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.stream, self.state, because(self.why.as_ref()))?;
        if self.backoff_seconds > 0.0 {
            write!(f, "; next attempt in {:.1} s", self.backoff_seconds)?;
        }
        write!(f, "; {} readings", self.delivered_readings)?;
        if self.delivered_rows > 0 {
            write!(f, " and {} rows", self.delivered_rows)?;
        }
        write!(f, " delivered")?;
        self.last_success.as_ref().map_or(Ok(()), |at| write!(f, ", last at {at}"))
    }
}

impl fmt::Display for SinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::BackingOff => "backing off",
            Self::Refused => "refused",
            Self::Idle => "idle",
        })
    }
}

fn because(why: Option<&String>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn status() -> Status {
        Status {
            gateway: "plant-7".into(),
            version: "0.1.0".into(),
            epoch: 1_793_491_234,
            started: "2026-11-02T03:04:05Z".into(),
            uptime_seconds: 3_725,
            clock_synced: true,
            storage: Storage { writable: true, full: false, why: None, bytes: 3 << 20, max_bytes: 2 << 30 },
            queue: Queue { readings: 1_234, unfolded: 0, rows: 12, oldest_age_seconds: Some(89.6) },
            sources: vec![source("plant", None), source("hall", Some("connection refused"))],
            windows: vec![Window { name: "climate_1m".into(), open: 40, lag_seconds: Some(31.25) }],
            sink: Sink {
                stream: "telemetry".into(),
                state: SinkState::BackingOff,
                why: Some("no route to host".into()),
                last_success: Some("2026-11-02T04:00:00Z".into()),
                backoff_seconds: 12.25,
                delivered_readings: 99,
                delivered_rows: 0,
            },
            dead_letters: 3,
            gaps: 0,
        }
    }

    fn source(name: &str, why: Option<&str>) -> Source {
        Source {
            name: name.into(),
            kind: "mqtt".into(),
            state: if why.is_none() { "connected" } else { "down" }.into(),
            connected: why.is_none(),
            why: why.map(str::to_owned),
        }
    }

    #[test]
    fn ready_means_writable_and_one_source_connected_but_not_online() {
        let mut status = status();
        assert_eq!(status.unready(), [""; 0]);
        status.storage.full = true;
        assert_eq!(status.unready(), ["the queue is full, and nothing is taken"]);
        status.storage.full = false;
        status.sources.remove(0);
        assert_eq!(status.unready(), ["no source is connected", "hall (mqtt) down: connection refused"]);
        status.sources.clear();
        status.storage.writable = false;
        status.storage.why = Some("read-only file system".into());
        assert_eq!(status.unready(), ["the storage is not writable: read-only file system", "no source is connected"]);
    }

    #[test]
    fn the_summary_says_all_of_it_to_a_person() {
        let expected = "\
gateway  plant-7 · tidegate 0.1.0 · epoch 1793491234
up       1h 2m 5s, since 2026-11-02T03:04:05Z
storage  3.0 MiB of 2.0 GiB, writable
queue    1234 readings wait and 12 rows, the oldest for 1m 30s
source   plant (mqtt) connected
source   hall (mqtt) down: connection refused
window   climate_1m: 40 groups open, its watermark 31.2 s behind
sink     telemetry backing off: no route to host; next attempt in 12.2 s; 99 readings delivered, last at 2026-11-02T04:00:00Z
dead     3 letters
gaps     0
";
        assert_eq!(status().to_string(), expected);
    }

    #[test]
    fn the_json_comes_back_as_it_went_out() {
        let status = status();
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["sink"]["state"], "backing off");
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
    }
}

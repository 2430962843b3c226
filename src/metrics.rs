//! Every metric, named once. Prefix `tidegate_`, base units, the Prometheus text format.

use std::sync::Arc;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// One gateway's metrics. Cloning the `Arc` is how they are handed out.
pub struct Metrics {
    registry: Registry,
    /// Readings by source and outcome: `committed`, `dropped` (`QoS` 0 and serial lines beyond a full inbox), `repeat`
    /// (removed by `drop_repeats`, or by the rule of serial frames), `retained` (ignored on request), `filtered`
    /// (nothing new in it).
    pub readings: IntCounterVec,
    /// Messages that a broker (DUP) or a serial sensor sent again, by source.
    pub door_repeats: IntCounterVec,
    /// 1 while a source is connected.
    pub source_connected: IntGaugeVec,
    /// Connections a source has made.
    pub source_connects: IntCounterVec,
    /// Connections a source gave up because more than its in-flight window came.
    pub source_overruns: IntCounterVec,
    /// Lines and frames that a serial source received whole.
    pub source_frames: IntCounterVec,
    /// What a serial source could not take, by fault: `oversize`, `checksum`, `cut` (not COBS, or too short), `kind` (not
    /// known, or not a sensor's to send), `hello` (unreadable).
    pub source_frame_faults: IntCounterVec,
    /// ACKs of a serial source by outcome: `sent`, `dropped` (the sensor does not read them; it will send again).
    pub source_acks: IntCounterVec,
    /// Polls of Modbus units by outcome: `read`, `missed` (beats that passed while the line was busy or the unit was
    /// left alone), `skipped` (no room in the inbox), `dropped` (read, and there was none).
    pub modbus_polls: IntCounterVec,
    /// What went wrong with requests to Modbus units: `timeout`, `exception`, `garbled` (an answer to something else),
    /// `line` (it failed in mid-turn), and with values: `not_finite`.
    pub modbus_faults: IntCounterVec,
    /// Requests to Modbus units.
    pub modbus_requests: IntCounterVec,
    /// Births that Sparkplug nodes were asked for.
    pub rebirth_requests: IntCounterVec,
    /// Dead letters by reason.
    pub dead_letters: IntCounterVec,
    /// Dead letters removed because `max_dead` was reached.
    pub dead_shed: IntCounter,
    /// Entry groups made durable.
    pub commits: IntCounter,
    /// From the first message of a group to its fsync.
    pub commit_seconds: Histogram,
    pub queue_readings: IntGauge,
    pub queue_bytes: IntGauge,
    pub queue_age_seconds: Gauge,
    /// 1 while nothing is taken because the queue is full.
    pub queue_full: IntGauge,
    pub queue_rows: IntGauge,
    /// Readings and rows given up to the retention policy.
    shed_readings: IntCounter,
    shed_rows: IntCounter,
    /// Gap records by reason.
    pub gaps: IntCounterVec,
    /// Readings that the windows have not committed yet.
    pub unfolded_readings: IntGauge,
    /// From a commit of the fold to its fsync.
    pub fold_commit_seconds: Histogram,
    /// Rows by window.
    pub window_rows: IntCounterVec,
    /// What went into a window otherwise than it should, by window and kind: `late` (readings for which every window
    /// had closed), `ahead` (of their arrival by more than `max_ahead`), `group_overflow` (rows beyond
    /// `max_groups`), `distinct_overflow`, `integer_overflow`, `sample_overflow`.
    pub window_exceptions: IntCounterVec,
    /// Groups that were open and are lost, since the window's query was changed.
    pub window_lost: IntCounterVec,
    /// Readings that no window has seen, since the log is damaged.
    pub window_unread: IntCounter,
    /// Groups open now.
    pub window_open: IntGaugeVec,
    /// How far the watermark is behind the wall clock; 0 while nothing is open.
    pub window_lag: GaugeVec,
    /// Records sealed, their bytes and the readings in them.
    pub batch_records: IntCounter,
    pub batch_bytes: IntCounter,
    pub batch_readings: IntCounter,
    /// `PutRecords` by result: `ok`, `partial`, `throttled`, `refused`, `failed`.
    pub kinesis_requests: IntCounterVec,
    /// Records that a reply of 200 refused.
    pub kinesis_throttled_records: IntCounter,
    /// The pause before the next attempt; 0 while all is well.
    pub kinesis_backoff_seconds: Gauge,
    /// Bytes of the records of all requests, partition keys included.
    pub kinesis_sent_bytes: IntCounter,
    /// Readings that Kinesis has taken.
    pub delivered_readings: IntCounter,
    /// Rows that Kinesis has taken.
    pub delivered_rows: IntCounter,
    /// From a reading's arrival to its record's acceptance.
    pub delivery_seconds: Histogram,
    pub disk_bytes: IntGauge,
    pub resident_bytes: IntGauge,
    /// 1 where the wall clock can be right.
    pub clock_synced: IntGauge,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Arc<Self> {
        let make = Maker(Registry::new());
        Arc::new(Self {
            readings: make.counters("readings_total", "Readings by source and outcome", &["source", "outcome"]),
            door_repeats: make.counters("door_repeats_total", "Messages a broker or a sensor sent again", &["source"]),
            source_connected: make.gauges("source_connected", "1 while a source is connected", &["source"]),
            source_connects: make.counters("source_connects_total", "Connections a source made", &["source"]),
            rebirth_requests: make.counters(
                "rebirth_requests_total",
                "Births that Sparkplug nodes were asked for",
                &["source"],
            ),
            source_overruns: make.counters(
                "source_overruns_total",
                "Connections given up because more than the in-flight window came",
                &["source"],
            ),
            source_frames: make.counters("source_frames_total", "Lines and frames received whole", &["source"]),
            source_frame_faults: make.counters(
                "source_frame_faults_total",
                "Lines and frames that could not be taken, by fault",
                &["source", "fault"],
            ),
            source_acks: make.counters(
                "source_acks_total",
                "ACKs to serial sensors by outcome",
                &["source", "outcome"],
            ),
            modbus_polls: make.counters(
                "modbus_polls_total",
                "Polls of Modbus units by outcome",
                &["source", "unit", "outcome"],
            ),
            modbus_faults: make.counters(
                "modbus_faults_total",
                "Requests and values of Modbus units that failed, by fault",
                &["source", "unit", "fault"],
            ),
            modbus_requests: make.counters("modbus_requests_total", "Requests to Modbus units", &["source", "unit"]),
            dead_letters: make.counters("dead_letters_total", "Dead letters by reason", &["reason"]),
            dead_shed: make.counter("dead_letters_shed_total", "Dead letters removed beyond max_dead"),
            commits: make.counter("commits_total", "Entry groups made durable"),
            commit_seconds: make.seconds("commit_seconds", "From a group's first message to its fsync"),
            queue_readings: make.gauge("queue_readings", "Readings committed and not yet delivered"),
            queue_bytes: make.gauge("queue_bytes", "Bytes the log of readings takes on disk"),
            queue_age_seconds: make.float("queue_age_seconds", "Age of the oldest reading not yet delivered"),
            queue_full: make.gauge("queue_full", "1 while nothing is taken because the queue is full"),
            queue_rows: make.gauge("queue_rows", "Rows of windows not yet delivered"),
            shed_readings: make.counter("shed_readings_total", "Readings given up to the retention policy"),
            shed_rows: make.counter("shed_rows_total", "Rows of windows given up to the retention policy"),
            gaps: make.counters("gaps_total", "Gap records by reason", &["reason"]),
            unfolded_readings: make.gauge("unfolded_readings", "Readings that the windows have not committed yet"),
            fold_commit_seconds: make.seconds("fold_commit_seconds", "From a commit of the windows to its fsync"),
            window_rows: make.counters("window_rows_total", "Rows by window", &["window"]),
            window_exceptions: make.counters(
                "window_exceptions_total",
                "Readings and values that a window could not take as they are, by kind",
                &["window", "kind"],
            ),
            window_lost: make.counters(
                "window_lost_groups_total",
                "Open groups lost to a change of the window's query",
                &["window"],
            ),
            window_unread: make.counter("window_unread_total", "Readings lost to damage before a window saw them"),
            window_open: make.gauges("window_open_groups", "Groups open now", &["window"]),
            window_lag: make.floats(
                "window_watermark_lag_seconds",
                "How far the watermark is behind the wall clock; 0 while nothing is open",
                &["window"],
            ),
            batch_records: make.counter("batch_records_total", "Records sealed"),
            batch_bytes: make.counter("batch_bytes_total", "Bytes of the records sealed"),
            batch_readings: make.counter("batch_readings_total", "Readings in the records sealed"),
            kinesis_requests: make.counters("kinesis_requests_total", "PutRecords requests by result", &["result"]),
            kinesis_throttled_records: make
                .counter("kinesis_throttled_records_total", "Records refused inside a reply of 200"),
            kinesis_backoff_seconds: make.float("kinesis_backoff_seconds", "Pause before the next attempt"),
            kinesis_sent_bytes: make.counter("kinesis_sent_bytes_total", "Record bytes of all requests, keys included"),
            delivered_readings: make.counter("delivered_readings_total", "Readings that Kinesis has taken"),
            delivered_rows: make.counter("delivered_rows_total", "Rows of windows that Kinesis has taken"),
            delivery_seconds: make.seconds("delivery_seconds", "From a reading's arrival to its acceptance"),
            disk_bytes: make.gauge("disk_bytes", "Disk blocks of the data directory"),
            resident_bytes: make.gauge("resident_bytes", "Resident memory of the process"),
            clock_synced: make.gauge("clock_synced", "1 where the wall clock can be right"),
            registry: make.0,
        })
    }

    /// What of a stream was given up to the retention policy.
    #[must_use]
    pub fn shed(&self, stream: &str) -> &IntCounter {
        if stream == "rows" { &self.shed_rows } else { &self.shed_readings }
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

struct Maker(Registry);

/// A name used twice is a fault of this file, found by its first test.
const TWICE: &str = "each metric is named once";

impl Maker {
    fn keep<C: prometheus::core::Collector + Clone + 'static>(&self, collector: Result<C, prometheus::Error>) -> C {
        let collector = collector.expect(TWICE);
        self.0.register(Box::new(collector.clone())).expect(TWICE);
        collector
    }

    fn options(name: &str, help: &str) -> Opts {
        Opts::new(format!("tidegate_{name}"), help)
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::with_opts(Self::options(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Self::options(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::with_opts(Self::options(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Self::options(name, help), labels))
    }

    fn float(&self, name: &str, help: &str) -> Gauge {
        self.keep(Gauge::with_opts(Self::options(name, help)))
    }

    fn floats(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.keep(GaugeVec::new(Self::options(name, help), labels))
    }

    fn seconds(&self, name: &str, help: &str) -> Histogram {
        let buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
        let options = HistogramOpts::new(format!("tidegate_{name}"), help).buckets(buckets.to_vec());
        self.keep(Histogram::with_opts(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_named_once_and_carries_the_prefix() {
        let metrics = Metrics::new();
        metrics.commits.inc();
        let text = metrics.text();
        assert!(text.contains("tidegate_commits_total 1"));
        assert!(text.lines().filter(|line| !line.starts_with('#')).all(|line| line.starts_with("tidegate_")));
    }
}

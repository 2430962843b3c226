//! What a simulation found: one JSON object, or lines for a person, and the verdict.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;

use super::gateway::Usage;
use super::stream::Counts;
use super::verify::Check;
use super::windows::Judgement;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    pub generated: Generated,
    /// Readings that the gateway says it made durable, repeats included. Of the last moments before a kill it cannot
    /// tell.
    pub committed: u64,
    /// Readings committed twice because the broker or a sensor sent them twice.
    pub door_repeats: u64,
    pub delivered: Delivered,
    /// Holes in a lane that the consumer saw.
    pub gaps: u64,
    /// Those that no gap record explains.
    #[serde(skip)]
    pub unexplained: u64,
    /// Gap records that are lost themselves, by what a later one says.
    #[serde(skip)]
    pub gap_records_lost: u64,
    pub dead_letters: u64,
    pub windows: Windows,
    pub kinesis: Kinesis,
    /// Bytes of the records with readings, keys included, for each reading.
    pub bytes_per_reading: f64,
    /// Bytes on the link in both directions, rows, headers and refused requests included, for each reading.
    pub link_bytes_per_reading: f64,
    /// From the moment a reading was published to its arrival in the stream.
    pub latency_ms: Latency,
    pub rss_peak_bytes: u64,
    pub cpu_seconds: f64,
    pub disk_bytes_written: u64,
    pub kills: u64,
    pub wires: Wires,
    /// `ok`, or the first thing that is wrong, and the fault.
    pub verdict: String,
    /// Why the run ended before everything had arrived, or ended badly.
    #[serde(skip)]
    pub fault: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Generated {
    pub readings: u64,
    pub corrupt: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Delivered {
    pub unique: u64,
    pub duplicates: u64,
    pub lost: u64,
    pub out_of_order: u64,
    /// Answers of meters that a kill took with it: nothing keeps those before the commit.
    pub unprotected: u64,
    /// Arrived otherwise than they were generated.
    pub corrupt: u64,
}

/// What was done to the gateway on serial lines, and what it counted of it since it was started last.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Wires {
    /// Noise, frames that were cut, frames with a flipped bit.
    pub corrupt_frames: u64,
    pub corrupt_frames_counted: u64,
    /// Of meters.
    pub exceptions: u64,
    pub exceptions_counted: u64,
    pub unplugged: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Windows {
    /// Rows, worked out from the readings that were delivered.
    pub expected: u64,
    pub delivered: u64,
    /// Rows that arrived again under the same identity.
    pub duplicates: u64,
    /// Rows that never came, that should not have come, or that say something else.
    pub wrong: u64,
    /// Of the records with rows, keys and repeats included.
    pub bytes: u64,
    /// Windows whose rows were worked out by the gateway's own code.
    pub not_independent: Vec<String>,
    /// Why rows were not compared.
    pub unchecked: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Kinesis {
    pub requests: u64,
    pub records: u64,
    pub bytes: u64,
    pub throttled: u64,
    pub failed: u64,
    pub cut: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    pub p50: u32,
    pub p99: u32,
}

/// What a run hands over at its end.
pub struct Findings<'a> {
    pub seed: u64,
    pub check: &'a Check,
    pub committed: u64,
    pub dead_letters: u64,
    pub counts: Counts,
    pub usage: Usage,
    pub kills: u64,
    pub wires: Wires,
    /// Why the run ended before everything had arrived, or ended badly.
    pub fault: Option<String>,
}

impl Report {
    #[must_use]
    pub fn new(findings: &Findings<'_>) -> Self {
        let Findings { check, counts, usage, .. } = findings;
        let tally = check.tally();
        let each = |bytes: u64| bytes as f64 / tally.unique.max(1) as f64;
        let judgement = check.windows().judge();
        let mut report = Self {
            seed: findings.seed,
            generated: Generated { readings: check.ledger().total(), corrupt: check.ledger().corrupt() },
            committed: findings.committed,
            door_repeats: tally.door_repeats,
            delivered: Delivered {
                unique: tally.unique,
                duplicates: tally.duplicates,
                lost: check.lost(),
                out_of_order: tally.out_of_order,
                unprotected: check.unprotected(),
                corrupt: tally.corrupt,
            },
            gaps: check.consumer().holes().len() as u64,
            unexplained: check.consumer().unexplained().count() as u64,
            gap_records_lost: check.consumer().explained("gaps"),
            dead_letters: findings.dead_letters,
            windows: Windows::new(check, &judgement),
            kinesis: Kinesis {
                requests: counts.requests,
                records: counts.records,
                bytes: counts.bytes,
                throttled: counts.throttled,
                failed: counts.failed,
                cut: counts.cut,
            },
            bytes_per_reading: rounded(each(tally.reading_bytes)),
            link_bytes_per_reading: rounded(each(counts.link_bytes)),
            latency_ms: latency(&tally.latencies),
            rss_peak_bytes: usage.rss_peak_bytes,
            cpu_seconds: rounded(usage.cpu_seconds),
            disk_bytes_written: usage.disk_bytes_written,
            kills: findings.kills,
            wires: findings.wires,
            verdict: String::new(),
            fault: findings.fault.clone(),
        };
        // One may be why the other is.
        let wrong: Vec<String> = report.wrong(check, &judgement).into_iter().chain(report.fault.clone()).collect();
        report.verdict = if wrong.is_empty() { "ok".to_owned() } else { wrong.join("; ") };
        report
    }

    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.verdict == "ok"
    }

    /// The first thing that is wrong.
    fn wrong(&self, check: &Check, rows: &Judgement) -> Option<String> {
        let tally = check.tally();
        let said = |fault: &Option<String>| fault.as_ref().map(|fault| format!(": {fault}")).unwrap_or_default();
        let because = || said(&tally.first_fault);
        let given_up = check.consumer().explained("readings");
        let accounted = tally.unique + tally.door_repeats + tally.corrupt + given_up;
        match self {
            _ if tally.unreadable > 0 => Some(format!("{} records cannot be read{}", tally.unreadable, because())),
            _ if tally.corrupt > 0 => Some(format!("{} readings arrived changed{}", tally.corrupt, because())),
            _ if self.delivered.lost > 0 => {
                Some(format!("{} readings are lost{}", self.delivered.lost, said(&check.first_lost())))
            }
            _ if tally.out_of_order > 0 => Some(format!("{} readings arrived out of order", tally.out_of_order)),
            _ if self.windows.wrong > 0 => {
                Some(format!("windows: {} rows are wrong{}", self.windows.wrong, said(&rows.first_fault)))
            }
            _ if self.unexplained > 0 => {
                let first = check.consumer().unexplained().next().map(ToString::to_string);
                Some(format!("{} gaps have no gap record that explains them{}", self.unexplained, said(&first)))
            }
            _ if self.dead_letters < self.generated.corrupt => Some(format!(
                "{} corrupt payloads were sent and {} dead letters kept",
                self.generated.corrupt, self.dead_letters
            )),
            // A life that was ended took its counts with it.
            _ if self.kills == 0 && self.wires.corrupt_frames != self.wires.corrupt_frames_counted => Some(format!(
                "{} corrupt frames were sent and {} counted",
                self.wires.corrupt_frames, self.wires.corrupt_frames_counted
            )),
            _ if self.kills == 0 && self.wires.exceptions != self.wires.exceptions_counted => Some(format!(
                "{} exceptions were sent and {} counted",
                self.wires.exceptions, self.wires.exceptions_counted
            )),
            _ if self.generated.readings == 0 => Some("no reading was generated".to_owned()),
            // With kills the gateway cannot tell all it committed; what it left unsaid may not be less than nothing.
            _ if self.committed != accounted && self.kills == 0 => {
                Some(format!("{} readings were committed and {accounted} accounted for", self.committed))
            }
            _ => None,
        }
    }
}

impl Windows {
    fn new(check: &Check, judgement: &Judgement) -> Self {
        let tally = check.tally();
        let given_up = |stream| check.consumer().explained(stream);
        // What was shed had been folded: the rows hold what the readings that arrived do not.
        let shed = given_up("readings");
        let unchecked = (shed > 0).then(|| format!("{shed} readings were given up"));
        let missing = judgement.missing.saturating_sub(given_up("rows"));
        Self {
            expected: judgement.expected,
            delivered: judgement.delivered,
            duplicates: tally.row_duplicates,
            wrong: if unchecked.is_some() { 0 } else { missing + judgement.unexpected },
            bytes: tally.row_bytes,
            not_independent: check.windows().not_independent().map(ToString::to_string).collect(),
            unchecked,
        }
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, delivered, duplicates, wrong, bytes, not_independent, unchecked } = self;
        write!(f, "{expected} rows expected, {delivered} delivered, {wrong} wrong; ")?;
        write!(f, "{duplicates} repeats recognised, {}", ByteSize(*bytes))?;
        if !not_independent.is_empty() {
            write!(f, "; worked out by the gateway's own code: {}", not_independent.join(", "))?;
        }
        unchecked.as_ref().map_or(Ok(()), |why| write!(f, "; not compared: {why}"))
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn latency(latencies: &[u32]) -> Latency {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    let at = |part: f64| sorted.get((sorted.len() as f64 * part) as usize).or(sorted.last()).copied().unwrap_or(0);
    Latency { p50: at(0.5), p99: at(0.99) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generated, delivered, kinesis, latency_ms, .. } = self;
        writeln!(
            f,
            "generated  {} readings, {} corrupt payloads (seed {})",
            generated.readings, generated.corrupt, self.seed
        )?;
        writeln!(f, "committed  {}, {} of them sent twice", self.committed, self.door_repeats)?;
        writeln!(
            f,
            "delivered  {} readings, {} lost, {} out of order; {} repeats recognised, {} gaps, {} dead letters",
            delivered.unique,
            delivered.lost,
            delivered.out_of_order,
            delivered.duplicates,
            self.gaps,
            self.dead_letters
        )?;
        if delivered.unprotected > 0 {
            writeln!(f, "           {} answers of meters were in hand at a kill, and are gone", delivered.unprotected)?;
        }
        let Wires { corrupt_frames, corrupt_frames_counted, exceptions, exceptions_counted, unplugged } = self.wires;
        if corrupt_frames + exceptions + unplugged > 0 {
            writeln!(
                f,
                "wires      {corrupt_frames} corrupt frames, {corrupt_frames_counted} counted; {exceptions} exceptions, \
                 {exceptions_counted} counted; unplugged {unplugged} times"
            )?;
        }
        writeln!(f, "windows    {}", self.windows)?;
        writeln!(
            f,
            "kinesis    {} records in {} requests, {}; {} throttled, {} requests failed, {} cut off",
            kinesis.records,
            kinesis.requests,
            ByteSize(kinesis.bytes),
            kinesis.throttled,
            kinesis.failed,
            kinesis.cut
        )?;
        writeln!(
            f,
            "cost       {:.2} bytes a reading, {:.2} on the link with headers and replies; latency {} ms (p50), {} ms (p99)",
            self.bytes_per_reading, self.link_bytes_per_reading, latency_ms.p50, latency_ms.p99
        )?;
        writeln!(
            f,
            "gateway    {} of memory at most, {:.2} s of processor time, {} written to disk, killed {} times",
            ByteSize(self.rss_peak_bytes),
            self.cpu_seconds,
            ByteSize(self.disk_bytes_written),
            self.kills
        )?;
        write!(f, "verdict    {}", self.verdict)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_wire::{ClockState, Codec, Envelope, Row, Series, Value, encode_body, encode_record};

    use super::*;
    use crate::reading::Micros;
    use crate::simulate::fleet::Ledger;
    use crate::simulate::stream::Record;

    fn record(stream: &str, series: Series, fields: &[(&str, Value)]) -> Record {
        let fields = fields.iter().map(|(name, value)| (Arc::from(*name), value.clone())).collect();
        let body = encode_body(&[Row { offset: 1, time: 0, received: None, series: Arc::new(series), fields }]);
        let envelope = Envelope {
            gateway: "g".to_owned(),
            stream: stream.to_owned(),
            lane: 0,
            epoch: 1,
            first: 1,
            last: 1,
            prev: None,
            count: 1,
            clock: ClockState::Synced,
            codec: Codec::None,
            size: body.len() as u64,
        };
        let data = encode_record(&envelope, &body).into();
        Record { shard: 0, sequence: 1, partition_key: "k".to_owned(), data, arrived: Micros(0) }
    }

    #[test]
    fn broken_frames_and_exceptions_have_to_be_counted_one_by_one() {
        let check = Check::new(&[], Arc::new(Ledger::new(0, Micros(0))));
        let verdict = |wires: Wires, kills: u64| {
            let (counts, usage) = (Counts::default(), Usage::default());
            let findings = Findings {
                seed: 1,
                check: &check,
                committed: 0,
                dead_letters: 0,
                counts,
                usage,
                kills,
                wires,
                fault: None,
            };
            Report::new(&findings).verdict
        };
        let frames = Wires { corrupt_frames: 7, corrupt_frames_counted: 6, ..Wires::default() };
        assert_eq!(verdict(frames, 0), "7 corrupt frames were sent and 6 counted");
        let exceptions = Wires { exceptions: 2, exceptions_counted: 3, ..Wires::default() };
        assert_eq!(verdict(exceptions, 0), "2 exceptions were sent and 3 counted");
        assert_eq!(verdict(frames, 1), "no reading was generated", "a life that was killed took its counts with it");
    }

    #[test]
    fn what_was_given_up_is_not_held_against_the_windows() {
        let row = || {
            let series = Series { source: "window".into(), window: Some("w".into()), ..Series::default() };
            record("rows", series, &[("n", Value::I64(1))])
        };
        let gap = |stream: &str| {
            let numbers = ["lane", "from_epoch", "from", "to_epoch", "to", "count"].map(|name| (name, Value::I64(1)));
            let stream = ("stream", Value::Text(stream.into()));
            record("gaps", Series::default(), &[&[stream][..], &numbers].concat())
        };
        let mut check = Check::new(&[], Arc::new(Ledger::new(0, Micros(0))));
        check.take(&row());
        let judgement = Judgement { missing: 1, ..check.windows().judge() };
        let judged = |check: &Check| Windows::new(check, &judgement);
        assert_eq!((judged(&check).delivered, judged(&check).wrong), (1, 2));
        let mut without_a_row = Check::new(&[], Arc::new(Ledger::new(0, Micros(0))));
        without_a_row.take(&gap("rows"));
        assert_eq!(judged(&without_a_row).wrong, 1, "one that was given up is not missing");
        check.take(&gap("readings"));
        let judged = judged(&check);
        assert_eq!((judged.wrong, judged.unchecked.as_deref()), (0, Some("1 readings were given up")));
        assert!(judged.to_string().ends_with("; not compared: 1 readings were given up"), "{judged}");
    }
}

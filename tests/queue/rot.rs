//! Damage all over a data directory: a flipped bit, a zeroed page, a file cut short, five to one to one, in any file.
//!
//! What must be true of each, of a small directory with all logs and of a larger one in turn:
//! - `verify` finds it, unless nothing at all is missing because of it;
//! - a start succeeds and finds every entry as it was or as lost, and nothing else; no offset is given twice, the epoch
//!   rises, and what cannot be opened is kept in `damaged`;
//! - service goes on, and the next start finds what this one did;
//! - now and then: the real gateway delivers the rest, and a gap record for each hole.
//!
//! `tests/soak damage COUNT` goes on with other seeds.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::json;
use tidegate::batch::read::read_record;
use tidegate::queue::files::VERSION;
use tidegate::queue::verify::Report;
use tidegate::queue::{CopyStore, Log, Queue, Reader, SledStore, Step, Store};
use tidegate::simulate::consumer::Consumer;
use tidegate::simulate::stream::{Faults, Settings, Stream};

use super::{SEED, at_second, disk, entry, golden, setting, stamp};
use crate::support::gateway::{PATIENCE, TestGateway};
use crate::support::{TempDir, copy_all};

const PAGE: usize = 4_096;
const COUNT: &str = "TIDEGATE_TEST_DAMAGES";
/// Of so many damages the real gateway is started on one.
const DELIVERED: u64 = 10;
/// Of the larger directory, in groups of three kilobytes.
const GROUPS: u64 = 60;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Damage {
    Flip,
    Page,
    Cut,
}

impl Damage {
    fn of(seed: u64) -> Self {
        match seed % 7 {
            0 => Self::Page,
            1 => Self::Cut,
            _ => Self::Flip,
        }
    }

    fn to(self, bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
        // sled writes a segment ahead: behind the data there are zeros.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        match self {
            _ if used == 0 => {}
            Self::Flip => bytes[random.usize(..used)] ^= 1 << random.u32(..8),
            Self::Page => {
                let from = random.usize(..used) / PAGE * PAGE;
                let to = bytes.len().min(from + PAGE);
                bytes[from..to].fill(0);
            }
            Self::Cut => bytes.truncate(random.usize(..used)),
        }
    }
}

/// What a log holds: an entry in words, or `None` where it is lost.
type Held = BTreeMap<u64, Option<String>>;

/// What a directory holds, as a start finds it.
#[derive(Debug)]
struct Found {
    logs: BTreeMap<&'static str, Held>,
    position: u64,
    epoch: u64,
    state_lost: bool,
}

impl Found {
    /// Starts on it, reads each log from where it is known to have begun, and lets service go on for an entry in each.
    fn by_a_start(dir: &Path, began: &BTreeMap<&str, u64>, what: &str) -> Self {
        let store: Arc<dyn Store> = Arc::new(SledStore::open(dir).unwrap());
        // The clock has never been set: that epochs rise is owed to what is kept.
        let opened = Queue::open(store, at_second(0), 4_000);
        let (queue, mut appenders) = opened.unwrap_or_else(|error| panic!("{what}: no start: {error}"));
        let Queue { readings, rows, notes, dead, .. } = &queue;
        let logs = [("readings", readings), ("rows", rows), ("notes", notes), ("dead", dead)];
        let found = Self {
            logs: logs.map(|(name, log)| (name, held(log, began.get(name).copied()))).into(),
            position: queue.restored.position,
            epoch: queue.identity.epoch,
            state_lost: queue.restored.damaged,
        };
        // A row counts with its checkpoint alone.
        for appender in [&mut appenders.readings, &mut appenders.notes, &mut appenders.dead] {
            appender.append(queue.identity.epoch, stamp(), vec![entry("more")]).unwrap();
            appender.sync().unwrap();
        }
        found
    }

    fn is_lossy(&self) -> bool {
        self.state_lost || self.logs.values().flat_map(BTreeMap::values).any(Option::is_none)
    }
}

fn held(log: &Log, began: Option<u64>) -> Held {
    let mut reader = Reader::new(log, began.unwrap_or_else(|| log.oldest().unwrap().offset));
    let mut held = Held::new();
    loop {
        match reader.step().unwrap() {
            Step::End => return held,
            Step::Lost { from, to } => held.extend((from..to).map(|offset| (offset, None))),
            Step::Group(group) => {
                let entries = (group.first..).zip(&group.entries);
                held.extend(entries.map(|(offset, entry)| (offset, Some(format!("{entry:?}")))));
            }
        }
    }
}

/// What was there before, and its directory.
struct Whole {
    dir: TempDir,
    files: Vec<PathBuf>,
    found: Found,
    /// The first offset of each log.
    began: BTreeMap<&'static str, u64>,
}

impl Whole {
    fn new(dir: TempDir) -> Self {
        let probe = TempDir::new("queue-rot-probe");
        copy_all(&dir.path, &probe.path);
        let found = Found::by_a_start(&probe.path, &BTreeMap::new(), "whole");
        assert!(!found.is_lossy());
        let began = found.logs.iter().filter_map(|(log, held)| Some((*log, *held.keys().next()?))).collect();
        let is_content = |path: &PathBuf| path.is_file() && !path.ends_with("LOCK") && !path.ends_with("ballast");
        let files = disk::contents(&dir.path).into_keys().filter(is_content);
        let files = files.map(|path| path.strip_prefix(&dir.path).unwrap().to_owned()).collect();
        Self { dir, files, found, began }
    }

    /// A copy with one thing damaged, and in words what.
    fn spoiled(&self, seed: u64, copy: &Path) -> String {
        let mut random = fastrand::Rng::with_seed(seed);
        let databases: Vec<_> = self.files.iter().filter(|path| path.ends_with("db")).collect();
        let any = random.bool();
        let file = if any {
            &self.files[random.usize(..self.files.len())]
        } else {
            databases[random.usize(..databases.len())]
        };
        copy_all(&self.dir.path, copy);
        let mut bytes = fs::read(copy.join(file)).unwrap();
        Damage::of(seed).to(&mut bytes, &mut random);
        fs::write(copy.join(file), bytes).unwrap();
        format!("seed {seed}: {:?} in {}", Damage::of(seed), file.display())
    }
}

/// Nothing but the readings, in generations of some pages.
fn large() -> TempDir {
    let dir = TempDir::new("queue-rot-large");
    let store = Arc::new(SledStore::open(&dir.path).unwrap());
    let (mut queue, mut appenders) = Queue::open(store, at_second(1), 40_000).unwrap();
    super::damage::commit(&mut queue, &mut appenders, GROUPS);
    dir
}

/// What came of one damage.
struct Outcome {
    found_out: bool,
    /// Whether a generation is kept for a person.
    put_aside: bool,
    lost: usize,
}

fn judge(whole: &Whole, seed: u64, place: &Path) -> Outcome {
    let what = whole.spoiled(seed, place);
    let looked: Arc<dyn Store> = Arc::new(CopyStore::new(place));
    let report = Report::of(&looked, || {}).unwrap_or_else(|error| panic!("{what}: it cannot be verified: {error}"));
    let found = Found::by_a_start(place, &whole.began, &what);
    let before = &whole.found;
    assert!(found.epoch >= before.epoch, "{what}: epoch {}", found.epoch);
    let mut lost = 0;
    for (log, now) in &found.logs {
        let then = &before.logs[log];
        assert!(now.keys().last() >= then.keys().last(), "{what}: {log} ends early: offsets would be given twice");
        for (offset, said) in now {
            let same = then.get(offset) == Some(said) || said.is_none();
            assert!(same, "{what}: {log} {offset} is another: {said:?}");
            lost += usize::from(said.is_none());
        }
        assert!(then.keys().all(|offset| now.contains_key(offset)), "{what}: {log} has offsets that are not even lost");
    }
    assert!(found.position == before.position || found.state_lost, "{what}: folded to {}", found.position);
    assert!(!found.is_lossy() || !report.is_sound(), "{what}: found out by nobody, and {lost} are lost");
    let again = Found::by_a_start(place, &whole.began, &what);
    for (log, held) in &again.logs {
        let lost = |held: &Held| held.values().filter(|said| said.is_none()).count();
        assert_eq!(lost(held), lost(&found.logs[log]), "{what}: {log} at the next start");
        let more = usize::from(*log != "rows");
        assert_eq!(held.len(), found.logs[log].len() + more, "{what}: {log} does not go on");
    }
    assert!(again.epoch > found.epoch, "{what}: no new epoch");
    Outcome { found_out: !report.is_sound(), put_aside: place.join("damaged").exists(), lost }
}

/// The real gateway delivers what is left, and says what is not.
async fn deliver(whole: &Whole, seed: u64) {
    let settings = Settings { stream: "telemetry".to_owned(), shards: 1, faults: Faults::default() };
    let stream = Stream::start(settings).await.unwrap();
    let mut gateway = TestGateway::new("queue-rot", 1, &stream.url(), "[batch]\nmax_age = \"100ms\"\n");
    let what = whole.spoiled(seed, &gateway.data_dir());
    gateway.spawn();
    gateway.alive().await;
    let expected = whole.found.logs["readings"].len() - 1;
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut consumer = Consumer::default();
        let mut arrived = 0;
        for record in stream.records(0).iter().map(|record| read_record(&record.data).unwrap()) {
            let fresh = consumer.admit(&record.envelope);
            let is_new = !matches!(fresh, tidegate::simulate::consumer::Admission::Repeat);
            if record.envelope.stream == "gaps" && is_new {
                for row in &record.rows {
                    // What the golden directory has in the log of the gaps is none.
                    let _ = consumer.explain(&record.envelope.gateway, row);
                }
            }
            arrived += record.rows.len() * usize::from(is_new && record.envelope.stream == "readings");
        }
        // This consumer begins where another has left off: what lies before the first record of a lane is no hole.
        let holes: Vec<_> = consumer.unexplained().filter(|hole| hole.high.is_some()).collect();
        if holes.is_empty() && arrived + consumer.explained("readings") as usize >= expected - DONE {
            break;
        }
        assert!(!gateway.has_ended(), "{what}: {}", gateway.log());
        let told = consumer.explained("readings");
        let now = tokio::time::Instant::now();
        assert!(now < until, "{what}: {arrived} and {told} in gaps of {expected}, unexplained {holes:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let ended = gateway.stop();
    assert!(ended.status.success() && !ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
}

/// What the cursors of the golden directory say is delivered.
const DONE: usize = 9;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_the_rest_is_kept_and_the_hole_is_told() {
    let (first, count) = (setting(SEED, 1), setting(COUNT, 100));
    let wholes = [Whole::new(golden::unpack(VERSION)), Whole::new(large())];
    let (mut found_out, mut put_aside, mut lost, mut delivered) = (0, 0, 0, 0);
    let mut failed = Vec::new();
    let mut kinds = BTreeMap::from(["flip", "page", "cut"].map(|kind| (kind.to_owned(), 0)));
    for seed in first..first + count {
        let whole = &wholes[(seed % 2) as usize];
        let place = TempDir::new("queue-rotten");
        *kinds.entry(format!("{:?}", Damage::of(seed)).to_lowercase()).or_insert(0) += 1;
        // Each is tried, whatever came of those before.
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| judge(whole, seed, &place.path))) else {
            failed.push(seed);
            continue;
        };
        found_out += u64::from(outcome.found_out);
        put_aside += u64::from(outcome.put_aside);
        lost += outcome.lost;
        if seed.is_multiple_of(DELIVERED) {
            match AssertUnwindSafe(deliver(whole, seed)).catch_unwind().await {
                Ok(()) => delivered += 1,
                Err(_) => failed.push(seed),
            }
        }
    }
    let last = first + count - 1;
    let report = json!({
        "mode": "damage", "seeds": [first, last], "done": count, "found_out": found_out, "put_aside": put_aside,
        "entries_in_gaps": lost, "delivered_by_a_gateway": delivered, "flips": kinds.get("flip"),
        "pages": kinds.get("page"), "cuts": kinds.get("cut"), "lost": failed.len(), "failed": failed,
    });
    println!("{report}");
    assert!(failed.is_empty(), "see above: {failed:?}");
    let spoilt = 2 * found_out > count && 20 * put_aside > count;
    assert!(spoilt || count < 50, "hardly anything was spoiled: {found_out} of {count}, {put_aside} put aside");
}

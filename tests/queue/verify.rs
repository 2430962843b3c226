//! `queue verify` finds what is damaged, `queue export` saves the rest, and neither changes a byte: the real binary on
//! directories that were spoiled.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tidegate::queue::files::VERSION;
use tidegate::queue::verify::Report;
use tidegate::queue::{CopyStore, LOGS, Lock, Queue, Reader, SledStore, Step, Store};
use tidegate::simulate::stream::Faults;

use super::damage::spoil;
use super::disk::contents;
use super::golden::{READINGS, unpack};
use super::{at_second, entry, noise, stamp};
use crate::support::binary::binary;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{PATIENT_BROKER, QUICK, Scene};
use crate::support::{TempDir, copy_all};

/// What a command said, and its exit code.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    fn lines(&self) -> Vec<Json> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The entries on stdout, by offset.
    fn entries(&self) -> BTreeMap<u64, Json> {
        let lines = self.lines();
        let entries: BTreeMap<_, _> =
            lines.iter().map(|line| (line["offset"].as_u64().unwrap(), line.clone())).collect();
        assert!(entries.values().eq(&lines), "in rising order, none twice");
        entries
    }

    /// The offsets that stderr says are missing.
    fn missing(&self) -> Vec<u64> {
        let ranges = self.stderr.lines().filter_map(|line| {
            let (from, to) =
                line.strip_prefix("tidegate: offsets ")?.strip_suffix(" are missing")?.split_once(" to ")?;
            Some(from.parse().unwrap()..=to.parse().unwrap())
        });
        ranges.flatten().collect()
    }
}

/// `tidegate queue …` on a directory, which it leaves as it is; nor does it leave anything in the temporary one.
fn queue(args: &[&str], dir: &Path) -> Said {
    let scratch = TempDir::new("queue-scratch");
    let before = contents(dir);
    let mut command = binary();
    command.arg("queue").args(args).arg("--data-dir").arg(dir).env("TMPDIR", &scratch.path);
    let output = command.output().unwrap();
    assert!(contents(dir) == before, "{args:?} has written");
    assert_eq!(fs::read_dir(&scratch.path).unwrap().count(), 0, "{args:?} left copies behind");
    let [stdout, stderr] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    Said { code: output.status.code(), stdout, stderr }
}

/// The offsets that a report of `verify --json` says are missing in a log.
fn missing(report: &Json, log: &str) -> Vec<u64> {
    let log = report["logs"].as_array().unwrap().iter().find(|about| about["log"] == log).unwrap();
    let faults = log["faults"].as_array().unwrap().iter().map(|fault| &fault["missing"]);
    let ranges = faults.filter(|missing| !missing.is_null());
    ranges.flat_map(|missing| missing["from"].as_u64().unwrap()..=missing["to"].as_u64().unwrap()).collect()
}

fn generations(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir.join("readings")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// The head record of a generation is spoiled, and its chunks are not.
fn behead(dir: &Path, number: u32) {
    let store = SledStore::open(dir).unwrap();
    let mut chunks = Vec::new();
    {
        let generation = store.open("readings", number).unwrap();
        let mut at = 0;
        while let Some(chunk) = generation.next(at).unwrap() {
            chunks.push((chunk, generation.get(chunk).unwrap().unwrap().to_vec()));
            at = chunk + 1;
        }
    }
    store.remove("readings", number).unwrap();
    let made = store.create("readings", number, b"rotten").unwrap();
    made.append(&chunks).unwrap();
    made.sync().unwrap();
}

#[test]
fn what_is_whole_is_said_to_be_sound_and_is_exported_as_it_was() {
    let dir = unpack(VERSION);
    let said = queue(&["verify"], &dir.path);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""));
    assert!(
        said.stdout.ends_with("Sound: all that was committed and is kept is there and whole.\n"),
        "{}",
        said.stdout
    );
    let report = queue(&["verify", "--json"], &dir.path).json();
    assert_eq!((&report["sound"], &report["missing"], &report["damaged"]), (&json!(true), &json!(0), &json!([])));
    assert_eq!(report["logs"][0]["entries"], READINGS + 1);

    let said = queue(&["export"], &dir.path);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""));
    let entries = said.entries();
    assert_eq!(entries.len() as u64, READINGS + 1);
    let first = json!({
        "epoch": 1, "offset": 1, "time": "2027-01-15T07:59:59.000000Z", "received": "2027-01-15T08:00:00.000000Z",
        "source": "plant", "device": "d0", "tags": { "hall": "north" },
        "fields": { "temp": 0.25, "count": 0, "ticks": u64::MAX, "on": false, "note": noise(0, 900) },
    });
    assert_eq!(entries[&1], first);
    let peeked = queue_peek(&dir.path);
    assert!(peeked.iter().eq(entries.values()), "`peek` shows the same");

    let file = dir.path.with_extension("ndjson");
    let said = queue(&["export", "-o", file.to_str().unwrap(), "--from", "20"], &dir.path);
    assert_eq!((said.code, &*said.stdout, &*said.stderr), (Some(0), "", ""));
    let written = fs::read_to_string(&file).unwrap();
    fs::remove_file(file).unwrap();
    assert_eq!(written.lines().count() as u64, READINGS + 1 - 20);
    assert_eq!(*queue(&["export", "--undelivered"], &dir.path).entries().first_key_value().unwrap().0, 9);
}

fn queue_peek(dir: &Path) -> Vec<Json> {
    let output = binary().args(["queue", "peek", "-n", "1000", "--from", "0", "--data-dir"]).arg(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_log_can_be_exported() {
    let dir = unpack(VERSION);
    let rows = queue(&["export", "--log", "rows"], &dir.path).lines();
    assert_eq!(rows.iter().map(|row| &row["fields"]["n"]).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(rows.iter().all(|row| row["window"] == "climate_1m"), "{rows:?}");
    let notes = queue(&["export", "--log", "notes"], &dir.path).lines();
    assert_eq!(notes[0]["fields"]["text"], "gap");
    let letters = queue(&["export", "--log", "dead"], &dir.path);
    let details: Vec<_> = letters.lines().iter().map(|letter| letter["detail"].clone()).collect();
    assert_eq!(
        (letters.code, details),
        (Some(0), vec![json!("not JSON"), json!("not JSON either")]),
        "without the purged"
    );
}

#[test]
fn whatever_rots_in_a_generation_is_found_and_the_rest_is_saved() {
    let whole = unpack(VERSION);
    let all = queue(&["export"], &whole.path).entries();
    let (mut found, mut told, mut gone) = (0, 0, 0);
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = TempDir::new("queue-verify");
        copy_all(&whole.path, &dir.path);
        let generations = generations(&dir.path);
        let how = spoil(&generations[random.usize(..generations.len())].join("db"), &mut random);
        let report = queue(&["verify", "--json"], &dir.path);
        let saved = queue(&["export"], &dir.path);
        let entries = saved.entries();
        let lost: Vec<_> = all.keys().copied().filter(|offset| !entries.contains_key(offset)).collect();
        assert!(entries.iter().all(|(offset, entry)| all[offset] == *entry), "seed {seed}, {how}: another entry");
        assert_eq!(saved.missing(), lost, "seed {seed}, {how}: {}", saved.stderr);
        let named = missing(&report.json(), "readings");
        assert!(lost.iter().all(|offset| named.contains(offset)), "seed {seed}, {how}: {lost:?} of {named:?}");
        let damaged = !named.is_empty();
        assert_eq!(report.code, Some(i32::from(damaged)), "seed {seed}, {how}");
        assert_eq!(saved.code, Some(i32::from(!lost.is_empty())), "seed {seed}, {how}");
        assert_eq!(report.json()["sound"], !damaged, "seed {seed}, {how}");
        told += named.len();
        gone += lost.len();
        found += u32::from(damaged);
    }
    assert!(found >= 10, "hardly anything was spoiled: {found}");
    assert!(gone < told, "nothing was saved of {told} entries that cannot be read in their place");
}

#[test]
fn the_rest_of_a_generation_that_lost_its_head_is_saved_before_a_start_and_after() {
    let dir = unpack(VERSION);
    let all = queue(&["export"], &dir.path).entries();
    behead(&dir.path, 2);
    let report = queue(&["verify", "--json"], &dir.path);
    let gap = missing(&report.json(), "readings");
    assert!(gap.len() >= 3 && report.code == Some(1), "{}", report.stdout);
    let said = queue(&["verify"], &dir.path).stdout;
    let (from, to) = (gap[0], gap[gap.len() - 1]);
    let line = format!(
        "  readings/000002: it cannot be read: its head record cannot be read; offsets {from} to {to} are missing\n"
    );
    assert!(said.contains(&line), "{said}");

    let saved = queue(&["export"], &dir.path);
    assert_eq!(saved.code, Some(0));
    assert!(saved.stderr.contains("readings/000002 cannot be read as a whole"), "{}", saved.stderr);
    assert_eq!(saved.entries(), all, "all the same");

    let store = Arc::new(SledStore::open(&dir.path).unwrap());
    let (gateway, appenders) = Queue::open(store, at_second(9), 1 << 20).unwrap();
    // It is put aside where somebody comes to read it.
    let mut reader = Reader::new(&gateway.readings, 0);
    while reader.step().unwrap() != Step::End {}
    drop((gateway, appenders, reader));
    assert_eq!(queue(&["verify", "--json"], &dir.path).json()["damaged"], json!(["readings-000002"]));
    let without = queue(&["export"], &dir.path);
    assert_eq!((without.code, without.missing()), (Some(1), gap));
    let with = queue(&["export", "--damaged"], &dir.path);
    assert_eq!((with.code, with.entries(), &*with.stderr), (Some(0), all, ""));
}

#[test]
fn a_first_generation_that_is_spoiled_whole_is_missing_from_the_beginning() {
    let dir = unpack(VERSION);
    let all = queue(&["export"], &dir.path).entries();
    fs::write(dir.path.join("readings/000001/db"), vec![7; 1 << 19]).unwrap();
    let gap = missing(&queue(&["verify", "--json"], &dir.path).json(), "readings");
    assert_eq!(gap[0], 0);
    let saved = queue(&["export"], &dir.path);
    assert_eq!((saved.code, saved.missing()), (Some(1), gap.clone()));
    assert_eq!(saved.entries().len(), all.len() - gap.len());
}

/// sled gives up a segment, or all of the database; the values stand there all the same.
#[test]
fn a_changed_bit_costs_its_group_and_not_the_generation() {
    let whole = directory(0);
    let all = queue(&["export"], &whole.path).entries();
    let generations = generations(&whole.path).len();
    let (mut told, mut gone) = (0, 0);
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = TempDir::new("queue-bit");
        copy_all(&whole.path, &dir.path);
        let db = dir.path.join(format!("readings/{:06}/db", 1 + random.usize(..generations)));
        let mut bytes = fs::read(&db).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[random.usize(..=used)] ^= 1 << random.u32(..8);
        fs::write(db, bytes).unwrap();
        let named = missing(&queue(&["verify", "--json"], &dir.path).json(), "readings");
        let saved = queue(&["export"], &dir.path);
        let lost = all.len() - saved.entries().len();
        assert!(lost <= 1, "seed {seed}: {}", saved.stderr);
        if let Some(from) = named.last() {
            let later = queue(&["export", "--from", &from.to_string()], &dir.path).entries();
            assert!(later.iter().eq(saved.entries().range(from..)), "seed {seed}: from {from} on");
        }
        told += named.len();
        gone += lost;
    }
    assert!(told > 10 * gone, "of {told} entries that cannot be read in their place {gone} were not saved");
}

#[test]
fn each_log_is_looked_through_and_damage_in_one_keeps_no_other_from_being_exported() {
    let whole = unpack(VERSION);
    let exported =
        |dir: &Path| ["readings", "rows", "notes", "dead"].map(|log| queue(&["export", "--log", log], dir).stdout);
    let all = exported(&whole.path);
    for log in LOGS {
        let dir = TempDir::new("queue-logs");
        copy_all(&whole.path, &dir.path);
        fs::write(dir.path.join(log).join(newest(&dir.path, log)).join("db"), vec![7; 1 << 19]).unwrap();
        let report = queue(&["verify", "--json"], &dir.path);
        assert_eq!(report.code, Some(1), "{log}");
        let report = report.json();
        let logs = report["logs"].as_array().unwrap().iter();
        let damaged: Vec<_> = logs.filter(|log| log["faults"] != json!([])).map(|log| &log["log"]).collect();
        assert_eq!(damaged, [log]);
        let same = exported(&dir.path).iter().zip(&all).filter(|(found, before)| found == before).count();
        // The state is not exported.
        assert_eq!(same, if log == "state" { 4 } else { 3 }, "{log}");
    }
}

fn newest(dir: &Path, log: &str) -> String {
    let names = fs::read_dir(dir.join(log)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.max().unwrap()
}

/// A directory with these texts, in generations of the same numbers whatever they say.
fn directory(seed: u64) -> TempDir {
    let dir = TempDir::new("queue-seal");
    let store = Arc::new(SledStore::open(&dir.path).unwrap());
    let (mut queue, mut appenders) = Queue::open(store, at_second(9), 60_000).unwrap();
    for n in 0..120 {
        appenders.readings.append(9, stamp(), vec![entry(&noise(seed + n, 1_000))]).unwrap();
        queue.mark.readings = appenders.readings.sync().unwrap();
    }
    queue.mark.store(&*queue.store).unwrap();
    drop((queue, appenders));
    dir
}

#[test]
fn a_generation_that_is_whole_but_from_another_directory_is_told_by_its_seal() {
    let (dir, other) = (directory(0), directory(1_000));
    assert_eq!(queue(&["verify"], &dir.path).code, Some(0));
    fs::remove_dir_all(dir.path.join("readings/000002")).unwrap();
    copy_all(&other.path.join("readings/000002"), &dir.path.join("readings/000002"));
    let said = queue(&["verify"], &dir.path);
    assert_eq!(said.code, Some(1));
    assert!(
        said.stdout.contains("  readings/000002: it is whole, but not the one that was sealed here\n"),
        "{}",
        said.stdout
    );
    assert!(said.stdout.ends_with("Damaged, but no entry is missing.\n"), "{}", said.stdout);
}

#[test]
fn what_is_gone_altogether_is_missed_unless_it_is_the_oldest_which_goes_first_in_any_case() {
    let spoiled = |which: fn(Vec<PathBuf>) -> PathBuf| {
        let dir = directory(0);
        fs::remove_dir_all(which(generations(&dir.path))).unwrap();
        let report = queue(&["verify", "--json"], &dir.path);
        (report.code, missing(&report.json(), "readings").len())
    };
    assert_eq!(spoiled(|all| all[0].clone()), (Some(0), 0));
    for (code, missing) in [spoiled(|all| all[1].clone()), spoiled(|all| all[all.len() - 1].clone())] {
        assert!(code == Some(1) && missing > 3, "{missing}");
    }
}

#[test]
fn a_changed_byte_in_any_small_file_is_found() {
    let dir = unpack(VERSION);
    for name in ["identity", "mark", "cursors", "purged"] {
        let path = dir.path.join(name);
        let whole = fs::read(&path).unwrap();
        // The same look without the cost of a process.
        let store: Arc<dyn Store> = Arc::new(CopyStore::new(&dir.path));
        for at in (0..whole.len()).step_by(9) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(&path, changed).unwrap();
            let files = Report::of(&store, || {}).unwrap().files;
            assert!(files.len() == 1 && files[0].file == name, "{name}, byte {at}: {files:?}");
        }
        let said = queue(&["verify"], &dir.path);
        assert_eq!(said.code, Some(1));
        assert!(said.stdout.contains(&format!("{name:<9} it is not what was written\n")), "{}", said.stdout);
        fs::write(&path, whole).unwrap();
    }
    fs::remove_file(dir.path.join("mark")).unwrap();
    assert!(queue(&["verify"], &dir.path).stdout.contains("mark      it is missing\n"));
}

#[test]
fn what_a_crash_leaves_is_no_damage() {
    let dir = unpack(VERSION);
    let newest = generations(&dir.path).len() + 1;
    // The making of a generation was cut short, and so was the removal of one.
    let store = SledStore::open(&dir.path).unwrap();
    drop(store.create("readings", 900_000, b"head").unwrap());
    fs::rename(dir.path.join("readings/900000"), dir.path.join("dead/000000.gone")).unwrap();
    let empty = dir.path.join(format!("readings/{newest:06}"));
    fs::create_dir(&empty).unwrap();
    fs::write(empty.join("db"), "").unwrap();
    let said = queue(&["verify"], &dir.path);
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    assert_eq!(queue(&["export"], &dir.path).code, Some(0));
}

#[test]
fn a_directory_in_use_is_not_verified_and_one_that_is_not_there_is_said_to_be_missing() {
    let dir = unpack(VERSION);
    let lock = Lock::take(&dir.path).unwrap();
    let said = queue(&["verify"], &dir.path);
    assert_eq!(said.code, Some(1));
    let holder = format!("in use by a running gateway (process {}): stop it", std::process::id());
    assert!(said.stderr.contains(&holder), "{}", said.stderr);
    assert!(queue(&["export"], &dir.path).stderr.contains("give -c FILE"));
    drop(lock);
    // Two may look at once, and no gateway starts meanwhile.
    let looking = Lock::look(&dir.path).unwrap().unwrap();
    assert_eq!(queue(&["verify"], &dir.path).code, Some(0));
    Lock::take(&dir.path).unwrap_err();
    drop(looking);
    let empty = TempDir::new("queue-none");
    assert!(queue(&["verify"], &empty.path).stderr.contains("there is no data directory at"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_gateway_is_asked_for_its_readings_and_dead_letters() {
    let mut scene = Scene::new("queue-export", Mosquitto::start(PATIENT_BROKER), Faults::default(), QUICK).await;
    scene.gateway.start().await;
    for n in 0..3 {
        scene.broker.publish("sensors/a/telemetry", format!(r#"{{"x":{n}}}"#).as_bytes(), &[]);
    }
    scene.broker.publish("sensors/a/telemetry", b"{", &[]);
    scene.readings(3).await;
    let asked = |args: &[&str]| {
        let output =
            binary().args(["queue", "export", "-c", scene.gateway.config().to_str().unwrap()]).args(args).output();
        let output = output.unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
        Said { code: output.status.code(), stdout, stderr }
    };
    let said = asked(&[]);
    assert_eq!((said.code, &*said.stderr), (Some(0), ""));
    let values: Vec<_> = said.entries().into_values().filter(|line| line.get("event").is_none()).collect();
    assert_eq!(values.iter().map(|line| line["fields"]["x"].clone()).collect::<Vec<_>>(), [0, 1, 2].map(Json::from));
    let letters = asked(&["--log", "dead"]).lines();
    assert_eq!(letters.iter().map(|letter| &letter["payload"]["text"]).collect::<Vec<_>>(), ["{"]);
    let refused = asked(&["--log", "rows"]);
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""));
    assert!(refused.stderr.contains("stop it for the rest"), "{}", refused.stderr);
}

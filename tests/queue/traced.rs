//! What really reaches the disk, and in which order: the system calls of a process, seen from outside.
//!
//! The traced process is this test binary again, with one test: the real writer on the real store, which says so
//! after each acknowledgement.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tidegate::queue::SledStore;

use super::noise;
use super::writer::{delivery, options, reject, start};
use crate::support::TempDir;
use crate::support::binary::binary;

/// Where the traced process puts its directory.
const PLACE: &str = "TIDEGATE_TEST_TRACED";
const DELIVERIES: usize = 12;

#[tokio::test]
#[ignore = "the other test here runs it, in a process of its own"]
async fn the_traced_process() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let store = Arc::new(SledStore::open(Path::new(&place)).unwrap());
    let rig = start(store, options()).await;
    for n in 0..DELIVERIES {
        rig.put(delivery(&noise(n as u64, 1_000))).await.await.unwrap();
        eprintln!("acknowledged readings");
    }
    rig.put(reject("x")).await.await.unwrap();
    eprintln!("acknowledged dead");
    rig.queue.readings.release(u64::MAX).unwrap();
}

/// A system call, and where in the trace it began and was done.
struct Call {
    thread: String,
    began: usize,
    done: usize,
    text: String,
}

impl Call {
    /// Whether it is this call, with an open file or directory.
    fn is(&self, name: &str, path: &Path) -> bool {
        self.text.starts_with(&format!("{name}(")) && self.text.contains(&format!("<{}>", path.display()))
    }

    /// Whether it is this call, with the name of one.
    fn names(&self, name: &str, path: &Path) -> bool {
        self.text.starts_with(&format!("{name}(\"{}\"", path.display()))
    }

    fn is_sync(&self, path: &Path) -> bool {
        (self.is("fdatasync", path) || self.is("fsync", path)) && self.text.ends_with("= 0")
    }
}

struct Trace(Vec<Call>);

impl Trace {
    /// `strace -f` writes a call in two lines where another thread's comes in between.
    fn read(text: &str) -> Self {
        let mut begun: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        let mut calls = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let (thread, text) = line.split_once(' ').unwrap();
            let text = text.trim_start();
            if let Some(text) = text.strip_suffix(" <unfinished ...>") {
                begun.insert(thread, (at, text));
            } else if let Some((_, rest)) = text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>")) {
                let (began, first) = begun.remove(thread).unwrap();
                calls.push(Call { thread: thread.to_owned(), began, done: at, text: format!("{first}{rest}") });
            } else {
                calls.push(Call { thread: thread.to_owned(), began: at, done: at, text: text.to_owned() });
            }
        }
        Self(calls)
    }

    /// The trace of a program, written to `out`; `None` where there is no strace.
    fn of(program: &Command, out: &Path) -> Option<Self> {
        let traced = Command::new("strace")
            .args([
                "-f",
                "-y",
                "-q",
                "-s",
                "24",
                "-e",
                "trace=pwrite64,write,fdatasync,fsync,rename,mkdir,unlinkat",
                "-o",
            ])
            .arg(out)
            .arg(program.get_program())
            .args(program.get_args())
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .output();
        let traced = match traced {
            Ok(traced) => traced,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "strace is missing: {error}");
                eprintln!("SKIPPED: no strace; `bash tests/run` installs it");
                return None;
            }
        };
        assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
        Some(Self::read(&fs::read_to_string(out).unwrap()))
    }

    /// The files of the generations that were made in a log.
    fn files(&self, log: &Path) -> Vec<PathBuf> {
        let made = self.0.iter().filter_map(|call| call.text.strip_prefix("mkdir(\"")?.split_once('"'));
        let in_log = made.map(|(path, _)| Path::new(path)).filter(|path| path.parent() == Some(log));
        in_log.map(|generation| generation.join("db")).collect()
    }

    fn acknowledgements(&self, log: &str) -> impl Iterator<Item = &Call> {
        let words = format!("acknowledged {log}");
        self.0.iter().filter(move |call| call.text.contains(&words))
    }

    fn writes<'a>(&'a self, file: &'a Path) -> impl DoubleEndedIterator<Item = &'a Call> {
        self.0.iter().filter(move |call| call.is("pwrite64", file))
    }

    #[track_caller]
    fn find(&self, what: &str, found: impl Fn(&Call) -> bool) -> &Call {
        self.0.iter().find(|call| found(call)).unwrap_or_else(|| panic!("no {what}"))
    }

    /// Asserts that a sync of this began after one call was done, and was done before the other began.
    #[track_caller]
    fn assert_synced(&self, path: &Path, after: &Call, before: &Call) {
        let synced = |call: &Call| call.is_sync(path) && call.began > after.done && call.done < before.began;
        assert!(
            self.0.iter().any(synced),
            "{} is not synced between {:?} and {:?}",
            path.display(),
            after.text,
            before.text
        );
    }
}

#[test]
fn an_acknowledgement_leaves_after_the_fdatasync_and_new_names_are_synced_before_they_are_relied_on() {
    let dir = TempDir::new("queue-traced");
    let data = dir.path.join("new/data");
    let mut traced = Command::new(std::env::current_exe().unwrap());
    traced.args(["--ignored", "--exact", "--nocapture", "queue::traced::the_traced_process"]).env(PLACE, &data);
    let Some(trace) = Trace::of(&traced, &dir.path.join("trace")) else { return };

    // What was written before an acknowledgement is synced before it.
    for (log, expected) in [("readings", DELIVERIES), ("dead", 1)] {
        assert_eq!(trace.acknowledgements(log).count(), expected);
        let files = trace.files(&data.join(log));
        for acknowledgement in trace.acknowledgements(log) {
            let before = |file| trace.writes(file).rfind(|write| write.done < acknowledgement.began);
            let written = files.iter().filter_map(|file| Some((file, before(file)?)));
            let (file, written) = written.max_by_key(|(_, write)| write.done).unwrap();
            trace.assert_synced(file, written, acknowledgement);
            // And then the mark, in which that is written as well.
            let mark = data.join("mark");
            let marked = trace.writes(&mark).rfind(|write| write.done < acknowledgement.began).unwrap();
            trace.assert_synced(file, written, marked);
            trace.assert_synced(&mark, marked, acknowledgement);
        }
    }

    // A generation has its settings and names before its head, and all of them before anything else is put into it.
    let generations = trace.files(&data.join("readings"));
    assert!(generations.len() >= 3, "{generations:?}");
    for file in &generations {
        let generation = file.parent().unwrap();
        let made = trace.find("mkdir", |call| call.names("mkdir", generation));
        let (head, last) = (trace.writes(file).next().unwrap(), trace.writes(file).next_back().unwrap());
        // sled writes its settings once and syncs them never; where they are torn it opens nothing.
        let conf = generation.join("conf");
        let settings = trace.find("sync of the settings", |call| call.is_sync(&conf));
        assert!(trace.0.iter().filter(|call| call.is("write", &conf)).all(|write| write.done < settings.began));
        trace.assert_synced(generation, settings, head);
        trace.assert_synced(file, head, last);
        trace.assert_synced(&data.join("readings"), made, last);
    }

    // One that goes has lost its name before the first of its files.
    let oldest = generations[0].parent().unwrap();
    let renamed = trace.find("rename", |call| call.names("rename", oldest));
    let unlinked = trace.find("unlinkat", |call| call.is("unlinkat", &oldest.with_extension("gone")));
    trace.assert_synced(&data.join("readings"), renamed, unlinked);

    // The directory itself and its small files are there before anything is acknowledged.
    let first = trace.acknowledgements("readings").next().unwrap();
    for made in [dir.path.join("new"), data.clone(), data.join("readings"), data.join("dead")] {
        let mkdir = trace.find("mkdir", |call| call.names("mkdir", &made));
        trace.assert_synced(made.parent().unwrap(), mkdir, first);
    }
    for name in ["VERSION", "identity"] {
        let beside = data.join(format!("{name}.new"));
        let renamed = trace.find("rename", |call| call.names("rename", &beside));
        let written = trace.find("write", |call| call.is("write", &beside));
        trace.assert_synced(&beside, written, renamed);
        trace.assert_synced(&data, renamed, first);
    }
}

/// A sensor is told that its name is known: after a power cut nobody would ask it again.
#[test]
fn what_a_source_remembers_is_durable_name_and_all() {
    let dir = TempDir::new("queue-remembered");
    let data = dir.path.join("data");
    let mut traced = binary();
    traced.args(["simulate", "--duration", "1s", "--mqtt-sensors", "1", "--serial-sensors", "1", "--keep"]).arg(&data);
    let Some(trace) = Trace::of(&traced, &dir.path.join("trace")) else { return };
    for name in ["sensor-line-000", "filters-fleet"] {
        let beside = data.join(format!("new-{name}"));
        let renamed = trace.find("rename", |call| call.names("rename", &beside));
        let next = trace.0.iter().find(|call| call.thread == renamed.thread && call.began > renamed.done).unwrap();
        assert!(next.is_sync(&data), "behind {:?} comes {:?}", renamed.text, next.text);
    }
}

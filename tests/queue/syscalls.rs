//! The system calls that keep the store fail, each once: nothing acknowledged is lost, and nothing is acknowledged behind a
//! sync that failed.
//!
//! The process that suffers is this test binary again, with one test: a short life of the real writer on the real store,
//! in a new directory and in one that has generations to let go. strace makes its n-th call of a kind fail, for each n
//! at which the undisturbed life has such a call on the data directory; it counts by thread. Then the life is lived once
//! more on what is left, undisturbed.
//!
//! EIO comes late, as from a disk that has tried again: whoever waits for the call is asleep by then.
//!
//! Of the calls that are many a seeded tenth is tried, all of them with `TIDEGATE_TEST_SYSCALLS=all`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidegate::queue::cursors::{Cursor, StreamCursors};
use tidegate::queue::writer::Options;
use tidegate::queue::{Cursors, Entry, FoldCommit, Queue, Reader, Request, SledStore, Step, Store, dead};
use tokio::sync::oneshot;

use super::writer::{begin, delivery, options, reject};
use super::{SEED, at_second, noise, reading, setting};
use crate::support::{TempDir, copy_all};

/// Where the process that suffers has its directory.
const PLACE: &str = "TIDEGATE_TEST_FAULTED";
const EXHAUSTIVE: &str = "TIDEGATE_TEST_SYSCALLS";
/// Those that are few are tried one and all.
const CALLS: [(&str, Share); 9] = [
    ("fsync", Share::All),
    ("fdatasync", Share::All),
    ("rename", Share::All),
    ("mkdir", Share::All),
    ("ftruncate", Share::Tenth),
    ("sync_file_range", Share::Tenth),
    ("pwrite64", Share::Tenth),
    ("read", Share::Tenth),
    ("openat", Share::Tenth),
];
const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];
/// What the disk takes, microseconds.
const LATE: &str = "delay_enter=100000";
const COMMITS: u64 = 12;
/// A life takes a second; one that has not ended by then hangs.
const HANGS: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, PartialEq)]
enum Share {
    All,
    Tenth,
}

#[tokio::test]
#[ignore = "the other test here runs it, in a process of its own"]
async fn the_process_that_suffers() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let (_ends, end) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if end.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout) {
            eprintln!("it hangs");
            std::process::exit(1);
        }
    });
    if let Err(error) = life(Path::new(&place), |told| eprintln!("{told}")).await {
        eprintln!("ended: {error}");
    }
}

/// Commits, folds, lets go what lies before this life, commits more, keeps a letter; tells what was made durable.
async fn life(place: &Path, tell: impl Fn(String)) -> Result<(), Box<dyn Error>> {
    let store: Arc<dyn Store> = Arc::new(SledStore::open(place)?);
    let rig = begin(store.clone(), Options { linger: Duration::ZERO, ..options() }, 1 << 30)?;
    let before = rig.queue.mark.readings.offset;
    let deeds = async {
        for n in 0..COMMITS {
            if n == COMMITS / 2 {
                let position = rig.queue.readings.durable().offset;
                let (done, committed) = oneshot::channel();
                let rows = vec![reading(&format!("row {position}"))];
                let commit = FoldCommit { rows, position, pieces: vec![b"state".to_vec()], snapshot: true };
                rig.requests.send(Request::Fold(commit, done)).await?;
                committed.await?;
                tell(format!("folded {position}"));
                let lane = Cursor { done: before, prev: None };
                let stream = StreamCursors { lanes: [(0, lane)].into(), ..StreamCursors::default() };
                Cursors { streams: [("readings".to_owned(), stream)].into() }.store(&*store)?;
                rig.queue.readings.release(before)?;
            }
            rig.inbox.put(delivery(&text(before, n))).await?.await?;
            tell(format!("acknowledged {before} {n}"));
        }
        rig.inbox.put(reject(&format!("letter {before}"))).await?.await?;
        tell(format!("kept {before}"));
        Ok::<_, Box<dyn Error>>(())
    };
    let done = deeds.await;
    // The writer knows why it has gone.
    drop((rig.inbox, rig.requests));
    rig.writer.await??;
    done
}

/// A life in this process, with nothing that fails.
fn undisturbed(place: &Path) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(life(place, drop))
}

/// What the n-th commit of a life says that began at this offset.
fn text(before: u64, n: u64) -> String {
    format!("{before} {n} {}", noise(1_000 * before + n, 1_000))
}

/// A call that was made, and whether it failed because it was to.
struct Call<'a> {
    thread: &'a str,
    text: &'a str,
}

impl Call<'_> {
    fn is(&self, name: &str) -> bool {
        self.text.strip_prefix(name).is_some_and(|rest| rest.starts_with('('))
    }

    /// Whether it is a sync that we rely on. Of its own file sled syncs more as it closes, and its snapshots, which only
    /// save time.
    fn is_our_sync(&self) -> bool {
        let is_sleds = self.text.contains("/db>") || self.text.contains("/snap.");
        self.is("fdatasync") || self.is("fsync") && !is_sleds
    }

    /// Whether it made a database durable in a file of its own.
    fn is_whole_elsewhere(&self) -> bool {
        self.is("fdatasync") && self.text.contains("/db.new>") && self.text.trim_end().ends_with("= 0")
    }
}

/// In the order in which they began; the second half of a call that was interrupted in the trace is none.
fn calls(trace: &str) -> impl Iterator<Item = Call<'_>> {
    let lines = trace.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(thread, text)| Call { thread, text: text.trim_start() }).filter(|call| !call.text.starts_with("<..."))
}

/// Lives in a process of its own, and gives what it said and its trace. `words` tell strace what is to fail.
fn lived(place: &Path, call: &str, words: &[String]) -> (String, String) {
    let trace = place.with_extension("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-y", "-s", "300", "--seccomp-bpf", "-e", &format!("trace={call},fdatasync,write")]);
    command.args(words).arg("-o").arg(&trace).arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "queue::syscalls::the_process_that_suffers"]);
    // With cargo's list of places for libraries it would be looked for in a hundred, each by calls of these kinds.
    command.env_remove("LD_LIBRARY_PATH");
    let output = command.env(PLACE, place).output().expect("`bash tests/run` installs strace");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("panicked"), "{words:?}: {} {said}", output.status);
    (said, fs::read_to_string(&trace).unwrap())
}

/// At which n some thread of an undisturbed life has such a call on the data directory, and none loads a library by it: a
/// program that cannot be loaded has no life.
fn places(place: &Path, call: &str) -> BTreeSet<usize> {
    let (said, trace) = lived(place, call, &[]);
    assert!(said.contains("kept") && !said.contains("ended"), "{said}");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut places, mut loading) = (BTreeSet::new(), BTreeSet::new());
    for call in calls(&trace).filter(|made| made.is(call)) {
        let count = counts.entry(call.thread).or_default();
        *count += 1;
        if call.text.contains(place.to_str().unwrap()) {
            places.insert(*count);
        } else if call.text.contains(".so") {
            loading.insert(*count);
        }
    }
    &places - &loading
}

/// One life in which the n-th call fails, and what is left of it. Says whether it came to that call.
fn suffers(place: &Path, call: &str, error: &str, n: usize) -> bool {
    let late = if error == "EIO" { format!(":{LATE}") } else { String::new() };
    let words = ["-e".to_owned(), format!("inject={call}:error={error}{late}:when={n}")];
    let (said, trace) = lived(place, call, &words);
    let injected = calls(&trace).filter(|made| made.text.contains("(INJECTED)")).map(|made| made.text);
    let what = format!("{call} {n} fails with {error}: {}", injected.collect::<Vec<_>>().join(", "));
    let mut failed = false;
    for made in calls(&trace) {
        failed |= made.text.contains("(INJECTED)") && made.is_our_sync();
        // But what a start writes once more it writes elsewhere where that fails.
        failed &= !made.is_whole_elsewhere();
        let acknowledged = made.is("write") && made.text.contains("\"acknowledged");
        assert!(!(failed && acknowledged), "{what}: acknowledged behind it: {}", made.text);
    }
    let kept = Kept::of(place);
    assert_eq!(kept.lost, 0, "{what}: {said}");
    for line in said.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["acknowledged", before, n] => {
                let wanted = text(before.parse().unwrap(), n.parse().unwrap());
                assert!(kept.texts.contains(&wanted), "{what}: `{line}` is lost");
            }
            ["folded", position] => {
                assert!(kept.position >= position.parse().unwrap(), "{what}: `{line}` and {}", kept.position);
                assert!(kept.rows.contains(&format!("row {position}")), "{what}: the row of `{line}` is lost");
            }
            ["kept", before] => assert!(kept.letters.contains(&format!("letter {before}")), "{what}: `{line}` is lost"),
            _ => {}
        }
    }
    undisturbed(place).unwrap_or_else(|error| panic!("{what}: service does not go on: {error}"));
    assert!(!place.join("damaged").exists(), "{what}: a generation is taken for damaged");
    trace.contains("(INJECTED)")
}

/// What a start finds in a directory.
struct Kept {
    texts: Vec<String>,
    rows: Vec<String>,
    letters: Vec<String>,
    position: u64,
    lost: u64,
}

impl Kept {
    fn of(place: &Path) -> Self {
        let store: Arc<dyn Store> = Arc::new(SledStore::open(place).unwrap());
        // The appenders are not used.
        let (queue, _appenders) = Queue::open(store.clone(), at_second(2), 1 << 20).unwrap();
        let (texts, lost_readings) = read(&queue.readings);
        let (rows, lost_rows) = read(&queue.rows);
        let letters = dead::list(&*store, &queue.dead, 0, 1_000).unwrap();
        let letters = letters.into_iter().map(|kept| kept.letter.detail).collect();
        Self { texts, rows, letters, position: queue.restored.position, lost: lost_readings + lost_rows }
    }
}

/// The texts of a log, in their order, and how many offsets are lost.
fn read(log: &tidegate::queue::Log) -> (Vec<String>, u64) {
    let mut reader = Reader::new(log, log.oldest().unwrap().offset);
    let (mut texts, mut lost) = (Vec::new(), 0);
    loop {
        match reader.step().unwrap() {
            Step::End => return (texts, lost),
            Step::Lost { from, to } => lost += to - from,
            Step::Group(group) => {
                let readings = group.entries.iter().filter(|entry| matches!(entry, Entry::Reading { .. }));
                texts.extend(readings.map(|entry| super::text(entry).to_owned()));
            }
        }
    }
}

fn has_strace() -> bool {
    let is_there = Command::new("strace").arg("-V").output().is_ok();
    assert!(is_there || std::env::var_os("CI").is_none(), "strace is missing; `bash tests/run` installs it");
    if !is_there {
        eprintln!("SKIPPED: no strace; `bash tests/run` installs it");
    }
    is_there
}

/// A start writes once more what it can read; what it cannot is no reason not to start.
#[test]
fn what_the_disk_never_gives_back_is_put_aside_and_service_goes_on() {
    if !has_strace() {
        return;
    }
    let dir = TempDir::new("queue-unread");
    let place = dir.path.join("life");
    undisturbed(&place).unwrap();
    let newest = fs::read_dir(place.join("readings")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let words = ["-P", newest.join("db").to_str().unwrap(), "-e", "inject=pread64,read:error=EIO"].map(str::to_owned);
    let (said, trace) = lived(&place, "pread64,read", &words);
    assert!(trace.contains("(INJECTED)") && said.contains("kept") && !said.contains("ended"), "{said}");
    let aside = format!("readings-{}", newest.file_name().unwrap().to_str().unwrap());
    assert!(place.join("damaged").join(aside).exists() && !newest.exists());
}

#[test]
fn whatever_system_call_fails_nothing_acknowledged_is_lost() {
    if !has_strace() {
        return;
    }
    let dir = TempDir::new("queue-syscalls");
    let old = dir.path.join("old");
    undisturbed(&old).unwrap();
    let next = AtomicUsize::new(0);
    // A directory as a life finds it: a new one, or one with a life behind it.
    let found = |is_new: bool| -> PathBuf {
        let place = dir.path.join(format!("life-{}", next.fetch_add(1, Ordering::Relaxed)));
        if !is_new {
            copy_all(&old, &place);
        }
        place
    };
    let seed = setting(SEED, 1);
    let mut random = fastrand::Rng::with_seed(seed);
    let all = std::env::var(EXHAUSTIVE).is_ok_and(|share| share == "all");
    let mut wanted = Vec::new();
    for (call, share) in CALLS {
        for is_new in [true, false] {
            let places = places(&found(is_new), call);
            let several = places.len();
            let chosen = places.into_iter().filter(|_| all || share == Share::All || random.u8(0..10) == 0);
            let chosen: Vec<_> = chosen.collect();
            eprintln!("{call}: {} of {several}, each with {}, seed {seed}", chosen.len(), ERRORS.join(" and "));
            wanted.extend(chosen.into_iter().flat_map(|n| ERRORS.map(|error| (call, is_new, error, n))));
        }
    }
    assert!(wanted.len() > 100, "{} is too few", wanted.len());
    let (tried, hits) = (wanted.len(), AtomicUsize::new(0));
    let (wanted, failed) = (Mutex::new(wanted), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((call, is_new, error, n)) = { wanted.lock().unwrap().pop() } {
                    let place = found(is_new);
                    // Each is tried, whatever came of those before.
                    match catch_unwind(|| suffers(&place, call, error, n)) {
                        Ok(hit) => drop(hits.fetch_add(usize::from(hit), Ordering::Relaxed)),
                        Err(_) => failed.lock().unwrap().push(format!("{call} {n} {error}")),
                    }
                    fs::remove_dir_all(place).unwrap();
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let report = json!({ "mode": "syscalls", "seeds": [seed], "done": tried, "lost": failed.len(), "failed": failed });
    println!("{report}");
    assert!(failed.is_empty(), "see above: {failed:?}");
    let hits = hits.into_inner();
    assert!(10 * hits >= 9 * tried, "of {tried} calls that were to fail {hits} were made");
}

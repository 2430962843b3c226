//! How sled is called: its errors are ours, its panics are damage, and what it forgets is asked for again.
//!
//! The write that ends a batch is done by a thread of sled's pool, and where it fails, sled 0.34 keeps the error and wakes
//! nobody (`Log::exit_reservation`). A flush that is asleep by then would sleep for ever. Whoever flushes next finds the
//! error and wakes all who wait, so a flush that takes long is followed by another, in a thread of its own: where the disk
//! is only slow, both end when it is done. (sled flushes under a lock that an append waits for, and others behind it: so
//! nobody appends while a flush sleeps, which holds with one writer in a process.)

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use super::{StoreError, io_error};

/// What a flush may take until another follows it, each time twice as long up to the second of these: whoever follows waits
/// in a thread, and what fails later wakes only who follows later still.
const LONG: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(30);

thread_local! {
    /// Whether this thread is inside sled: a panic there is an error that is told elsewhere, not a crash to report.
    static IN_SLED: Cell<bool> = const { Cell::new(false) };
}

/// Calls into sled.
pub fn guard<T>(dir: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IN_SLED.get() {
                report(panic);
            }
        }));
    });
    let outer = IN_SLED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    IN_SLED.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(io_error("cannot use", dir)(error)),
        Ok(Err(error)) => Err(StoreError::Damaged { path: dir.to_owned(), why: error.to_string() }),
        Err(_) => Err(StoreError::Damaged { path: dir.to_owned(), why: "sled cannot read it".to_owned() }),
    }
}

/// Returns once sled has written everything, or has failed to.
pub fn flush(dir: &Path, db: &sled::Db) -> Result<(), StoreError> {
    let _watched = WATCH.begin(db);
    guard(dir, || db.flush().map(drop))
}

static WATCH: LazyLock<Watch> = LazyLock::new(|| {
    let started = std::thread::Builder::new().name("flush-watch".to_owned()).spawn(|| WATCH.run());
    if let Err(error) = started {
        tracing::warn!(%error, "a flush that sled forgets will not be woken: no thread can be started");
    }
    Watch::default()
});

/// The flushes that are going on.
#[derive(Default)]
struct Watch {
    flushes: Mutex<Flushes>,
    begun: Condvar,
}

#[derive(Default)]
struct Flushes {
    next: u64,
    /// The watch waits for one to begin.
    is_idle: bool,
    going_on: BTreeMap<u64, Flush>,
}

struct Flush {
    db: sled::Db,
    due: Instant,
    patience: Duration,
}

/// Ends with the flush.
struct Watched(u64);

impl Drop for Watched {
    fn drop(&mut self) {
        WATCH.flushes().going_on.remove(&self.0);
    }
}

impl Watch {
    fn flushes(&self) -> MutexGuard<'_, Flushes> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, db: &sled::Db) -> Watched {
        let mut flushes = self.flushes();
        let number = flushes.next;
        flushes.next += 1;
        flushes.going_on.insert(number, Flush { db: db.clone(), due: Instant::now() + LONG, patience: LONG });
        if std::mem::take(&mut flushes.is_idle) {
            self.begun.notify_one();
        }
        Watched(number)
    }

    fn run(&self) {
        let mut flushes = self.flushes();
        loop {
            let now = Instant::now();
            flushes.going_on.values_mut().filter(|flush| flush.due <= now).for_each(|flush| flush.follow(now));
            let next = flushes.going_on.values().map(|flush| flush.due).min();
            flushes.is_idle = next.is_none();
            flushes = match next {
                None => self.begun.wait(flushes).unwrap_or_else(PoisonError::into_inner),
                // One that begins meanwhile is not due before that, or soon after.
                Some(due) => {
                    let wait = due.saturating_duration_since(now).min(LONG);
                    self.begun.wait_timeout(flushes, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Flush {
    /// Has another flush follow. Whoever began this one hears what came of it.
    fn follow(&mut self, now: Instant) {
        let db = self.db.clone();
        let started = std::thread::Builder::new().spawn(move || drop(guard(Path::new(""), move || db.flush())));
        match started {
            Ok(_) => self.patience = (2 * self.patience).min(LONGEST),
            Err(error) => tracing::warn!(%error, "a flush takes long, and no thread can be started to follow it"),
        }
        self.due = now + self.patience;
    }
}

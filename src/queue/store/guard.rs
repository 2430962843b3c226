//! How sled is called: its errors are ours, its panics are damage, and what it forgets is asked for again.
//!
//! The write that ends a batch is done by a thread of sled's pool, and where it fails, sled 0.34 keeps the error and wakes
//! nobody (`Log::exit_reservation`). A flush that is asleep by then would sleep for ever. Whoever flushes next finds the
//! error and wakes all who wait, so a flush that takes long is followed by another, in a thread of its own: where the disk
//! is only slow, both end when it is done.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use super::{StoreError, io_error};

/// What a flush may take until it is asked for again; each time it may take twice as long.
const LONG: Duration = Duration::from_secs(2);

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
        self.begun.notify_one();
        Watched(number)
    }

    fn run(&self) {
        loop {
            drop(self.begun.wait_while(self.flushes(), |flushes| flushes.going_on.is_empty()));
            std::thread::sleep(LONG);
            let now = Instant::now();
            for flush in self.flushes().going_on.values_mut().filter(|flush| flush.due <= now) {
                flush.patience *= 2;
                flush.due = now + flush.patience;
                let db = flush.db.clone();
                // Whoever began it hears what came of it.
                std::thread::spawn(move || drop(guard(Path::new(""), move || db.flush())));
            }
        }
    }
}

//! What the fold and the writer are told of the windows.

use std::time::Duration;

use crate::config::{self, Config};
use crate::fold::Options;
use crate::queue::{Cursors, Queue, StoreError};

/// A tick is a commit, with its fsyncs: the card is spared.
const TICK_MIN: Duration = Duration::from_secs(1);
const TICK_MAX: Duration = Duration::from_secs(10);

pub fn options(config: &Config, queue: &Queue) -> Result<Options, StoreError> {
    let only_rows = !config.forward.readings && !config.windows.is_empty();
    let end = queue.readings.durable().offset;
    Ok(Options {
        checkpoint_interval: config.windows.iter().map(|window| window.checkpoint_interval).min().unwrap_or_default(),
        specs: config.windows.iter().map(|window| window.spec.clone()).collect(),
        passes_from: Cursors::settle_passing(&*queue.store, only_rows, end)?,
    })
}

/// How often time passes in the log while a window is open and nothing else tells of it: some ten times within what
/// the windows wait for.
pub fn tick(windows: &[config::Window]) -> Duration {
    let waits = windows.iter().map(|window| window.spec.idle_timeout.min(window.spec.watermark));
    let shortest = Duration::from_micros(waits.min().unwrap_or_default().unsigned_abs());
    (shortest / 10).clamp(TICK_MIN, TICK_MAX)
}

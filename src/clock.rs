//! The one place that asks for the time.
//!
//! Two clocks: the **wall** clock, which steps and may be wrong for hours after a power cut, and the **mono**
//! clock (`CLOCK_BOOTTIME`), which only rises within one boot. What must not be fooled by a step uses the second.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::reading::Micros;

/// The wall clock cannot be right before this program was written: 2026-11-01.
pub const RELEASED: Micros = Micros(1_793_491_200 * Micros::PER_SECOND);

/// Microseconds since the machine was booted, suspended time included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub i64);

/// One look at both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub wall: Micros,
    pub mono: Mono,
}

impl Now {
    /// Whether the wall clock can be right at all.
    #[must_use]
    pub fn synced(&self) -> bool {
        self.wall >= RELEASED
    }
}

/// The system's clocks, or a pair turned by hand in tests.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    Hand(Arc<Hand>),
}

#[derive(Debug, Default)]
pub struct Hand {
    wall: AtomicI64,
    mono: AtomicI64,
}

impl Clock {
    #[must_use]
    pub fn hand(wall: Micros) -> Self {
        Self::Hand(Arc::new(Hand { wall: AtomicI64::new(wall.0), mono: AtomicI64::new(0) }))
    }

    /// Turns a hand-turned clock forward; the system's goes by itself.
    pub fn turn(&self, micros: i64) {
        if let Self::Hand(hand) = self {
            hand.wall.fetch_add(micros, Ordering::Relaxed);
            hand.mono.fetch_add(micros, Ordering::Relaxed);
        }
    }

    #[must_use]
    pub fn now(&self) -> Now {
        match self {
            Self::System => Now { wall: system_wall(), mono: system_mono() },
            Self::Hand(hand) => {
                Now { wall: Micros(hand.wall.load(Ordering::Relaxed)), mono: Mono(hand.mono.load(Ordering::Relaxed)) }
            }
        }
    }
}

fn system_wall() -> Micros {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Micros(since.as_micros() as i64),
        Err(before) => Micros(-(before.duration().as_micros() as i64)),
    }
}

fn system_mono() -> Mono {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Mono(at.tv_sec * Micros::PER_SECOND + at.tv_nsec / 1_000)
}

/// The id Linux draws at each boot; empty where there is none.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

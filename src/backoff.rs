//! Full jitter: a pause drawn evenly between nothing and `base × 2^attempts`, never more than `max`.
//!
//! (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.) A fleet that lost its link at one
//! moment does not come back at one moment.

use std::time::Duration;

use crate::config::Backoff;

/// The pause before the next attempt, after so many that failed.
#[must_use]
pub fn pause(backoff: Backoff, failed: u32) -> Duration {
    ceiling(backoff, failed).mul_f64(fastrand::f64())
}

/// The most that `pause` draws.
#[must_use]
pub fn ceiling(backoff: Backoff, failed: u32) -> Duration {
    let factor = 1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX);
    backoff.base.saturating_mul(factor).min(backoff.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(200), max: Duration::from_mins(1) };

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum_and_never_overflows() {
        let ceilings: Vec<_> = [1, 2, 3, 9, 10, 40, u32::MAX].map(|n| ceiling(BACKOFF, n).as_millis()).into();
        assert_eq!(ceilings, [200, 400, 800, 51_200, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn pauses_lie_anywhere_below_the_ceiling() {
        let pauses: Vec<_> = (0..500).map(|_| pause(BACKOFF, 3)).collect();
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(800)));
        assert!(pauses.iter().any(|pause| *pause < Duration::from_millis(200)));
        assert!(pauses.iter().any(|pause| *pause > Duration::from_millis(600)));
    }
}

//! How much time has passed, as the log tells it.
//!
//! Each group of the log bears a stamp. Within one boot the difference of `mono` is what passed, so that a step of
//! the wall clock fools nobody; across boots it is the difference of the wall clocks where both could be right, and
//! else nothing. Within a group a reading's `age` tells how long before the stamp it arrived.
//!
//! Time counts only while something could have been heard: for all sources together while at least one of them is
//! connected, for each source alone while it is. What a broker kept for us through an outage is no less in time for
//! it. A source is connected from its `Up`, or from its first reading, to its `Down` or the next start.
//!
//! Invariants: no count ever falls; equal logs give equal counts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::queue::entry::Stamp;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Passing {
    stamp: Option<Stamp>,
    /// Microseconds of this group that have not been gone through yet.
    left: i64,
    /// Microseconds while any source was connected.
    any: i64,
    sources: Vec<Source>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Source {
    name: Arc<str>,
    connected: bool,
    /// Microseconds while it was connected.
    time: i64,
}

impl Passing {
    /// A new group begins.
    pub fn enter(&mut self, stamp: &Stamp) {
        let passed = self.stamp.as_ref().map_or(0, |last| between(last, stamp));
        self.left += passed;
        self.stamp = Some(stamp.clone());
    }

    /// Goes on to `age` before the group's stamp. Whether any time passed by that.
    #[must_use]
    pub fn go_to(&mut self, age: u32) -> bool {
        let passed = (self.left - i64::from(age)).max(0);
        if passed == 0 {
            return false;
        }
        self.left -= passed;
        for source in self.sources.iter_mut().filter(|source| source.connected) {
            source.time += passed;
        }
        if self.sources.iter().any(|source| source.connected) {
            self.any += passed;
        }
        true
    }

    /// The gateway was not running: nothing was connected, and no time is counted.
    pub fn restart(&mut self) {
        self.left = 0;
        self.sources.iter_mut().for_each(|source| source.connected = false);
    }

    pub fn connect(&mut self, name: &Arc<str>, connected: bool) {
        let source = self.source(name);
        self.sources[source].connected = connected;
    }

    /// The number of a source; one never heard of is connected.
    pub fn source(&mut self, name: &Arc<str>) -> usize {
        // A handful: a search beats a hash.
        if let Some(number) = self.sources.iter().position(|source| source.name == *name) {
            return number;
        }
        self.sources.push(Source { name: name.clone(), connected: true, time: 0 });
        self.sources.len() - 1
    }

    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    pub fn time_of(&self, source: usize) -> i64 {
        self.sources[source].time
    }

    pub fn time(&self) -> i64 {
        self.any
    }
}

fn between(last: &Stamp, next: &Stamp) -> i64 {
    if last.boot == next.boot && last.mono <= next.mono {
        next.mono.saturating_sub(last.mono)
    } else if last.synced && next.synced {
        next.received.saturating_sub(last.received).max(0)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(received: i64, boot: &str, mono: i64, synced: bool) -> Stamp {
        Stamp { received, boot: boot.into(), mono, synced }
    }

    fn passing() -> (Passing, Arc<str>) {
        let (mut passing, plant) = (Passing::default(), Arc::from("plant"));
        passing.enter(&stamp(1000, "a", 500, true));
        passing.connect(&plant, true);
        (passing, plant)
    }

    fn passed(next: &Stamp) -> i64 {
        let (mut passing, _) = passing();
        passing.enter(next);
        let _ = passing.go_to(0);
        passing.time()
    }

    #[test]
    fn a_step_of_the_wall_clock_is_no_time() {
        assert_eq!(passed(&stamp(999_999, "a", 507, true)), 7);
        assert_eq!(passed(&stamp(0, "a", 507, false)), 7);
    }

    #[test]
    fn across_boots_the_wall_counts_where_it_can_be_right() {
        assert_eq!(passed(&stamp(1300, "b", 7, true)), 300);
        assert_eq!(passed(&stamp(1300, "b", 7, false)), 0);
        assert_eq!(passed(&stamp(200, "b", 7, true)), 0, "time does not go back");
        assert_eq!(passed(&stamp(1300, "a", 7, true)), 300, "a machine without a boot id");
    }

    #[test]
    fn time_counts_while_someone_is_connected_and_for_each_source_alone() {
        let (mut passing, plant) = passing();
        let boiler: Arc<str> = "boiler".into();
        for (mono, name, up) in [(510, &boiler, true), (520, &plant, false), (530, &boiler, false), (540, &plant, true)]
        {
            passing.enter(&stamp(0, "a", mono, true));
            let _ = passing.go_to(0);
            passing.connect(name, up);
        }
        let (plant, boiler) = (passing.source(&plant), passing.source(&boiler));
        assert_eq!((passing.time(), passing.time_of(plant), passing.time_of(boiler)), (30, 20, 20));
    }

    #[test]
    fn readings_arrive_some_time_before_their_group_was_stamped() {
        let (mut passing, _) = passing();
        passing.enter(&stamp(0, "a", 600, true));
        assert!(!passing.go_to(200), "longer ago than the last group: now");
        assert!(passing.go_to(60));
        assert_eq!(passing.time(), 40);
        assert!(!passing.go_to(90), "time does not go back");
        assert!(passing.go_to(0));
        assert_eq!(passing.time(), 100);
    }

    #[test]
    fn nothing_passes_while_the_gateway_is_dead() {
        let (mut passing, plant) = passing();
        passing.enter(&stamp(0, "a", 9000, true));
        passing.restart();
        assert!(!passing.go_to(0));
        passing.enter(&stamp(0, "a", 9100, true));
        let _ = passing.go_to(0);
        assert_eq!(passing.time(), 0, "nobody has connected yet");
        passing.connect(&plant, true);
        passing.enter(&stamp(0, "a", 9101, true));
        let _ = passing.go_to(0);
        assert_eq!(passing.time(), 1);
    }
}

//! What the rounds of a run come to: its last line, which tests/soak keeps.

use serde_json::{Value, json};
use tidegate::simulate::report::Report;

use crate::verdict;

/// Of rounds with seeds that follow each other.
pub struct Sum {
    first: u64,
    pub rounds: u64,
    failed: Vec<u64>,
    /// Cuts, or whatever is counted in this mode.
    pub done: u64,
    lost: u64,
    failed_starts: u64,
}

impl Sum {
    pub fn new(first: u64) -> Self {
        Self { first, rounds: 0, failed: Vec::new(), done: 0, lost: 0, failed_starts: 0 }
    }

    /// Of the round to come.
    pub fn seed(&self) -> u64 {
        self.first + self.rounds
    }

    /// One more round, with so many of what is counted, and so many readings that it has lost. A round that ended by itself
    /// has not come to all of them, and counts with all: it has failed.
    pub fn add(&mut self, done: u64, report: &Report, lost: u64, is_ok: bool) {
        self.failed.extend((!is_ok).then_some(self.seed()));
        self.rounds += 1;
        self.done += done;
        self.lost += lost;
        self.failed_starts += u64::from(verdict::has_failed_start(report));
    }

    /// Prints the line, with what this mode alone counts, and says whether all is well: rounds that show nothing would pass
    /// as well, and `shows` says whether they do.
    pub fn tell(self, mode: &str, own: Value, shows: bool) -> bool {
        let seeds: Vec<u64> = (self.first..self.seed()).collect();
        let Self { failed, done, lost, failed_starts, .. } = self;
        let is_ok = failed.is_empty() && shows;
        if !shows {
            println!("too little came of it to show anything: {own}");
        }
        let mut line = json!({
            "mode": mode, "seeds": seeds, "done": done, "lost": lost, "failed_starts": failed_starts, "failed": failed,
            "shows": shows,
        });
        if let (Value::Object(line), Value::Object(own)) = (&mut line, own) {
            line.extend(own);
        }
        println!("{line}");
        is_ok
    }
}

//! The filters a session was given, remembered in the data directory: what the configuration has lost is unsubscribed,
//! or the broker would go on keeping it for us.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Mqtt;
use crate::source::remembered;

pub struct Filters {
    path: PathBuf,
    wanted: Vec<String>,
}

impl Filters {
    #[must_use]
    pub fn new(data_dir: &Path, mqtt: &Mqtt) -> Self {
        let wanted = mqtt.subscriptions.iter().map(|subscription| subscription.filter.clone()).collect();
        Self { path: data_dir.join(format!("filters-{}", mqtt.name)), wanted }
    }

    /// Those the session may still have, and the configuration has no more.
    #[must_use]
    pub fn lost(&self) -> Vec<String> {
        // Without the file there is nothing to take back.
        let known = fs::read_to_string(&self.path).unwrap_or_default();
        known.lines().filter(|filter| !self.wanted.iter().any(|wanted| wanted == filter)).map(str::to_owned).collect()
    }

    /// Before a SUBSCRIBE: what is there and what is wanted.
    pub fn remember_all(&self) -> io::Result<()> {
        let all: Vec<_> = self.lost().into_iter().chain(self.wanted.iter().cloned()).collect();
        self.write(&all)
    }

    /// After the UNSUBACK: only what is wanted.
    pub fn forget_lost(&self) -> io::Result<()> {
        self.write(&self.wanted)
    }

    fn write(&self, filters: &[String]) -> io::Result<()> {
        let lines: String = filters.iter().map(|filter| format!("{filter}\n")).collect();
        remembered::write(&self.path, lines.as_bytes())
    }
}

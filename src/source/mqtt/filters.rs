//! The filters a session was given, remembered in the data directory: what the configuration has lost is unsubscribed,
//! or the broker would go on keeping it for us.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::Mqtt;

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
        let beside = self.beside();
        let mut file = fs::File::create(&beside)?;
        for filter in filters {
            writeln!(file, "{filter}")?;
        }
        file.sync_all()?;
        fs::rename(beside, &self.path)
    }

    /// Where it is written before it takes its place.
    fn beside(&self) -> PathBuf {
        // Not an extension: names may have dots.
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_whose_names_differ_behind_a_dot_share_no_file() {
        let dir = std::env::temp_dir().join(format!("tidegate-filters-{:08x}", fastrand::u32(..)));
        fs::create_dir(&dir).unwrap();
        let filters = |name| Filters { path: dir.join(format!("filters-{name}")), wanted: vec![format!("{name}/#")] };
        // One is in the middle of writing its own.
        let other = filters("a.b");
        fs::write(other.beside(), "a.b/#\n").unwrap();
        filters("a.c").forget_lost().unwrap();
        assert_eq!(fs::read_to_string(other.beside()).unwrap(), "a.b/#\n");
        assert_eq!(fs::read_to_string(dir.join("filters-a.c")).unwrap(), "a.c/#\n");
        fs::remove_dir_all(dir).unwrap();
    }
}

//! Who is at the other end of a port: the name of the last HELLO, remembered in the data directory.
//!
//! A sensor says it at its start and not again, and a gateway that started since would take it for another device. A
//! name counts until the next HELLO, or until the configuration names another device than it did then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::source::remembered;

pub struct Name {
    path: PathBuf,
    configured: Option<String>,
    /// What the last HELLO said.
    told: Option<String>,
    /// Whether the next start will know it.
    is_kept: bool,
}

impl Name {
    /// What is remembered of a source's port.
    pub fn read(data_dir: &Path, source: &str, configured: Option<&str>) -> Self {
        let path = data_dir.join(format!("sensor-{source}"));
        // Without the file nothing was said.
        let known = fs::read(&path).unwrap_or_default();
        let known: Option<(Option<String>, String)> = serde_json::from_slice(&known).ok();
        let told = known.filter(|(then, _)| then.as_deref() == configured).map(|(_, told)| told);
        let is_kept = told.is_some();
        Self { path, configured: configured.map(str::to_owned), told, is_kept }
    }

    /// The device where the payload names none; `None`: the source's name.
    pub fn device(&self) -> Option<&str> {
        self.told.as_deref().filter(|told| !told.is_empty()).or(self.configured.as_deref())
    }

    /// What a HELLO says, which may be nothing. It counts from now on, whether it can be kept or not.
    pub fn tell(&mut self, device: &str) -> io::Result<()> {
        if self.is_kept && self.told.as_deref() == Some(device) {
            return Ok(());
        }
        self.told = Some(device.to_owned());
        self.is_kept = false;
        remembered::write(&self.path, serde_json::json!([self.configured, device]).to_string().as_bytes())?;
        self.is_kept = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outlives_the_gateway_but_not_a_change_of_the_configuration() {
        let dir = std::env::temp_dir().join(format!("tidegate-sensor-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let read = |configured| Name::read(&dir, "wire", configured);
        assert_eq!(read(None).device(), None);
        let mut name = read(Some("configured"));
        assert_eq!(name.device(), Some("configured"));
        name.tell("boiler \"1\"\n").unwrap();
        assert_eq!(name.device(), Some("boiler \"1\"\n"));
        assert_eq!(read(Some("configured")).device(), Some("boiler \"1\"\n"));
        assert_eq!(read(Some("other")).device(), Some("other"));
        assert_eq!(read(None).device(), None);
        name.tell("").unwrap();
        assert_eq!(read(Some("configured")).device(), Some("configured"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_name_that_could_not_be_kept_counts_and_is_kept_when_it_is_told_again() {
        let dir = std::env::temp_dir().join(format!("tidegate-sensor-lost-{}", std::process::id()));
        let mut name = Name::read(&dir, "wire", None);
        for _ in 0..2 {
            name.tell("boiler").unwrap_err();
            assert_eq!(name.device(), Some("boiler"));
        }
        fs::create_dir_all(&dir).unwrap();
        name.tell("boiler").unwrap();
        assert_eq!(Name::read(&dir, "wire", None).device(), Some("boiler"));
        fs::remove_dir_all(dir).unwrap();
    }
}

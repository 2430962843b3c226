//! What several commands need first: the configuration, or its faults printed.

use std::path::Path;

use crate::config::{self, Config};

/// The configuration is faulty; its faults have been printed.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {0}")]
pub struct Faulty(String);

/// Reads the configuration; every fault goes to stderr, a line each.
pub fn load(path: &Path) -> Result<Config, Faulty> {
    match config::load(path, &config::Environment::of_process()) {
        Ok((config, notes)) => {
            for note in notes {
                tracing::warn!("{note}");
            }
            Ok(config)
        }
        Err(faults) => {
            for fault in &faults {
                eprintln!("{fault}");
            }
            Err(Faulty(match faults.len() {
                1 => "a fault".to_owned(),
                n => format!("{n} faults"),
            }))
        }
    }
}

//! The commands. Each file says things to people and decides nothing.

pub mod ask;
pub mod status;

use std::process::ExitCode;

#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}

//! Parse, log, run. An error is printed once, as a chain; the exit code says whose fault it was.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::cli::main()
}

//! The commands: each file says things to people and decides nothing.
//!
//! Errors go to stderr, data to stdout. Exit codes: 0 fine, 1 it failed while running, 2 bad usage or config.

mod allocator;
pub mod ask;
mod check;
mod dead;
mod decode;
mod init;
mod load;
mod logs;
mod queue;
mod run;
mod simulate;
mod sql;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Telemetry from MQTT into a durable queue, and on to AWS Kinesis in compressed batches: nothing acknowledged is
/// lost, whatever is killed, cut off or restarted.
#[derive(Parser)]
#[command(name = "tidegate", version, propagate_version = true)]
struct Tidegate {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logs: logs::Args,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGINT or SIGTERM
    Run(run::Args),
    /// Run the whole gateway against simulated sensors and a simulated stream, and check that nothing is lost
    Simulate(Box<simulate::Args>),
    /// Check a configuration: every fault at once, with line and column
    Check(check::Args),
    /// Write a commented starter configuration to stdout
    Init(init::Args),
    /// Ask a running gateway how it is
    Status(status::Args),
    /// Look into the queue of a gateway, running or stopped
    Queue(queue::Args),
    /// Look at dead letters, or throw them away
    Dead(dead::Args),
    /// Turn record payloads back into JSON lines
    Decode(decode::Args),
    /// Run a window's query over a file, and print its rows
    Sql(sql::Args),
}

/// The life of a process: parse, log, run; an error is printed once, as a chain.
#[must_use]
pub fn main() -> ExitCode {
    let Tidegate { command, logs } = Tidegate::parse();
    logs::start(&logs, matches!(command, Command::Run(_)));
    let result = match command {
        Command::Run(args) => run::run(args),
        Command::Simulate(args) => simulate::run(*args),
        Command::Check(args) => check::run(args),
        Command::Init(args) => init::run(args),
        Command::Status(args) => status::run(args),
        Command::Queue(args) => queue::run(args),
        Command::Dead(args) => dead::run(args),
        Command::Decode(args) => decode::run(args),
        Command::Sql(args) => sql::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("tidegate: {}", sentence(&error));
        if error.is::<load::Faulty>() { ExitCode::from(2) } else { ExitCode::FAILURE }
    })
}

/// The chain of an error in one line; a cause that its effect has told already is not told again.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn each_cause_of_an_error_is_told_once() {
        let error = anyhow!("the disk is gone").context("cannot write: the disk is gone").context("delivery stopped");
        assert_eq!(sentence(&error), "delivery stopped: cannot write: the disk is gone");
    }
}

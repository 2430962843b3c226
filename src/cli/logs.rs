//! Logs: one line a change of state, fields not prose, to stderr.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::Level;

#[derive(clap::Args)]
pub struct Args {
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, env = "TIDEGATE_LOG_FORMAT")]
    log_format: Format,
    /// The least important lines that are logged: error, warn, info, debug, trace [default: info for run, else warn]
    #[arg(long, global = true, env = "TIDEGATE_LOG_LEVEL")]
    log_level: Option<Level>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Begins logging. Libraries say what they have to say in our errors; their own lines stay out.
pub fn start(args: &Args, service: bool) {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::prelude::*;

    let level = args.log_level.unwrap_or(if service { Level::INFO } else { Level::WARN });
    let targets = Targets::new().with_target("tidegate", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(targets);
    match args.log_format {
        Format::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
}

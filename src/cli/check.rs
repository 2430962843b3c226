//! `tidegate check`: every fault of a configuration at once.

use std::path::PathBuf;
use std::process::ExitCode;

use bytesize::ByteSize;
use serde_json::json;

use crate::config::{self, Config, Framing, Source, Transport};

#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  tidegate check -c tidegate.toml\n\nFaults are printed as FILE:LINE:COLUMN: what is \
                        wrong; what would be right. Exit code 2 if there are any."
)]
pub struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match config::load(&args.config, &config::Environment::of_process()) {
        Ok((config, notes)) => {
            if args.json {
                let notes: Vec<_> = notes.iter().map(ToString::to_string).collect();
                let windows: Vec<_> = config.windows.iter().map(window_json).collect();
                println!("{}", json!({ "ok": true, "faults": [], "notes": notes, "windows": windows }));
            } else {
                for note in &notes {
                    println!("note: {note}");
                }
                summary(&config);
                println!("fine");
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            if args.json {
                let fault = |fault: &config::Fault| {
                    let file = fault.at.file.display().to_string();
                    json!({ "file": file, "line": fault.at.line, "column": fault.at.column, "what": fault.what, "remedy": fault.remedy })
                };
                println!(
                    "{}",
                    json!({ "ok": false, "faults": faults.iter().map(fault).collect::<Vec<_>>(), "notes": [] })
                );
            }
            for fault in &faults {
                eprintln!("{fault}");
            }
            Ok(ExitCode::from(2))
        }
    }
}

fn window_json(window: &config::Window) -> serde_json::Value {
    let spec = &window.spec;
    json!({ "name": spec.name, "bytes_per_group": spec.plan.bytes_per_group(), "max_groups": spec.max_groups })
}

fn window_line(window: &config::Window) {
    let spec = &window.spec;
    let group = spec.plan.bytes_per_group();
    let more = if spec.plan.keeps_values() { ", more where a group has many rows" } else { "" };
    println!(
        "window   {}: about {} a group, {} for max_groups = {}{more}",
        spec.name,
        ByteSize(group as u64),
        ByteSize((group * spec.max_groups) as u64),
        spec.max_groups
    );
}

fn summary(config: &Config) {
    println!("gateway  {}", config.gateway.id.as_deref().unwrap_or("named after this machine"));
    for source in &config.sources {
        println!("source   {}: {}", source.name(), place(source));
    }
    let queue = &config.queue;
    println!("queue    {}, up to {}", config.gateway.data_dir.display(), ByteSize(queue.max_bytes));
    for window in &config.windows {
        window_line(window);
    }
    let batch = &config.batch;
    let age = humantime::format_duration(batch.max_age);
    println!("batch    {age} or {}", ByteSize(batch.max_bytes as u64));
    println!("kinesis  {} in {}, {} lanes", config.kinesis.stream, config.kinesis.region, config.kinesis.lanes);
}

/// Where a source's readings come from.
fn place(source: &Source) -> String {
    match source {
        Source::Mqtt(mqtt) => {
            let filters: Vec<_> = mqtt.subscriptions.iter().map(|subscription| subscription.filter.as_str()).collect();
            let secure = if mqtt.tls.is_some() { " with TLS" } else { "" };
            format!("{}:{}{secure}, {}", mqtt.host, mqtt.port, filters.join(" "))
        }
        Source::Serial(serial) => {
            let framing = match serial.framing {
                Framing::Lines => "lines",
                Framing::Cobs => "frames, acknowledged",
            };
            format!("{} at {} baud, {framing}", serial.port, serial.line.baud)
        }
        Source::Modbus(modbus) => {
            let place = match &modbus.transport {
                Transport::Rtu { port, line } => format!("{port} at {} baud", line.baud),
                Transport::Tcp { host, port } => format!("{host}:{port}"),
            };
            let devices: Vec<_> = modbus.units.iter().map(|unit| unit.device.as_str()).collect();
            format!("{place}, {}", devices.join(" "))
        }
    }
}

//! `tidegate init`: a configuration to start from.

use std::process::ExitCode;

use clap::ValueEnum;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidegate init --link cellular > tidegate.toml\n  tidegate check -c tidegate.toml")]
pub struct Args {
    /// What the way to AWS is like: how long batches wait, and how long a request may take
    #[arg(long, value_enum, default_value_t = Link::Lan)]
    link: Link,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Link {
    /// Wired: batches wait 5 s
    Lan,
    /// Mobile: batches wait 60 s
    Cellular,
    /// Paid by the byte, or by satellite: batches wait 5 min
    Metered,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    print!("{}", starter(args.link));
    Ok(ExitCode::SUCCESS)
}

/// The text; what it leaves commented out are the defaults.
#[must_use]
pub fn starter(link: Link) -> String {
    let profile = match link {
        Link::Lan => "lan",
        Link::Cellular => "cellular",
        Link::Metered => "metered",
    };
    STARTER.replace("PROFILE", profile)
}

const STARTER: &str = r#"# Tidegate. `tidegate check -c FILE` names every fault; durations are "5s", sizes "64MiB".
# A string may take an environment variable: "${NAME}".

[gateway]
# id = "plant-7"                    # default: host name and four digits kept in the data directory
data_dir = "/var/lib/tidegate"      # the queue; on the disk you trust most
# shutdown_timeout = "10s"

[link]
profile = "PROFILE"                 # lan: batches wait 5s | cellular: 60s | metered: 5m; sets time-outs too
# connect_timeout = "10s"
# request_timeout = "30s"

[[source]]
type = "mqtt"
name = "plant"
url = "mqtt://127.0.0.1:1883"       # mqtts:// for TLS
# protocol = "5"                    # or "3.1.1"
# client_id = "tidegate-plant"      # default: tidegate, the gateway's id and the source's name
# session_expiry = "7d"             # how long the broker keeps what we miss
# keep_alive = "30s"
# in_flight = 1000                  # messages held unacknowledged
# max_payload = "1MiB"              # above: a dead letter
# max_packet = "16MiB"
# username = "edge"
# password_file = "/etc/tidegate/mqtt.password"
# ca_file = "ca.pem"                # with cert_file and key_file: mutual TLS
# cert_file = "client.pem"
# key_file = "client.key"

  [[source.subscribe]]
  filter = "sensors/+/telemetry"    # $share/GROUP/… works too
  topic = "sensors/{device}/telemetry"  # names the levels; without it the device is the whole topic
  # qos = 1
  # retained = "keep"               # or "ignore"
  format = "json"                   # or "cbor", "senml-json", "senml-cbor", "influx", "sparkplug", "csv", "raw"
  # device_field = "id"             # where the payload names the device
  # time = "ts"                     # where the payload tells the time; default: the moment of arrival
  # time_unit = "ms"                # default: told apart by size
  # drop_repeats = false            # true only where payloads carry their own time or counter

  # [source.filter]                 # report by exception; names may end in *
  # keep = ["temp", "state"]        # or drop = ["debug.*"]; rename = { t = "temp" } comes first
  # on_change = ["state"]           # reported when it is another
  # deadband = { temp = 0.1 }       # reported when it has moved by more than that
  # heartbeat = "5m"                # and after so long all the same

# [[source]]
# type = "serial"
# name = "boiler"
# port = "/dev/serial/by-id/usb-*"  # a path, or a pattern that one device fits
# baud = 115200
# data_bits = 8
# parity = "none"                   # or "odd", "even"
# stop_bits = 1
# flow_control = "none"             # or "hardware", or "software" for lines
# framing = "cobs"                  # acknowledged frames; "lines": a payload a line
# max_frame = 4096                  # bytes of a payload
# format = "json"                   # with device_field and time as above
# device = "boiler-1"               # where neither the payload nor the sensor's HELLO names it

# [[source]]
# type = "modbus"
# name = "meters"
# transport = "rtu"                 # with port, baud and parity; "tcp": with address = "10.0.0.5:502"
# port = "/dev/ttyUSB1"
# baud = 9600
# timeout = "500ms"                 # how long an answer may take
# gap = "5ms"                       # silence between requests
#   [[source.unit]]
#   unit = 1
#   device = "meter-1"
#   poll = "1s"
#     [[source.unit.register]]
#     field = "voltage"
#     table = "input"               # or "holding", "coil", "discrete"
#     address = 0                   # from zero; "30001" as manuals print it
#     type = "f32"                  # u16 i16 u32 i32 u64 i64 f32 f64 bool text(n)
#     order = "abcd"                # or "cdab", "badc", "dcba"
#     scale = 0.1
#     offset = 0.0
#     [[source.unit.register]]
#     field = "alarm"
#     address = "40007"
#     bit = 3                       # of a register

[queue]
# max_bytes = "2GiB"                # of disk, for everything
# min_free = "256MiB"               # of the disk; below it the queue counts as full
# when_full = "shed_oldest"         # or "block": sources are held back
# commit_linger = "250ms"           # how long a lone message waits for company before its fsync
# max_dead = "64MiB"                # of dead letters

# [[window]]
# name = "climate_1m"
# sql = "SELECT device, COUNT(*) AS n, AVG(temp) AS temp FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' MINUTE)"
# watermark = "30s"                 # how far out of order readings may come
# idle_timeout = "30s"              # a device that is silent for so long is not waited for
# max_ahead = "1h"                  # readings further ahead of their arrival do not move time
# max_groups = 100000               # open at once; `check` says what memory that may take
# late = "forward"                  # or "drop"; with readings = "none" a late one is delivered as it is
# checkpoint_interval = "10s"

# [forward]
# readings = "all"                  # "none": only rows, and readings go once they are folded

[batch]
# compression = "zstd"              # or "none"
# level = 3
# max_age = "5s"                    # the longest a reading waits for company; default from link.profile
# max_bytes = "256KiB"              # of one finished record
# received = false                  # the moment of arrival beside the time

[kinesis]
stream = "telemetry"                # name or ARN; kinesis:PutRecords is all the credentials must allow
region = "eu-west-1"
# endpoint_url = "http://127.0.0.1:4567"
# lanes = 1                         # more only where one shard's 1 MB/s is not enough
# max_record = "1MiB"
# max_request = "5MiB"

[kinesis.backoff]
# base = "200ms"
# max = "60s"

[http]
# listen = "127.0.0.1:9470"         # /status /metrics /healthz /readyz; "off" for none
# token_file = "token"              # needed off loopback
"#;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn the_starter_has_no_faults_on_any_link() {
        for link in [Link::Lan, Link::Cellular, Link::Metered] {
            let parsed = config::parse(&starter(link), Path::new("tidegate.toml"), &config::Environment::default());
            assert_eq!(parsed.map(|(config, _)| config.sources.len()), Ok(1));
        }
    }

    #[test]
    fn every_key_it_shows_is_known() {
        let shown = starter(Link::Lan).lines().map(uncommented).collect::<Vec<_>>().join("\n");
        let faults = config::parse(&shown, Path::new("tidegate.toml"), &config::Environment::default())
            .expect_err("its files are not there");
        assert!(
            faults.iter().all(|fault| fault.what.contains("cannot be read") || fault.what.contains("certificates")),
            "{faults:?}"
        );
        assert_eq!(faults.iter().filter(|fault| fault.what.contains("cannot be read")).count(), 5);
    }

    /// A commented key as if it were set.
    fn uncommented(line: &str) -> String {
        match line.trim_start().strip_prefix("# ").map(str::trim_start) {
            Some(section) if section.starts_with('[') => section.to_owned(),
            Some(key) if key.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => key.to_owned(),
            _ => line.to_owned(),
        }
    }
}

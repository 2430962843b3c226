//! What a configuration means: every section read, every default in its place.

use std::path::Path;
use std::time::Duration;

use super::fault::{Fault, Note};
use super::read::{Placed, Reading, Section};
use super::source::sources;
use super::tree::{Node, Value};
use super::window::{forward, windows};
use super::{
    Backoff, Batch, Compression, Config, Environment, Gateway, Http, Kinesis, Link, Profile, Queue, Secret, WhenFull,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What a record's partition key and envelope take besides its body.
const ENVELOPE: u64 = KIB;

pub fn mean(
    root: &Node,
    faults: Vec<Fault>,
    directory: &Path,
    env: &Environment,
) -> Result<(Config, Vec<Note>), Vec<Fault>> {
    let reading = Reading { faults: faults.into(), notes: Vec::new().into(), directory, env };
    let config = match &root.value {
        Value::Table(table) => config(&Section::new(&reading, "", &root.at, table)),
        _ => unreachable!("a file is a table"),
    };
    let (mut faults, notes) = (reading.faults.into_inner(), reading.notes.into_inner());
    faults.sort();
    faults.dedup();
    match config {
        Some(config) if faults.is_empty() => Ok((config, notes)),
        _ => Err(faults),
    }
}

fn config(root: &Section<'_>) -> Option<Config> {
    let gateway = gateway(root.section("gateway"));
    let (link, max_age) = link(root.section("link"));
    let sources = sources(root);
    let queue = queue(root.section("queue"));
    let kinesis = kinesis(root.section("kinesis"));
    let max_record = kinesis.as_ref().map_or(MIB, |kinesis| kinesis.max_record as u64);
    let batch = batch(root.section("batch"), max_age, max_record);
    let http = http(root.section("http"));
    let windows = windows(root);
    let forward = forward(root.section("forward"), !root.sections("window").is_empty());
    root.finish();
    Some(Config { gateway: gateway?, link, sources, queue, batch, kinesis: kinesis?, http: http?, windows, forward })
}

fn gateway(section: Section<'_>) -> Option<Gateway> {
    let id = section.text("id").and_then(|id| {
        let fits = id.value.len() <= 100 && id.value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !fits {
            let what = format!("`gateway.id` = \"{}\" cannot be an id", id.value);
            section.fault(&id.at, what, "up to 100 letters, digits, dots, dashes and underscores");
        }
        fits.then_some(id.value)
    });
    let data_dir = section.text("data_dir").map_or("/var/lib/tidegate".into(), |dir| dir.value);
    let shutdown_timeout = section.duration("shutdown_timeout", Duration::ZERO..=DAY, 10 * SECOND);
    let data_dir = section.reading.directory.join(data_dir);
    section.finish();
    Some(Gateway { id, data_dir, shutdown_timeout })
}

/// The link, and how long batches wait on such a one.
fn link(section: Section<'_>) -> (Link, Duration) {
    let profiles = [("lan", Profile::Lan), ("cellular", Profile::Cellular), ("metered", Profile::Metered)];
    let profile = section.choice("profile", &profiles, Profile::Lan);
    let (connect, request, age) = match profile {
        Profile::Lan => (10, 30, 5),
        Profile::Cellular => (30, 120, 60),
        Profile::Metered => (60, 300, 300),
    };
    let bounds = SECOND / 10..=3600 * SECOND;
    let connect_timeout = section.duration("connect_timeout", bounds.clone(), connect * SECOND);
    let request_timeout = section.duration("request_timeout", bounds, request * SECOND);
    section.finish();
    (Link { profile, connect_timeout, request_timeout }, age * SECOND)
}

fn queue(section: Section<'_>) -> Queue {
    let policies = [("shed_oldest", WhenFull::ShedOldest), ("block", WhenFull::Block)];
    let queue = Queue {
        max_bytes: section.size("max_bytes", 32 * MIB..=1024 * GIB, 2 * GIB),
        min_free: section.size("min_free", 0..=1024 * GIB, 256 * MIB),
        when_full: section.choice("when_full", &policies, WhenFull::ShedOldest),
        commit_linger: section.duration("commit_linger", Duration::ZERO..=5 * SECOND, SECOND / 4),
        max_dead: section.size("max_dead", 4 * MIB..=1024 * GIB, 64 * MIB),
    };
    section.finish();
    queue
}

fn batch(section: Section<'_>, max_age: Duration, max_record: u64) -> Batch {
    section.choice("format", &[("columns", ())], ());
    let most = max_record.saturating_sub(ENVELOPE);
    let batch = Batch {
        compression: section.choice(
            "compression",
            &[("zstd", Compression::Zstd), ("none", Compression::None)],
            Compression::Zstd,
        ),
        level: section.number("level", 1..=22, 3) as i32,
        max_age: section.duration("max_age", SECOND / 1000..=DAY, max_age),
        max_bytes: section.size("max_bytes", KIB..=most, (256 * KIB).min(most)) as usize,
        received: section.flag("received", false),
    };
    section.finish();
    batch
}

fn kinesis(section: Section<'_>) -> Option<Kinesis> {
    let stream = section.needed("stream", "telemetry");
    let region = region(&section, stream.as_ref());
    let endpoint_url = section.text("endpoint_url").and_then(|url| {
        let fits = url.value.starts_with("http://") || url.value.starts_with("https://");
        if !fits {
            let what = format!("`kinesis.endpoint_url` = \"{}\" is not a URL", url.value);
            section.fault(&url.at, what, "write http://HOST:PORT or https://HOST");
        }
        fits.then_some(url.value)
    });
    let lanes = section.number("lanes", 1..=1024, 1) as u32;
    let max_record = section.size("max_record", 4 * KIB..=10 * MIB, MIB) as usize;
    let max_request =
        section.size("max_request", max_record as u64..=10 * MIB, (5 * MIB).max(max_record as u64)) as usize;
    let inner = section.section("backoff");
    let base = inner.duration("base", SECOND / 1000..=60 * SECOND, SECOND / 5);
    let max = inner.duration("max", base..=DAY, (60 * SECOND).max(base));
    inner.finish();
    section.finish();
    let backoff = Backoff { base, max };
    Some(Kinesis { stream: stream?.value, region: region?, endpoint_url, lanes, max_record, max_request, backoff })
}

/// The region: as written, or from the stream's ARN, or from the environment.
fn region(section: &Section<'_>, stream: Option<&Placed<String>>) -> Option<String> {
    if let Some(region) = section.text("region") {
        return Some(region.value);
    }
    let arn = stream.and_then(|stream| stream.value.strip_prefix("arn:")?.split(':').nth(2).map(str::to_owned));
    let env = section.reading.env;
    let found = arn.or_else(|| env.get("AWS_REGION").or(env.get("AWS_DEFAULT_REGION")).map(str::to_owned));
    if found.is_none() && stream.is_some() {
        section.fault(&section.at, "`kinesis.region` is missing", "write region = \"eu-west-1\", or set AWS_REGION");
    }
    found
}

fn http(section: Section<'_>) -> Option<Http> {
    let token = section.file("token_file").map(|file| {
        let token = file.value.trim_ascii().to_vec();
        if token.is_empty() {
            section.fault(&file.at, "`http.token_file` names an empty file", "write the token into it");
        }
        Secret(token)
    });
    let open = section.flag("insecure_no_token", false);
    let listen = match section.text("listen") {
        None => Some("127.0.0.1:9470".parse().expect("an address")),
        Some(text) if text.value == "off" => None,
        Some(text) => {
            if let Ok(address) = text.value.parse::<std::net::SocketAddr>() {
                if !address.ip().is_loopback() && token.is_none() && !open {
                    let what = format!("`http.listen` = \"{address}\" can be reached from elsewhere without a token");
                    section.fault(
                        &text.at,
                        what,
                        "set token_file, or insecure_no_token = true, or listen on 127.0.0.1",
                    );
                }
                Some(address)
            } else {
                let what = format!("`http.listen` = \"{}\" is not an address", text.value);
                section.fault(&text.at, what, "write \"127.0.0.1:9470\", or \"off\"");
                None
            }
        }
    };
    section.finish();
    Some(Http { listen, token })
}

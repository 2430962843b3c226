//! What the house leaves out: each rule is about something absent from the source.

use std::path::{Path, PathBuf};

struct File {
    /// Below `src/`.
    path: String,
    /// Without comments, and without the tests at its end.
    code: String,
}

fn files() -> Vec<File> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    gather(&root, &root, &mut files);
    assert!(files.len() > 50, "{}", files.len());
    files
}

fn gather(root: &Path, directory: &Path, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "tests" {
                gather(root, &path, files);
            }
        } else if path.extension().is_some_and(|end| end == "rs") && path.file_name().unwrap() != "tests.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let text = text.split("#[cfg(test)]\npub(crate) mod tests {").next().unwrap();
            let lines = text.lines().map(|line| line.split("//").next().unwrap());
            let code = lines.collect::<Vec<_>>().join("\n");
            files.push(File { path: path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), code });
        }
    }
}

/// Asserts that none of these words stands in the files a rule is about.
fn absent(words: &[&str], from: impl Fn(&str) -> bool, why: &str) {
    let files = files();
    let concerned: Vec<_> = files.iter().filter(|file| from(&file.path)).collect();
    assert!(!concerned.is_empty(), "the rule is about nothing: {why}");
    for file in concerned {
        for (number, line) in file.code.lines().enumerate() {
            for word in words {
                assert!(!line.contains(word), "src/{}:{}: `{word}`: {why}", file.path, number + 1);
            }
        }
    }
}

/// Asserts that a word stands in these places, and nowhere else.
fn only_in(word: &str, places: &[&str]) {
    for place in places {
        let used = files().iter().any(|file| file.path.starts_with(place) && file.code.contains(word));
        assert!(used, "`{word}` is not in src/{place}: the rule has outlived it");
    }
    absent(&[word], |path| !places.iter().any(|place| path.starts_with(place)), "it belongs elsewhere");
}

fn is_pure(path: &str) -> bool {
    [
        "decode/",
        "window/",
        "batch/",
        "wire/",
        "source/serial/acks.rs",
        "source/serial/lines.rs",
        "source/serial/link.rs",
        "source/modbus/plan.rs",
        "source/modbus/schedule.rs",
        "source/modbus/words.rs",
        "simulate/consumer.rs",
        "simulate/modbus/slave.rs",
        "simulate/sensor.rs",
        "simulate/serial/firmware.rs",
        "simulate/windows/",
    ]
    .iter()
    .any(|pure| path.starts_with(pure))
}

#[test]
fn the_middle_is_pure() {
    let words = [
        "async ",
        ".await",
        "tokio::",
        "Instant::now",
        "SystemTime",
        "std::fs",
        "std::net::{",
        "std::net::Tcp",
        "std::net::Udp",
        "std::io::Write",
    ];
    absent(&words, is_pure, "no async, clock, randomness, I/O or logging in the pure middle");
    absent(&["tracing::", "println!"], is_pure, "no logging in the pure middle");
    absent(&["std::", "unsafe "], |path| path.starts_with("wire/src"), "the wire needs no operating system");
}

#[test]
fn each_dependency_touches_its_own_place() {
    only_in("sled::", &["queue/store/generation.rs", "queue/store/guard.rs"]);
    only_in("rumqttc", &["source/mqtt/", "simulate/"]);
    only_in("aws_sdk_kinesis", &["sink/aws.rs", "sink/kinesis.rs", "simulate/cloud.rs"]);
    only_in("aws_config", &["sink/aws.rs", "sink/kinesis.rs"]);
    only_in("axum::", &["http/", "simulate/stream/"]);
    only_in("anyhow::", &["cli/", "simulate/"]);
    only_in("prometheus::", &["metrics.rs"]);
    only_in("sketches_ddsketch::", &["window/aggregate/quantile.rs"]);
    only_in("sqlparser::", &["window/sql/"]);
    only_in("tokio_serial::", &["source/port.rs", "source/serial/", "simulate/pty.rs"]);
    only_in("tokio_modbus::", &["source/modbus/line.rs"]);
    only_in("glob::", &["source/port.rs"]);
    only_in("rustix::pty", &["simulate/pty.rs"]);
    only_in("influxdb_line_protocol::", &["decode/influx.rs"]);
    only_in("csv_core::", &["decode/csv.rs"]);
    only_in("prost::", &["decode/sparkplug/"]);
    only_in("minicbor::", &["decode/cbor.rs", "decode/senml/cbor.rs"]);
}

#[test]
fn who_confirms_and_who_moves_a_cursor() {
    only_in("ack.confirm(", &["queue/writer/"]);
    // At a start, which readings are passed is settled there; no cursor moves by it.
    only_in("cursors.store(", &["sink/delivery.rs", "queue/cursors.rs"]);
    let log = files().into_iter().find(|file| file.path == "queue/appender.rs").unwrap();
    let (before, _) = log.code.split_once("pub struct Appender").unwrap();
    assert!(!before.rsplit('}').next().unwrap().contains("Clone"), "there is one appender");
}

#[test]
fn nothing_is_unbounded_and_nothing_unsafe() {
    absent(&["unbounded_channel", "mpsc::channel::<", "unsafe {"], |_| true, "every place is bounded");
    for root in ["lib.rs", "wire/src/lib.rs"] {
        let text = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src").join(root)).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root}");
    }
}

#[test]
fn sources_know_neither_the_queue_nor_the_road() {
    absent(
        &["crate::queue", "crate::sink", "crate::batch"],
        |path| path.starts_with("source/"),
        "a source knows Inbox and Ack",
    );
    absent(
        &["crate::sink", "crate::source"],
        |path| path.starts_with("batch/"),
        "the batch knows readings and the wire",
    );
    absent(&["crate::sink", "crate::batch", "crate::http"], |path| path.starts_with("queue/"), "the log knows no road");
    absent(&["crate::queue", "crate::sink", "crate::source"], |path| path.starts_with("http/"), "status comes to it");
}

#[test]
fn what_is_wrong_on_purpose_is_compiled_for_the_power_cut_rig_alone() {
    only_in("Mutant", &["faults/", "queue/store/", "queue/writer/", "sink/delivery.rs"]);
    only_in("crate::faults", &["queue/", "sink/delivery.rs", "sink/kinesis.rs", "source/mqtt/mod.rs"]);
    let faults = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/faults/mod.rs")).unwrap();
    for module in ["end", "mutant"] {
        assert!(
            faults.contains(&format!("#[cfg(feature = \"faults\")]\nmod {module};")),
            "{module} is for the rig alone"
        );
    }
}

#[test]
fn a_file_can_be_read_in_one_sitting() {
    for file in files() {
        let lines = file.code.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= 420, "src/{} has {lines} lines of code: find the idea that hides in it", file.path);
    }
}

/// The emulator of the Unos is under the GPL, and all else is not: only its runner, a program of its own, links it.
#[test]
fn what_links_libsimavr_stays_by_itself_and_says_its_licence() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("firmware-examples");
    let (mut folders, mut linking) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What was built by hand.
                folders.extend((!path.ends_with("build") && !path.ends_with("target")).then_some(path));
            } else if path.extension().is_none_or(|end| end != "md") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                linking.extend((text.contains("sim_avr.h") || text.contains("lsimavr")).then_some((path, text)));
            }
        }
    }
    assert_eq!(linking.len(), 2, "{linking:?}");
    for (path, text) in linking {
        assert!(path.starts_with(root.join("tools/avr-runner")), "{}", path.display());
        assert!(text.contains("SPDX-License-Identifier: GPL-3.0-or-later"), "{}", path.display());
    }
}

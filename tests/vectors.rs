//! What is read of the golden bytes, `vectors/*.record`, and what is refused: the package of the format writes them.

use std::path::PathBuf;

use tidegate::batch::read::read_record;

use crate::support::gateway::tidegate;
use crate::support::readings;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

#[test]
fn decode_prints_each_vector_as_it_always_did() {
    let write = std::env::var_os("TIDEGATE_WRITE_VECTORS").is_some();
    let mut tried = 0;
    for entry in std::fs::read_dir(file("")).unwrap() {
        let record = entry.unwrap().path();
        if record.extension().is_none_or(|end| end != "record") {
            continue;
        }
        let decoded = tidegate(&["decode", record.to_str().unwrap()]);
        assert!(decoded.status.success(), "{record:?}: {decoded:?}");
        let golden = record.with_extension("jsonl");
        if write {
            std::fs::write(&golden, &decoded.stdout).unwrap();
        }
        assert_eq!(String::from_utf8(decoded.stdout).unwrap(), std::fs::read_to_string(&golden).unwrap(), "{record:?}");
        tried += 1;
    }
    assert_eq!(tried, 15);
}

/// `vectors/refused.txt`: vectors with a few bytes changed, and what is said of each.
#[test]
fn what_no_reader_may_take_is_refused_by_name() {
    let list = std::fs::read_to_string(file("refused.txt")).unwrap();
    let mut tried = 0;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let [name, vector, from, to, says] = line.split(" | ").collect::<Vec<_>>()[..] else { panic!("{line}") };
        let good = std::fs::read(file(&format!("{vector}.record"))).unwrap();
        assert!(read_record(&good).is_ok(), "{vector}");
        let (from, to) = (bytes(from), bytes(to));
        let at =
            good.windows(from.len()).position(|window| window == from).unwrap_or_else(|| panic!("{name}: nowhere"));
        let bad = [&good[..at], &to, &good[at + from.len()..]].concat();
        let refusal = read_record(&bad).map(|_| ()).map_or_else(|error| error.to_string(), |()| "taken".to_owned());
        assert!(refusal.contains(says), "{name}: {refusal}");
        tried += 1;
    }
    assert_eq!(tried, 19);
}

/// Words of hex digits, or text in quotes.
fn bytes(words: &str) -> Vec<u8> {
    let word = |word: &str| match word.strip_prefix('"') {
        Some(text) => text.trim_end_matches('"').as_bytes().to_vec(),
        None => vec![u8::from_str_radix(word, 16).unwrap()],
    };
    words.split(' ').flat_map(word).collect()
}

#[test]
fn a_reading_costs_no_more_than_it_may() {
    for (count, most) in [(1_000, 4.6), (50_000, 3.0)] {
        let size = readings::record(&readings::rows(count), 3).len() as f64 / count as f64;
        assert!(size <= most, "{count} readings cost {size:.2} bytes each, and may cost {most}");
    }
}

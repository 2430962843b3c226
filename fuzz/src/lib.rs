//! What every decoder promises of every payload, asserted.

#[path = "../../src/decode/mod.rs"]
pub mod decode;
#[path = "../../src/reading.rs"]
pub mod reading;
#[path = "../../src/source/delivery.rs"]
pub mod source;

use bytes::Bytes;

use decode::{Decoder, Format, MAX_FIELDS, MAX_NAME_BYTES, MAX_READINGS, MAX_TAGS, Payload};
use reading::{Micros, Value};
use source::Delivery;

/// 2026-01-02T03:04:05Z
const ARRIVAL: Micros = Micros(1_767_323_045_000_000);

/// One payload by a topic, read twice by a decoder that has time and device of its own where the format allows it.
pub fn payload(format: Format, topic: &str, bytes: &[u8]) {
    let mut decoder = decoder(format);
    let payload = Bytes::copy_from_slice(bytes);
    let first = decoder.decode_at(topic, &payload, Some(ARRIVAL));
    check(&first, &payload);
    // Without a clock less may be understood, and no more.
    let without = decoder.decode(topic, &payload);
    check(&without, &payload);
    let again = decoder.decode_at(topic, &payload, Some(ARRIVAL));
    check(&again, &payload);
    // Only births make a difference to what comes after.
    if format != Format::Sparkplug {
        assert_eq!((&first.readings, &first.rejects), (&again.readings, &again.rejects), "nothing is left over");
    }
}

/// Messages of one Sparkplug node in a row: a byte says the kind, two the length.
pub fn sparkplug(mut bytes: &[u8]) {
    const KINDS: [&str; 8] = ["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH", "NCMD", "DCMD"];
    let mut decoder = decoder(Format::Sparkplug);
    while let [kind, high, low, rest @ ..] = bytes {
        let kind = KINDS[usize::from(*kind) % KINDS.len()];
        let (message, rest) = rest.split_at(rest.len().min(usize::from(*high) << 8 | usize::from(*low)));
        let device = if kind.starts_with('D') { "/boiler" } else { "" };
        let payload = Bytes::copy_from_slice(message);
        check(&decoder.decode(&format!("spBv1.0/plant/{kind}/gate{device}"), &payload), &payload);
        let _ = decoder.take_rebirth();
        bytes = rest;
    }
}

fn decoder(format: Format) -> Decoder {
    let payload = Payload {
        format,
        device_field: Some("id".to_owned()),
        time: (format != Format::Influx).then(|| "ts".to_owned()),
        time_unit: None,
        columns: if format == Format::Csv {
            ["ts", "id", "a", "", "b"].map(str::to_owned).to_vec()
        } else {
            Vec::new()
        },
    };
    Decoder::new("fuzz".into(), "#", None, &payload).expect("a filter of all topics")
}

fn check(delivery: &Delivery, payload: &Bytes) {
    assert!(!delivery.readings.is_empty() || !delivery.rejects.is_empty(), "something is said of every payload");
    // A node takes its devices with it, each a reading.
    assert!(delivery.readings.len() <= 2 * MAX_READINGS, "{} readings", delivery.readings.len());
    for reading in &delivery.readings {
        assert!((1..=MAX_FIELDS).contains(&reading.fields.len()), "{} fields", reading.fields.len());
        // Beside those of the payload there is the measurement.
        assert!(reading.series.tags.len() <= MAX_TAGS + 1);
        assert!(reading.series.tags.is_sorted_by(|a, b| a.0 < b.0), "tags are sorted, names unique");
        let mut names: Vec<_> = reading.fields.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), reading.fields.len(), "names are unique");
        for (name, value) in &reading.fields {
            assert!(name.len() <= MAX_NAME_BYTES);
            assert!(!matches!(value, Value::F64(n) if !n.is_finite()), "{name} is not finite");
            assert!(!matches!(value, Value::U64(n) if i64::try_from(*n).is_ok()), "an integer has one form");
        }
    }
    for rejected in &delivery.rejects {
        assert!(!rejected.detail.is_empty(), "a reject says why");
        assert!(rejected.detail.len() < 2_000, "in a sentence: {} bytes", rejected.detail.len());
        let (part, whole) = (rejected.payload.as_ptr_range(), payload.as_ptr_range());
        let shared = whole.start <= part.start && part.end <= whole.end;
        assert!(shared || rejected.payload.is_empty(), "it bears its own bytes");
    }
    assert!(delivery.weight >= payload.len());
}

//! How a payload is read: the same keys for every source that has payloads.

use super::read::Section;
use super::{Format, Payload, TimeUnit};

const FORMATS: [(&str, Format); 5] = [
    ("json", Format::Json),
    ("cbor", Format::Cbor),
    ("senml-json", Format::SenmlJson),
    ("senml-cbor", Format::SenmlCbor),
    ("raw", Format::Raw),
];

const UNITS: [(&str, TimeUnit); 5] = [
    ("s", TimeUnit::Seconds),
    ("ms", TimeUnit::Millis),
    ("us", TimeUnit::Micros),
    ("µs", TimeUnit::Micros),
    ("ns", TimeUnit::Nanos),
];

pub fn payload(section: &Section<'_>) -> Payload {
    let payload = Payload {
        format: section.choice("format", &FORMATS, Format::Json),
        device_field: section.text("device_field").map(|field| field.value),
        time: section.text("time").map(|field| field.value),
        time_unit: section.text("time_unit").is_some().then(|| section.choice("time_unit", &UNITS, TimeUnit::Millis)),
    };
    if let (Some(unit), None) = (section.text("time_unit"), &payload.time) {
        section.reading.note(&unit.at, "time_unit without time: no time is read, and the moment of arrival stands in");
    }
    if let (Some(why), Some(key)) = (no_keys(payload.format), section.text("time").or(section.text("device_field"))) {
        section.reading.note(&key.at, why);
    }
    payload
}

/// Why `time` and `device_field` mean nothing to a format.
fn no_keys(format: Format) -> Option<&'static str> {
    match format {
        Format::Json | Format::Cbor => None,
        Format::SenmlJson | Format::SenmlCbor => {
            Some("senml has its own words for time and device: these are not read")
        }
        Format::Raw => Some("a raw payload has no fields: neither time nor device is read from it"),
    }
}

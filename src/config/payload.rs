//! How a payload is read: the same keys for every source that has payloads.

use super::read::Section;
use super::{Format, Payload, TimeUnit};

const FORMATS: [(&str, Format); 6] = [
    ("json", Format::Json),
    ("cbor", Format::Cbor),
    ("senml-json", Format::SenmlJson),
    ("senml-cbor", Format::SenmlCbor),
    ("influx", Format::Influx),
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
    let (unread, why): (&[_], _) = unread(payload.format);
    if let Some(key) = unread.iter().find_map(|key| section.text(key)) {
        section.reading.note(&key.at, why);
    }
    if let (Format::Json | Format::Cbor, Some(unit), None) = (payload.format, section.text("time_unit"), &payload.time)
    {
        section.reading.note(&unit.at, "time_unit without time: no time is read, and the moment of arrival stands in");
    }
    payload
}

/// The keys that mean nothing to a format, and why.
fn unread(format: Format) -> (&'static [&'static str], &'static str) {
    match format {
        Format::Json | Format::Cbor => (&[], ""),
        Format::SenmlJson | Format::SenmlCbor => {
            (&["time", "device_field", "time_unit"], "senml has its own words for time and device: this is not read")
        }
        Format::Influx => (&["time"], "a line of influx has its own place for the time: `time` is not read"),
        Format::Raw => (
            &["time", "device_field", "time_unit"],
            "a raw payload has no fields: neither time nor device is read from it",
        ),
    }
}

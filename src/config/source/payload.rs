//! How the bytes of a payload become fields, wherever they came from.

use crate::config::read::Section;
use crate::config::{Format, Payload, TimeUnit};

pub fn payload(section: &Section<'_>) -> Payload {
    let units = [
        ("s", TimeUnit::Seconds),
        ("ms", TimeUnit::Millis),
        ("us", TimeUnit::Micros),
        ("µs", TimeUnit::Micros),
        ("ns", TimeUnit::Nanos),
    ];
    let payload = Payload {
        format: section.choice("format", &[("json", Format::Json), ("raw", Format::Raw)], Format::Json),
        device_field: section.text("device_field").map(|field| field.value),
        time: section.text("time").map(|field| field.value),
        time_unit: section.text("time_unit").is_some().then(|| section.choice("time_unit", &units, TimeUnit::Millis)),
    };
    if let (Some(unit), None) = (section.text("time_unit"), &payload.time) {
        section.reading.note(&unit.at, "time_unit without time: no time is read, and the moment of arrival stands in");
    }
    if let (Format::Raw, Some(key)) = (payload.format, section.text("time").or(section.text("device_field"))) {
        section.reading.note(&key.at, "a raw payload has no fields: neither time nor device is read from it");
    }
    payload
}

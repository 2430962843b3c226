//! How a payload is read: the same keys for every source that has payloads.

use crate::config::read::Section;
use crate::config::{Format, Payload, TimeUnit};

const FORMATS: [(&str, Format); 8] = [
    ("json", Format::Json),
    ("cbor", Format::Cbor),
    ("senml-json", Format::SenmlJson),
    ("senml-cbor", Format::SenmlCbor),
    ("influx", Format::Influx),
    ("sparkplug", Format::Sparkplug),
    ("csv", Format::Csv),
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
    let format = section.choice("format", &FORMATS, Format::Json);
    let (unread, why) = unread(format);
    if let Some(key) = unread.iter().find_map(|key| section.text(key)) {
        section.reading.note(&key.at, why);
    }
    let read = |key| section.text(key).filter(|_| !unread.contains(&key)).map(|text| text.value);
    let payload = Payload {
        format,
        device_field: read("device_field"),
        time: read("time"),
        time_unit: read("time_unit").map(|_| section.choice("time_unit", &UNITS, TimeUnit::Millis)),
        columns: columns(section, format),
    };
    if let (Format::Json | Format::Cbor | Format::Csv, Some(unit), None) =
        (format, section.text("time_unit"), &payload.time)
    {
        section.reading.note(&unit.at, "time_unit without time: no time is read, and the moment of arrival stands in");
    }
    payload
}

fn columns(section: &Section<'_>, format: Format) -> Vec<String> {
    let columns = section.texts("columns");
    if format != Format::Csv {
        if let Some(columns) = columns {
            section.reading.note(&columns.at, "columns are for format = \"csv\": they are not read");
        }
        return Vec::new();
    }
    let remedy = "write columns = [\"time\", \"temp\"], one name a cell; \"\" for a cell that is not wanted";
    let Some(columns) = columns else {
        if !section.has("columns") {
            section.fault(&section.at, "`columns` is missing: csv has no names of its own", remedy);
        }
        return Vec::new();
    };
    let mut names: Vec<&str> = columns.value.iter().map(|name| name.value.trim()).collect();
    let listed = |key| section.text(key).filter(|name| !names.contains(&&*name.value));
    for key in ["time", "device_field"] {
        if let Some(name) = listed(key) {
            section.fault(&name.at, format!("`{key}` = \"{}\" is not among the columns", name.value), "add it to them");
        }
    }
    names.retain(|name| !name.is_empty());
    if names.is_empty() {
        section.fault(&columns.at, "no column has a name", remedy);
    }
    for (index, placed) in columns.value.iter().enumerate() {
        let name = placed.value.trim();
        if !name.is_empty() && columns.value[..index].iter().any(|other| other.value.trim() == name) {
            section.fault(&placed.at, format!("two columns are called \"{name}\""), "give each a name of its own");
        }
    }
    columns.value.into_iter().map(|name| name.value.trim().to_owned()).collect()
}

/// The keys that mean nothing to a format, and why.
fn unread(format: Format) -> (&'static [&'static str], &'static str) {
    match format {
        Format::Json | Format::Cbor | Format::Csv => (&[], ""),
        Format::SenmlJson | Format::SenmlCbor => {
            (&["time", "device_field", "time_unit"], "senml has its own words for time and device: this is not read")
        }
        Format::Sparkplug => (
            &["time", "device_field", "time_unit"],
            "sparkplug has its own places for time and device: this is not read",
        ),
        Format::Influx => (&["time"], "a line of influx has its own place for the time: `time` is not read"),
        Format::Raw => (
            &["time", "device_field", "time_unit"],
            "a raw payload has no fields: neither time nor device is read from it",
        ),
    }
}

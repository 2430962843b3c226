//! InfluxDB line protocol: a reading a line.
//!
//! ```text
//! weather,location=us-midwest,room=a temp=82.5,count=3i,on=true,text="x" 1465839830100400200
//! measurement, tags …                fields …                            time, ns
//! ```
//!
//! | of a line | becomes |
//! | --- | --- |
//! | measurement | the tag `measurement` |
//! | tags | tags; one that `device_field` names is the device, and no tag |
//! | fields | fields: `3i` and `3u` are integers, `3` is a float, as the protocol has it |
//! | time | the time, in nanoseconds, or in `time_unit`; without one, the moment of arrival |
//!
//! Where names clash a tag of the topic's template outranks the measurement, and that the line's own. A bad line is
//! rejected alone. Empty lines and comments (`#`) say nothing.

use std::fmt::Write;
use std::sync::Arc;

use influxdb_line_protocol::{Error, FieldValue, ParsedLine, parse_lines, split_lines};

use super::gather::{Gather, Scalar};
use super::{Fault, MAX_NAME_BYTES, MAX_READINGS, MAX_TAGS, Pass, TimeUnit};

/// What a message shows of a line that the parser quotes.
const SHOWN: usize = 200;
const FORM: &str = "MEASUREMENT,TAG=VALUE FIELD=VALUE TIME";

pub(super) fn read(pass: &mut Pass<'_>) {
    let payload = pass.payload;
    let lines = match lines(payload) {
        Ok(lines) => lines,
        Err(fault) => return pass.reject(payload, fault),
    };
    for (index, line) in lines.iter().enumerate() {
        if let Err(fault) = read_line(line, pass) {
            let detail = format!("line {} of {}: {}", index + 1, lines.len(), fault.detail);
            pass.reject(line.as_bytes(), Fault { detail, ..fault });
        }
    }
}

fn lines(payload: &[u8]) -> Result<Vec<&str>, Fault> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| Fault::malformed(format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
    let lines = split_lines(text).map(str::trim).filter(|line| !line.is_empty() && !is_comment(line));
    let lines: Vec<_> = lines.take(MAX_READINGS + 1).collect();
    match lines.len() {
        0 => Err(Fault::empty("there is no line in it but comments")),
        count if count > MAX_READINGS => {
            Err(Fault::value(format!("more than {MAX_READINGS} readings; send several messages")))
        }
        _ => Ok(lines),
    }
}

fn is_comment(line: &str) -> bool {
    line.starts_with('#') && !line.contains('\n')
}

fn read_line(line: &str, pass: &mut Pass<'_>) -> Result<(), Fault> {
    let parsed = parse_lines(line).next().unwrap_or(Err(Error::FieldSetMissing));
    let parsed = parsed.map_err(|error| match error {
        Error::GenericParsingError { .. } => Fault::malformed(format!("not line protocol, which is {FORM}")),
        error => {
            let shown: String = error.to_string().chars().take(SHOWN).collect();
            Fault::malformed(format!("not line protocol: {shown}"))
        }
    })?;
    pass.gather.start();
    let tags = tags(&parsed, pass.gather)?;
    gather(&parsed, pass.gather)?;
    let told = pass.gather.finish()?;
    let series = pass.places.tagged(pass.place, pass.gather.device(), &key(&tags), || {
        tags.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
    });
    pass.push(told, series);
    Ok(())
}

fn gather(line: &ParsedLine<'_>, gather: &mut Gather) -> Result<(), Fault> {
    for (name, value) in &line.field_set {
        let mark = gather.enter(name, false);
        gather.put(match value {
            FieldValue::I64(n) => Scalar::I64(*n),
            FieldValue::U64(n) => Scalar::U64(*n),
            FieldValue::F64(n) => Scalar::F64(*n),
            FieldValue::Boolean(b) => Scalar::Bool(*b),
            FieldValue::String(text) => Scalar::Text(text),
        })?;
        gather.leave(&mark);
    }
    if let Some(time) = line.timestamp {
        gather.tell_time(Scalar::I64(time), TimeUnit::Nanos);
    }
    Ok(())
}

/// The line's tags, names unique; the device is taken aside.
fn tags<'a>(line: &'a ParsedLine<'_>, gather: &mut Gather) -> Result<Vec<(&'a str, &'a str)>, Fault> {
    let mut tags = vec![("measurement", line.series.measurement.as_str())];
    for (name, value) in line.series.tag_set.iter().flatten() {
        if tags.len() > MAX_TAGS {
            return Err(Fault::value(format!("more than {MAX_TAGS} tags; send what changes as fields")));
        }
        if !gather.tell_device(name, value) && *name != "measurement" {
            tags.push((name, value));
        }
    }
    if let Some((name, _)) = tags.iter().find(|(name, value)| name.len().max(value.len()) > MAX_NAME_BYTES) {
        let name = Scalar::Text(name).shown();
        return Err(Fault::value(format!("the tag {name} or its value is longer than {MAX_NAME_BYTES} bytes")));
    }
    tags.sort_unstable();
    if let Some(pair) = tags.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Fault::malformed(format!("the tag {} stands twice", Scalar::Text(pair[0].0).shown())));
    }
    Ok(tags)
}

/// What tells these tags from any others.
fn key(tags: &[(&str, &str)]) -> String {
    let mut key = String::new();
    for (name, value) in tags {
        // With their lengths no two lists look alike. Writing to a string does not fail.
        let _ = write!(key, "{}:{name}{}:{value}", name.len(), value.len());
    }
    key
}

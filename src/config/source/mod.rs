//! `[[source]]`: where readings come from, and how their payloads are read.

use std::collections::BTreeMap;

use super::Source;
use super::read::{Placed, Section};
use crate::source::port::check_pattern;

pub mod modbus;
mod mqtt;
mod payload;
pub mod serial;

/// Every source; the faults of those that cannot be read have been noted.
pub fn sources(root: &Section<'_>) -> Vec<Source> {
    let sections = root.sections("source");
    if sections.is_empty() {
        root.fault(&root.at, "there is no source", "add a [[source]] with type = \"mqtt\", name and url");
    }
    let mut names = BTreeMap::new();
    let mut clients = BTreeMap::new();
    let mut ports = BTreeMap::new();
    let mut sources = Vec::new();
    for section in sections {
        if let Some(name) = section.text("name")
            && let Some(first) = names.insert(name.value.clone(), name.at.clone())
        {
            let what = format!("two sources are called \"{}\", the first at {first}", name.value);
            section.fault(&name.at, what, "give each a name of its own");
        }
        if let (Some(id), Some(url)) = (section.text("client_id"), section.text("url"))
            && let Some(first) = clients.insert((id.value.clone(), url.value), id.at.clone())
        {
            let what = format!("two sources use client_id \"{}\" on one broker, the first at {first}", id.value);
            section.fault(&id.at, what, "they would throw each other out: give each an id of its own");
        }
        if let Some(port) = section.text("port")
            && let Some(first) = ports.insert(port.value.clone(), port.at.clone())
        {
            let what = format!("two sources use the port \"{}\", the first at {first}", port.value);
            section.fault(&port.at, what, "a port has one reader: give each a port of its own");
        }
        sources.extend(source(section));
    }
    sources
}

fn source(section: Section<'_>) -> Option<Source> {
    // Without it the rest is read as MQTT, so that every fault is found at once.
    match section.needed("type", "mqtt") {
        Some(kind) if kind.value == "serial" => serial::serial(section).map(Source::Serial),
        Some(kind) if kind.value == "modbus" => modbus::modbus(section).map(Source::Modbus),
        Some(kind) if kind.value != "mqtt" => {
            let what = format!("`source.type` = \"{}\" is not in this version of tidegate", kind.value);
            section.fault(&kind.at, what, "write \"mqtt\", \"serial\" or \"modbus\"");
            None
        }
        _ => mqtt::mqtt(section).map(Source::Mqtt),
    }
}

/// What every source is called by, in readings, metrics and logs.
fn name(section: &Section<'_>, example: &str) -> Option<Placed<String>> {
    section.needed("name", example).filter(|name| {
        let fits = name.value.len() <= 64 && name.value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if !fits {
            let what = format!("`source.name` = \"{}\" cannot be a name", name.value);
            section.fault(&name.at, what, "up to 64 letters, digits, dots, dashes and underscores");
        }
        fits
    })
}

/// The path of a serial port, or a pattern of such paths.
fn port(section: &Section<'_>) -> Option<String> {
    let port = section.needed("port", "/dev/serial/by-id/usb-*")?;
    if let Err(why) = check_pattern(&port.value) {
        let what = format!("`source.port` = \"{}\" is not a pattern: {why}", port.value);
        section.fault(&port.at, what, "`*` stands for any letters, `?` for one, `[ab]` for one of these");
        return None;
    }
    Some(port.value)
}

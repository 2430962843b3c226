//! `type = "serial"`: a port, and how readings are framed on it.

use super::filter::filter;
use super::payload::payload;
use super::{name, port};
use crate::config::read::Section;
use crate::config::{Filter, Format, Payload};

#[derive(Clone, Debug, PartialEq)]
pub struct Serial {
    pub name: String,
    /// A path, or a pattern that one path fits.
    pub port: String,
    pub line: Line,
    pub framing: Framing,
    /// Bytes of the payload of one line or frame.
    pub max_frame: usize,
    /// Where neither the payload nor a HELLO names one; `None`: the source's name.
    pub device: Option<String>,
    pub payload: Payload,
    pub filter: Filter,
}

/// How bits go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub baud: u32,
    pub data_bits: u8,
    pub parity: Parity,
    pub stop_bits: u8,
    pub flow_control: FlowControl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    None,
    Odd,
    Even,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowControl {
    None,
    /// XON and XOFF.
    Software,
    /// RTS and CTS.
    Hardware,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A payload a line; nothing is acknowledged.
    Lines,
    /// Frames of `tidegate_wire::frame`, acknowledged.
    Cobs,
}

pub fn serial(section: Section<'_>) -> Option<Serial> {
    let name = name(&section, "boiler");
    let port = port(&section);
    let framing = section.choice("framing", &[("lines", Framing::Lines), ("cobs", Framing::Cobs)], Framing::Lines);
    let line = line(&section, 115_200);
    if let (Framing::Cobs, FlowControl::Software) = (framing, line.flow_control)
        && let Some(key) = section.text("flow_control")
    {
        let what = "`source.flow_control` = \"software\" takes two byte values out of the frames";
        section.fault(&key.at, what, "write \"none\" or \"hardware\" with framing = \"cobs\"");
    }
    let payload = payload(&section);
    if let Some(key) = section.text("format") {
        match (payload.format, framing) {
            (Format::Sparkplug, _) => {
                section.fault(
                    &key.at,
                    "sparkplug needs topics, which a port does not have",
                    "use it with type = \"mqtt\"",
                );
            }
            (format, Framing::Lines) if format.is_binary() => {
                let what = format!("\"{}\" is binary: a line would end in the middle of it", key.value);
                section.fault(&key.at, what, "write framing = \"cobs\"");
            }
            _ => {}
        }
    }
    let serial = Serial {
        line,
        framing,
        max_frame: section.number("max_frame", 16..=65_536, 4_096) as usize,
        device: section.text("device").map(|device| device.value),
        payload,
        filter: filter(&section),
        name: String::new(),
        port: String::new(),
    };
    section.finish();
    Some(Serial { name: name?.value, port: port?, ..serial })
}

pub fn line(section: &Section<'_>, baud: i64) -> Line {
    let parity = [("none", Parity::None), ("odd", Parity::Odd), ("even", Parity::Even)];
    let flow_control =
        [("none", FlowControl::None), ("software", FlowControl::Software), ("hardware", FlowControl::Hardware)];
    Line {
        baud: section.number("baud", 50..=12_000_000, baud) as u32,
        data_bits: section.number("data_bits", 5..=8, 8) as u8,
        parity: section.choice("parity", &parity, Parity::None),
        stop_bits: section.number("stop_bits", 1..=2, 1) as u8,
        flow_control: section.choice("flow_control", &flow_control, FlowControl::None),
    }
}

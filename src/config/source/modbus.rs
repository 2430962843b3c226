//! `type = "modbus"`: meters on a line or behind a TCP address, what is read from each, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use super::serial::{Line, line};
use super::{name, port};
use crate::config::read::{Placed, Section};

#[derive(Clone, Debug, PartialEq)]
pub struct Modbus {
    pub name: String,
    pub transport: Transport,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Silence between an answer and the next request.
    pub gap: Duration,
    pub units: Vec<Unit>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    Rtu { port: String, line: Line },
    Tcp { host: String, port: u16 },
}

/// What is read together from one address of the line.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    pub unit: u8,
    pub device: String,
    pub poll: Duration,
    pub registers: Vec<Register>,
}

/// One field.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    pub field: String,
    pub table: Table,
    /// Of the first register, from zero.
    pub address: u16,
    pub kind: Kind,
    pub order: Order,
    /// With one of these, a value is `raw × scale + offset`, and a float.
    pub scale: Option<f64>,
    pub offset: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Coil,
    Discrete,
    Input,
    Holding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// Not zero.
    Bool,
    /// One bit of a register, 0 the lowest.
    Bit(u8),
    /// So many bytes.
    Text(u16),
}

/// Where the bytes of a value of more than one register are, `abcd` being from the highest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Abcd,
    /// The last register first.
    Cdab,
    /// The bytes of each register swapped.
    Badc,
    Dcba,
}

impl Table {
    /// Whether it holds bits, not words.
    #[must_use]
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }
}

impl Register {
    /// How many registers, or bits, it takes.
    #[must_use]
    pub fn length(&self) -> u16 {
        match self.kind {
            Kind::U16 | Kind::I16 | Kind::Bool | Kind::Bit(_) => 1,
            Kind::U32 | Kind::I32 | Kind::F32 => 2,
            Kind::U64 | Kind::I64 | Kind::F64 => 4,
            Kind::Text(bytes) => bytes.div_ceil(2),
        }
    }
}

pub fn modbus(section: Section<'_>) -> Option<Modbus> {
    let name = name(&section, "meters");
    let is_tcp = section.needed("transport", "rtu").is_some() && section.choice("transport", TRANSPORTS, false);
    let transport = if is_tcp {
        address(&section)
    } else {
        let line = line(&section, 9_600);
        port(&section).map(|port| Transport::Rtu { port, line })
    };
    let millis = Duration::from_millis;
    let timeout = section.duration("timeout", millis(10)..=millis(60_000), millis(500));
    let gap = section.duration("gap", Duration::ZERO..=millis(10_000), millis(if is_tcp { 0 } else { 5 }));
    let source = name.as_ref().map_or("", |name| &name.value);
    let inner = section.sections("unit");
    if inner.is_empty() {
        section.fault(&section.at, "this source has no units", "add [[source.unit]] with unit and its registers");
    }
    let units: Vec<_> = inner.into_iter().map(|inner| unit(inner, source, is_tcp)).collect();
    section.finish();
    let units = units.into_iter().collect::<Option<_>>()?;
    Some(Modbus { name: name?.value, transport: transport?, timeout, gap, units })
}

const TRANSPORTS: &[(&str, bool)] = &[("rtu", false), ("tcp", true)];

fn address(section: &Section<'_>) -> Option<Transport> {
    let address = section.needed("address", "10.0.0.5:502")?;
    let (host, port) = match address.value.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (&*address.value, Some(502)),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let Some(port) = port.filter(|port| *port > 0 && !host.is_empty() && !host.contains('/')) else {
        let what = format!("`source.address` = \"{}\" is not a host and a port", address.value);
        section.fault(&address.at, what, "write HOST:PORT, as in 10.0.0.5:502");
        return None;
    };
    Some(Transport::Tcp { host: host.to_owned(), port })
}

fn unit(section: Section<'_>, source: &str, is_tcp: bool) -> Option<Unit> {
    let given = section.number_or_text("unit");
    if given.is_none() {
        section.fault(&section.at, "`source.unit.unit` is missing", "write unit = 1");
    }
    // Zero is everybody on a line, and mostly the device itself behind TCP.
    let unit = section.number("unit", i64::from(!is_tcp)..=if is_tcp { 255 } else { 247 }, 1) as u8;
    let device = section.text("device").map_or(format!("{source}-{unit}"), |device| device.value);
    let (shortest, longest) = (Duration::from_millis(10), Duration::from_hours(24));
    let poll = section.duration("poll", shortest..=longest, Duration::from_secs(1));
    let inner = section.sections("register");
    if inner.is_empty() {
        section.fault(&section.at, "this unit has no registers", "add [[source.unit.register]] with field and address");
    }
    let mut fields = BTreeMap::new();
    for field in inner.iter().filter_map(|inner| inner.text("field")) {
        if let Some(first) = fields.insert(field.value.clone(), field.at.clone()) {
            let what = format!("two registers of this unit are called \"{}\", the first at {first}", field.value);
            section.fault(&field.at, what, "give each a field of its own");
        }
    }
    let registers: Vec<_> = inner.into_iter().map(register).collect();
    section.finish();
    given?;
    Some(Unit { unit, device, poll, registers: registers.into_iter().collect::<Option<_>>()? })
}

fn register(section: Section<'_>) -> Option<Register> {
    let field = section.needed("field", "voltage");
    let place = place(&section);
    let table = place.map_or(Table::Input, |(table, _)| table);
    let kind = kind(&section, table);
    let orders = [("abcd", Order::Abcd), ("cdab", Order::Cdab), ("badc", Order::Badc), ("dcba", Order::Dcba)];
    let order = section.choice("order", &orders, Order::Abcd);
    let (scale, offset) = (section.float("scale"), section.float("offset"));
    let is_number = !matches!(kind, Kind::Bool | Kind::Bit(_) | Kind::Text(_));
    if let (false, Some(factor)) = (is_number, scale.as_ref().or(offset.as_ref())) {
        let what = "`source.unit.register.scale` and `offset` are for numbers";
        section.fault(&factor.at, what, "leave them out, or write another type");
    }
    if let (Kind::Text(_), Order::Cdab | Order::Dcba, Some(key)) = (kind, order, section.text("order")) {
        section.fault(&key.at, "text is read from its first register on", "write order = \"abcd\" or \"badc\"");
    }
    let value = |placed: Option<Placed<f64>>| placed.map(|placed| placed.value);
    let register = Register {
        field: field.map(|field| field.value).unwrap_or_default(),
        table,
        address: place.map_or(0, |(_, address)| address),
        kind,
        order,
        scale: value(scale),
        offset: value(offset),
    };
    if u32::from(register.address) + u32::from(register.length()) > 65_536 {
        section.fault(&section.at, "this register reaches beyond address 65535", "correct its address or its type");
    }
    section.finish();
    place.map(|_| register)
}

/// Table and address; a number as meters' manuals print it, 30001, names both.
fn place(section: &Section<'_>) -> Option<(Table, u16)> {
    const TABLES: &[(&str, Table)] =
        &[("input", Table::Input), ("holding", Table::Holding), ("coil", Table::Coil), ("discrete", Table::Discrete)];
    let told = section.text("table");
    let table = section.choice("table", TABLES, Table::Holding);
    let Some(address) = section.number_or_text("address") else {
        section.fault(&section.at, "`source.unit.register.address` is missing", "write address = 0, or \"40001\"");
        return None;
    };
    let fault = |what: &str, remedy: &str| {
        let shown = address.value.as_ref().map_or_else(|text| format!("\"{text}\""), ToString::to_string);
        section.fault(&address.at, format!("`source.unit.register.address` = {shown} {what}"), remedy);
        None
    };
    let text = match &address.value {
        Ok(number) => {
            let Ok(number) = u16::try_from(*number) else { return fault("is out of bounds", "it may be 0 to 65535") };
            if told.is_none() {
                return fault("without a table", "write table = \"input\" or the like, or an address like \"30001\"");
            }
            return Some((table, number));
        }
        Err(text) => text,
    };
    let remedy = "write 0 to 65535 without quotes, or \"30001\": 0 coils, 1 discrete, 3 input, 4 holding";
    let (Some(first), Some(rest)) = (text.get(..1), text.get(1..)) else { return fault("is not an address", remedy) };
    let named = match first {
        "0" => Table::Coil,
        "1" => Table::Discrete,
        "3" => Table::Input,
        "4" => Table::Holding,
        _ => return fault("is not an address", remedy),
    };
    let number = rest.parse::<u32>().ok().filter(|_| matches!(rest.len(), 4 | 5)).and_then(|n| n.checked_sub(1));
    let Some(number) = number.and_then(|number| u16::try_from(number).ok()) else {
        return fault("is not an address", remedy);
    };
    if told.is_some() && named != table {
        return fault("is of another table", "leave `table` out, or correct one of them");
    }
    Some((named, number))
}

fn kind(section: &Section<'_>, table: Table) -> Kind {
    const KINDS: &[(&str, Kind)] = &[
        ("u16", Kind::U16),
        ("i16", Kind::I16),
        ("u32", Kind::U32),
        ("i32", Kind::I32),
        ("u64", Kind::U64),
        ("i64", Kind::I64),
        ("f32", Kind::F32),
        ("f64", Kind::F64),
        ("bool", Kind::Bool),
    ];
    let told = section.text("type");
    let bit = section.number_or_text("bit").map(|bit| bit.at);
    let kind = told.as_ref().and_then(|told| {
        let Some(bytes) = told.value.strip_prefix("text(").and_then(|rest| rest.strip_suffix(')')) else {
            return Some(section.choice("type", KINDS, Kind::U16));
        };
        // What one request brings.
        if let Ok(bytes @ 1..=250) = bytes.parse() {
            return Some(Kind::Text(bytes));
        }
        let what = format!("`source.unit.register.type` = \"{}\" has no length from 1 to 250", told.value);
        section.fault(&told.at, what, "write text(n), n being bytes");
        None
    });
    let bit = bit.map(|at| (section.number("bit", 0..=15, 0) as u8, at));
    match (kind, bit, table.is_bits()) {
        (None | Some(Kind::Bool), Some((bit, _)), false) => Kind::Bit(bit),
        (_, Some((_, at)), _) => {
            section.fault(&at, "`source.unit.register.bit` is of a register, and a bool", "leave it out, or the type");
            Kind::Bool
        }
        (None | Some(Kind::Bool), None, true) => Kind::Bool,
        (Some(_), None, true) => {
            if let Some(told) = told {
                section.fault(&told.at, "coils and discrete inputs are bits", "leave the type out");
            }
            Kind::Bool
        }
        (kind, None, false) => kind.unwrap_or(Kind::U16),
    }
}

//! SenML (RFC 8428), in JSON and in CBOR: an array of records, or one record alone.
//!
//! Base fields hold from their record on until the next of their kind (section 4.1), and are resolved:
//!
//! | of a record | becomes |
//! | --- | --- |
//! | `bn` + `n` | device and field, see below |
//! | `bt` + `t` | the time; below 2²⁸ s it counts from the moment of arrival, and 0 is that moment (section 4.5.3) |
//! | `bv` + `v`, `vs`, `vb`, `vd` | the field; integers stay integers, data stays base64url text |
//! | `u`, else `bu` | `FIELD.unit` |
//! | `bs` + `s` | `FIELD.sum` |
//! | `ut` | `FIELD.update_time`, seconds |
//!
//! Records of one device and one time make one reading; where a name comes again, another reading begins.
//!
//! A bad record is rejected alone. Where its base fields cannot be read, nobody knows what those behind it mean: they
//! are rejected with it, and so is what follows a `bver` above 10.

mod cbor;
mod json;
mod name;

use std::borrow::Cow;
use std::sync::Arc;

use super::gather::{Scalar, Told};
use super::groups::{Groups, Key};
use super::time;
use super::{Fault, MAX_NAME_BYTES, Pass, Shape, TimeUnit};
use crate::reading::{Micros, Value};
use crate::source::Reason;

pub(super) use self::cbor::read as read_cbor;
pub(super) use self::json::read as read_json;

/// The version of RFC 8428.
const VERSION: i64 = 10;
/// Times below it count from now: 2^28 seconds.
const RELATIVE: Micros = Micros((1 << 28) * Micros::PER_SECOND);

/// What stands behind a label.
enum Item<'a> {
    Scalar(Scalar<'a>),
    Text(Cow<'a, str>),
    /// Null.
    Nothing,
    /// An object or an array.
    Nested,
}

impl Item<'_> {
    fn scalar(&self) -> Option<Scalar<'_>> {
        match self {
            Self::Scalar(scalar) => Some(*scalar),
            Self::Text(text) => Some(Scalar::Text(text)),
            Self::Nothing | Self::Nested => None,
        }
    }
}

type Entries<'a> = Vec<(Cow<'a, str>, Result<Item<'a>, Fault>)>;

/// What earlier records said for all that follow.
#[derive(Default)]
struct Bases {
    name: String,
    time: Option<Micros>,
    unit: String,
    value: Option<Scalar<'static>>,
    sum: Option<Scalar<'static>>,
}

/// What one record says for itself.
#[derive(Default)]
struct Record<'a> {
    name: String,
    time: Option<Micros>,
    unit: Option<String>,
    value: Option<Item<'a>>,
    sum: Option<Scalar<'static>>,
    update_time: Option<Scalar<'static>>,
    /// Whether a base field stood in it.
    has_base: bool,
}

fn read<'p>(
    pass: &mut Pass<'_>,
    shape: Result<Shape<'p>, Fault>,
    entries: impl Fn(&'p [u8]) -> Result<Entries<'p>, Fault>,
) {
    let records = match shape {
        Ok(Shape::One(record)) => vec![record],
        Ok(Shape::Many(records)) => records,
        Err(fault) => return pass.reject(pass.payload, fault),
    };
    let mut pack = Pack::default();
    for (index, bytes) in records.iter().enumerate() {
        let outcome = entries(bytes).and_then(|entries| pack.record(entries, pass));
        if let Err(fault) = outcome {
            let detail = format!("record {} of {}: {}", index + 1, records.len(), fault.detail);
            pass.reject(bytes, Fault { detail, ..fault });
        }
    }
    if pack.groups.is_empty() && pass.delivery.rejects.is_empty() {
        pass.reject(pass.payload, Fault::empty("there is no record with a value in it"));
    }
    for (Key { device, time, .. }, fields) in pack.groups.into_readings() {
        let series = pass.places.series(pass.place, device.as_deref());
        pass.push(Told { time, fields }, series);
    }
}

#[derive(Default)]
struct Pack {
    bases: Bases,
    /// Why nothing that follows can be understood.
    broken: Option<&'static str>,
    groups: Groups,
}

impl Pack {
    fn record(&mut self, entries: Entries<'_>, pass: &mut Pass<'_>) -> Result<(), Fault> {
        if let Some(why) = self.broken {
            return Err(Fault::malformed(why.to_owned()));
        }
        let record = self.take(entries)?;
        let has_parts = record.value.is_some() || record.sum.is_some();
        if !has_parts && record.has_base && record.name.is_empty() {
            return Ok(());
        }
        if !has_parts {
            return Err(Fault::empty("there is no value in it"));
        }
        let time = self.time(&record, pass.arrival)?;
        let full_name = format!("{}{}", self.bases.name, record.name);
        let (device, field) = name::split(&full_name);
        let fields = self.fields(&record, field, pass)?;
        self.groups.add(Key { device: device.map(str::to_owned), time, historical: false }, fields);
        Ok(())
    }

    /// Reads the entries; bases hold from here on, whatever else is wrong with the record.
    fn take<'a>(&mut self, entries: Entries<'a>) -> Result<Record<'a>, Fault> {
        let mut record = Record::default();
        let mut fault = None;
        for (label, item) in entries {
            let is_base = label.starts_with('b');
            record.has_base |= is_base;
            let outcome = item.and_then(|item| self.entry(&label, item, &mut record));
            if let Err(error) = outcome {
                if is_base {
                    self.broken = Some("it follows a record whose base fields could not be read");
                }
                let label = Scalar::Text(&label).shown();
                fault.get_or_insert(Fault { detail: format!("label {label}: {}", error.detail), ..error });
            }
        }
        fault.map_or(Ok(record), Err)
    }

    fn entry<'a>(&mut self, label: &str, item: Item<'a>, record: &mut Record<'a>) -> Result<(), Fault> {
        if let Item::Nothing = item {
            return Ok(());
        }
        match label {
            "bver" => version(number(&item)?)?,
            "bn" => self.bases.name = name_text(item)?.into_owned(),
            "bt" => self.bases.time = Some(seconds(&item)?),
            "bu" => self.bases.unit = name_text(item)?.into_owned(),
            "bv" => self.bases.value = Some(number(&item)?),
            "bs" => self.bases.sum = Some(number(&item)?),
            "n" => record.name = name_text(item)?.into_owned(),
            "u" => record.unit = Some(name_text(item)?.into_owned()),
            "t" => record.time = Some(seconds(&item)?),
            "s" => record.sum = Some(number(&item)?),
            "ut" => record.update_time = Some(number(&item)?),
            "v" | "vs" | "vb" | "vd" => {
                match (label, item.scalar()) {
                    ("v", _) => drop(number(&item)?),
                    ("vb", Some(Scalar::Bool(_))) | ("vs" | "vd", Some(Scalar::Text(_))) => {}
                    ("vb", _) => return Err(Fault::malformed("not a bool".to_owned())),
                    _ => return Err(Fault::malformed("not a text".to_owned())),
                }
                if record.value.replace(item).is_some() {
                    return Err(Fault::malformed("a second value; a record holds one".to_owned()));
                }
            }
            _ if label.ends_with('_') => {
                return Err(Fault::malformed("has to be understood, and is not known here".to_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    /// The resolved time; none: the moment of arrival.
    fn time(&self, record: &Record<'_>, arrival: Option<Micros>) -> Result<Option<Micros>, Fault> {
        let fault = |detail: &str| Fault { reason: Reason::Time, detail: detail.to_owned() };
        // Each is within the years that can be told, and so far from the ends of what is counted.
        let told = Micros(self.bases.time.unwrap_or_default().0 + record.time.unwrap_or_default().0);
        if told == Micros(0) {
            return Ok(None);
        }
        let time = match arrival {
            _ if told >= RELATIVE => told,
            Some(arrival) => Micros(arrival.0 + told.0),
            None => return Err(fault("its time counts from its arrival, and the gateway's clock is not set yet")),
        };
        if time::is_in_range(time) { Ok(Some(time)) } else { Err(fault("its time is outside the years -9999 to 9999")) }
    }

    fn fields(&self, record: &Record<'_>, field: &str, pass: &mut Pass<'_>) -> Result<Vec<(Arc<str>, Value)>, Fault> {
        let unit = record.unit.as_deref().or(Some(&*self.bases.unit)).filter(|unit| !unit.is_empty());
        let name = if field.is_empty() { unit.unwrap_or("value") } else { field };
        let mut fields = Vec::new();
        if let Some(value) = record.value.as_ref().and_then(Item::scalar) {
            let value = match value {
                Scalar::Bool(_) | Scalar::Text(_) => value,
                number => self.bases.value.map_or(number, |base| base.plus(number)),
            };
            fields.push(pass.gather.field(name, value)?);
        }
        let mut beside = |part: &str, value| -> Result<(), Fault> {
            fields.push(pass.gather.field(&format!("{name}.{part}"), value)?);
            Ok(())
        };
        if let Some(sum) = record.sum {
            beside("sum", self.bases.sum.map_or(sum, |base| base.plus(sum)))?;
        }
        if let Some(seconds) = record.update_time {
            beside("update_time", seconds)?;
        }
        // Where the unit is the field's name it need not be said again.
        if let Some(unit) = unit.filter(|_| !field.is_empty()) {
            beside("unit", Scalar::Text(unit))?;
        }
        Ok(fields)
    }
}

fn version(told: Scalar<'_>) -> Result<(), Fault> {
    match told {
        Scalar::I64(1..=VERSION) => Ok(()),
        other => Err(Fault::value(format!("version {}, and this program knows {VERSION}", other.shown()))),
    }
}

/// A name or a unit: every record that follows may repeat it.
fn name_text(item: Item<'_>) -> Result<Cow<'_, str>, Fault> {
    match item {
        Item::Text(text) if text.len() <= MAX_NAME_BYTES => Ok(text),
        Item::Text(_) => Err(Fault::value(format!("longer than {MAX_NAME_BYTES} bytes"))),
        _ => Err(Fault::malformed("not a text".to_owned())),
    }
}

fn number(item: &Item<'_>) -> Result<Scalar<'static>, Fault> {
    match *item {
        Item::Scalar(Scalar::I64(n)) => Ok(Scalar::I64(n)),
        Item::Scalar(Scalar::U64(n)) => Ok(Scalar::U64(n)),
        Item::Scalar(Scalar::F64(n)) if n.is_finite() => Ok(Scalar::F64(n)),
        Item::Scalar(Scalar::F64(n)) => Err(Fault::value(format!("{n} is not a finite number"))),
        _ => Err(Fault::malformed("not a number".to_owned())),
    }
}

fn seconds(item: &Item<'_>) -> Result<Micros, Fault> {
    time::read(number(item)?, Some(TimeUnit::Seconds))
        .map_err(|fault| Fault { reason: Reason::Time, detail: fault.to_string() })
}

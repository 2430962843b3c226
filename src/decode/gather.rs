//! One reading under construction. A format walks its payload and puts each scalar under the name that its path
//! spells; what is the time or the device is taken aside, the limits are kept, and nothing is built in between.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet};

use super::time::{self, TimeFault};
use super::{Fault, MAX_FIELDS, MAX_NAME_BYTES, Payload, TimeUnit};
use crate::reading::{Micros, Value};
use crate::source::Reason;

/// A value that holds no others, as a payload tells it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(&'a str),
}

impl Scalar<'static> {
    /// An integer where it fits 64 bits, else the nearest float.
    pub(super) fn integer(n: i128) -> Self {
        match (i64::try_from(n), u64::try_from(n)) {
            (Ok(n), _) => Self::I64(n),
            (_, Ok(n)) => Self::U64(n),
            _ => Self::F64(n as f64),
        }
    }
}

impl Scalar<'_> {
    /// The sum of two numbers; of two integers an integer. What is no number counts nothing.
    pub(super) fn plus(self, other: Scalar<'_>) -> Scalar<'static> {
        let whole = |scalar| match scalar {
            Scalar::I64(n) => Ok(i128::from(n)),
            Scalar::U64(n) => Ok(i128::from(n)),
            Scalar::F64(n) => Err(n),
            Scalar::Bool(_) | Scalar::Text(_) => Ok(0),
        };
        match (whole(self), whole(other)) {
            (Ok(a), Ok(b)) => Scalar::integer(a + b),
            (a, b) => Scalar::F64(a.map_or_else(|a| a, |a| a as f64) + b.map_or_else(|b| b, |b| b as f64)),
        }
    }

    /// As an error message shows it: cut where it is long.
    pub(super) fn shown(self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::I64(n) => n.to_string(),
            Self::U64(n) => n.to_string(),
            Self::F64(n) => format!("{n:?}"),
            Self::Text(text) if text.len() <= 64 => format!("{text:?}"),
            Self::Text(text) => format!("{:?}…", text.chars().take(32).collect::<String>()),
        }
    }
}

/// What a payload told of one reading.
pub(super) struct Told {
    pub time: Option<Micros>,
    pub fields: Vec<(Arc<str>, Value)>,
}

pub(super) struct Gather {
    device_field: Option<String>,
    time_field: Option<String>,
    time_unit: Option<TimeUnit>,
    names: Names,
    /// The name of the place the format is at: `meta.limits.0`.
    path: String,
    fields: Vec<(Arc<str>, Value)>,
    /// Empty: none told.
    device: String,
    time: Option<Result<Micros, TimeFault>>,
}

/// Where a path was before it went deeper.
#[must_use]
pub(super) struct Mark(usize);

impl Gather {
    pub(super) fn new(payload: &Payload) -> Self {
        Self {
            device_field: payload.device_field.clone(),
            time_field: payload.time.clone(),
            time_unit: payload.time_unit,
            names: Names::default(),
            path: String::new(),
            fields: Vec::new(),
            device: String::new(),
            time: None,
        }
    }

    /// Forgets what an earlier reading left.
    pub(super) fn start(&mut self) {
        self.path.clear();
        self.fields.clear();
        self.device.clear();
        self.time = None;
    }

    /// Goes to a member of the place it is at.
    pub(super) fn enter(&mut self, member: &str, nested: bool) -> Mark {
        let mark = Mark(self.path.len());
        if nested {
            self.path.push('.');
        }
        self.path.push_str(member);
        mark
    }

    /// Goes to a place in the array it is at.
    pub(super) fn enter_place(&mut self, index: usize) -> Mark {
        use std::fmt::Write;
        let mark = Mark(self.path.len());
        // Writing to a string does not fail.
        let _ = write!(self.path, ".{index}");
        mark
    }

    pub(super) fn leave(&mut self, mark: &Mark) {
        self.path.truncate(mark.0);
    }

    /// Takes the value of the place it is at.
    pub(super) fn put(&mut self, value: Scalar<'_>) -> Result<(), Fault> {
        self.put_with(value, self.time_unit)
    }

    /// The same of a value that says itself that it counts seconds, should it be the time.
    pub(super) fn put_seconds(&mut self, value: Scalar<'_>) -> Result<(), Fault> {
        self.put_with(value, Some(TimeUnit::Seconds))
    }

    fn put_with(&mut self, value: Scalar<'_>, unit: Option<TimeUnit>) -> Result<(), Fault> {
        if self.time_field.as_deref() == Some(&self.path) {
            self.time = Some(time::read(value, unit));
            return Ok(());
        }
        if self.device_field.as_deref() == Some(&self.path) && self.name_device(value) {
            return Ok(());
        }
        if self.fields.len() == MAX_FIELDS {
            return Err(Fault::value(format!("more than {MAX_FIELDS} fields; send fewer in one reading")));
        }
        let value = checked(&self.path, value)?;
        let name = self.names.get(&self.path, self.fields.len());
        self.fields.push((name, value));
        Ok(())
    }

    /// A field on its own, within the limits of a name and a value.
    pub(super) fn field(&mut self, name: &str, value: Scalar<'_>) -> Result<(Arc<str>, Value), Fault> {
        let value = checked(name, value)?;
        Ok((self.names.find(name), value))
    }

    /// Takes a time that stands beside the fields; `unit` is the format's own.
    pub(super) fn tell_time(&mut self, value: Scalar<'_>, unit: TimeUnit) {
        self.time = Some(time::read(value, self.time_unit.or(Some(unit))));
    }

    /// Takes the device from what stands beside the fields, should it have the device's name.
    pub(super) fn tell_device(&mut self, name: &str, value: &str) -> bool {
        self.device_field.as_deref() == Some(name) && self.name_device(Scalar::Text(value))
    }

    /// A switch names no device: it stays a field.
    fn name_device(&mut self, value: Scalar<'_>) -> bool {
        use std::fmt::Write;
        self.device.clear();
        // Writing to a string does not fail.
        let _ = match value {
            Scalar::Bool(_) => return false,
            Scalar::I64(n) => write!(self.device, "{n}"),
            Scalar::U64(n) => write!(self.device, "{n}"),
            Scalar::F64(n) => write!(self.device, "{n}"),
            Scalar::Text(text) => self.device.write_str(text),
        };
        true
    }

    /// The device that the payload named.
    pub(super) fn device(&self) -> Option<&str> {
        (!self.device.is_empty()).then_some(&*self.device)
    }

    /// Closes the reading.
    pub(super) fn finish(&mut self) -> Result<Told, Fault> {
        let time = self.time.take().transpose().map_err(|fault| Fault {
            reason: Reason::Time,
            detail: self.time_field.as_ref().map_or(fault.to_string(), |field| format!("field {field:?}: {fault}")),
        })?;
        if self.fields.is_empty() {
            return Err(Fault::empty("there is no field in it"));
        }
        let next = Vec::with_capacity(self.fields.len());
        let mut fields = std::mem::replace(&mut self.fields, next);
        keep_last(&mut fields);
        Ok(Told { time, fields })
    }
}

/// The value, should it and its name be within the limits.
#[inline]
fn checked(name: &str, value: Scalar<'_>) -> Result<Value, Fault> {
    if name.len() > MAX_NAME_BYTES {
        return Err(too_long(name));
    }
    Ok(match value {
        Scalar::Bool(b) => Value::Bool(b),
        Scalar::I64(n) => Value::I64(n),
        Scalar::U64(n) => Value::from(n),
        Scalar::F64(n) if n.is_finite() => Value::F64(n),
        Scalar::F64(n) => return Err(not_finite(name, n)),
        Scalar::Text(text) => Value::Text(text.into()),
    })
}

#[cold]
fn too_long(name: &str) -> Fault {
    let name = Scalar::Text(name).shown();
    Fault::value(format!("the field name {name} is longer than {MAX_NAME_BYTES} bytes"))
}

#[cold]
fn not_finite(name: &str, n: f64) -> Fault {
    let name = Scalar::Text(name).shown();
    Fault::value(format!("{name} is {n}, not a finite number"))
}

/// Of equal names the last one wins, in the place of the first.
fn keep_last(fields: &mut Vec<(Arc<str>, Value)>) {
    // Nearly every reading is short and has none: looking is cheaper than hashing.
    const FEW: usize = 16;
    let few = fields.len() <= FEW;
    if few && (1..fields.len()).all(|at| fields[..at].iter().all(|(name, _)| *name != fields[at].0)) {
        return;
    }
    let mut kept: Vec<(Arc<str>, Value)> = Vec::with_capacity(fields.len());
    let mut places: HashMap<Arc<str>, usize> = HashMap::with_capacity(fields.len());
    for (name, value) in fields.drain(..) {
        if let Some(&place) = places.get(&name) {
            kept[place].1 = value;
        } else {
            places.insert(name.clone(), kept.len());
            kept.push((name, value));
        }
    }
    *fields = kept;
}

/// Field names, each held once however many readings bear it.
#[derive(Default)]
struct Names {
    known: HashSet<Arc<str>>,
    /// What stood at each of the first places last time. Readings tell the same names in the same order: looking there
    /// is cheaper than hashing.
    usual: Vec<Arc<str>>,
}

impl Names {
    const CAPACITY: usize = 4_096;
    const USUAL: usize = 64;

    /// The name, which stands at this place of its reading.
    fn get(&mut self, name: &str, place: usize) -> Arc<str> {
        if let Some(usual) = self.usual.get(place).filter(|usual| ***usual == *name) {
            return usual.clone();
        }
        let name = self.find(name);
        match self.usual.get_mut(place) {
            Some(usual) => *usual = name.clone(),
            None if place < Self::USUAL => self.usual.push(name.clone()),
            None => {}
        }
        name
    }

    fn find(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        // Starting over bounds it without bookkeeping, and a flood of odd names is forgotten again.
        if self.known.len() == Self::CAPACITY {
            self.known.clear();
        }
        let name: Arc<str> = name.into();
        self.known.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_and_bounded() {
        let mut names = Names::default();
        let temp = names.find("temp");
        for place in [0, 0, 1, 0, Names::USUAL, 0] {
            assert!(Arc::ptr_eq(&names.get("temp", place), &temp));
            assert_eq!(&*names.get("hum", place), "hum");
        }
        for n in 0..3 * Names::CAPACITY {
            assert_eq!(*names.get(&n.to_string(), n), n.to_string());
        }
        assert!(names.known.len() <= Names::CAPACITY && names.usual.len() <= Names::USUAL);
    }

    #[test]
    fn of_equal_names_the_last_wins_among_few_and_among_many() {
        for others in [2, 100] {
            let mut fields = vec![("a".into(), Value::I64(1)), ("b".into(), Value::I64(2))];
            fields.extend((0..others).map(|n| (n.to_string().into(), Value::I64(n))));
            fields.push(("a".into(), Value::I64(3)));
            keep_last(&mut fields);
            assert_eq!(fields.len(), 2 + others as usize);
            assert_eq!(fields[..2], [("a".into(), Value::I64(3)), ("b".into(), Value::I64(2))]);
        }
    }
}

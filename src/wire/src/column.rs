//! One column: the values of one field, or the offsets or times, of a group.
//!
//! A column holds the present values only; where some rows have none, its bitmap `m` says which.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use crate::cbor::{Reader, Writer};
use crate::number::{Decimals, EXACT, Number, POWERS, WHOLE_POWERS, decimals, integers};
use crate::{Refusal, Value};

/// Typed array of 64-bit floats, little endian (RFC 8746).
const FLOATS_TAG: u64 = 86;

/// The values of a column as they gather.
pub enum Values {
    Numbers { values: Vec<Number>, floats: bool, large: bool, huge: bool, negative: bool },
    Bools(Vec<bool>),
    Texts(Vec<Arc<str>>),
}

impl Values {
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Bool(_) => Self::Bools(Vec::new()),
            Value::Text(_) => Self::Texts(Vec::new()),
            _ => Self::Numbers { values: Vec::new(), floats: false, large: false, huge: false, negative: false },
        }
    }

    /// Whether this value may join: another type may not, nor may what no one column can tell exactly.
    pub fn takes(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bools(_), Value::Bool(_)) | (Self::Texts(_), Value::Text(_)) => true,
            (Self::Numbers { large, .. }, Value::F64(_)) => !large,
            (Self::Numbers { floats, huge, .. }, Value::I64(n)) => {
                (!*floats || i128::from(*n).abs() < EXACT) && (!*huge || *n >= 0)
            }
            (Self::Numbers { floats, negative, .. }, Value::U64(_)) => !floats && !negative,
            _ => false,
        }
    }

    pub fn push(&mut self, value: &Value) {
        match (self, value) {
            (Self::Bools(values), Value::Bool(value)) => values.push(*value),
            (Self::Texts(values), Value::Text(value)) => values.push(value.clone()),
            (Self::Numbers { values, floats, .. }, Value::F64(x)) => {
                *floats = true;
                values.push(Number::Float(*x));
            }
            (Self::Numbers { values, large, negative, .. }, Value::I64(n)) => {
                *large |= i128::from(*n).abs() >= EXACT;
                *negative |= *n < 0;
                values.push(Number::Int(i128::from(*n)));
            }
            (Self::Numbers { values, large, huge, .. }, Value::U64(n)) => {
                *large |= i128::from(*n) >= EXACT;
                *huge |= i64::try_from(*n).is_err();
                values.push(Number::Int(i128::from(*n)));
            }
            _ => unreachable!("`takes` was asked first"),
        }
    }

    pub fn write(&self, out: &mut Writer, mask: Option<&[u8]>) {
        match self {
            Self::Numbers { values, .. } => write_numbers(out, values, mask),
            Self::Bools(values) => {
                out.map(2 + usize::from(mask.is_some()));
                out.text("b");
                out.bytes(&bitmap(values.iter().copied()));
                out.text("n");
                out.uint(values.len() as u64);
                write_mask(out, mask);
            }
            Self::Texts(values) => write_texts(out, values, mask),
        }
    }
}

/// A column of integers without gaps: offsets and times.
pub fn write_integers(out: &mut Writer, values: impl Iterator<Item = i128>) {
    let values: Vec<_> = values.map(Number::Int).collect();
    write_numbers(out, &values, None);
}

/// Least significant bit first, spare bits 0.
pub fn bitmap(bits: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, bit) in bits.enumerate() {
        if at % 8 == 0 {
            bytes.push(0);
        }
        if let Some(last) = bytes.last_mut() {
            *last |= u8::from(bit) << (at % 8);
        }
    }
    bytes
}

fn write_numbers(out: &mut Writer, values: &[Number], mask: Option<&[u8]>) {
    if let Some(whole) = integers(values) {
        return write_decimals(out, &whole, mask);
    }
    let float = |value: &Number| match value {
        Number::Int(n) => *n as f64,
        Number::Float(x) => *x,
    };
    let floats: Vec<_> = values.iter().map(float).collect();
    let before = out.0.len();
    if let Some(decimals) = decimals(&floats) {
        write_decimals(out, &decimals, mask);
        let plain = 8 * floats.len() + 7 + mask.map_or(0, |mask| mask.len() + 4);
        if out.0.len() - before <= plain {
            return;
        }
        out.0.truncate(before);
    }
    out.map(1 + usize::from(mask.is_some()));
    out.text("f");
    out.tag(FLOATS_TAG);
    let bytes: Vec<_> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
    out.bytes(&bytes);
    write_mask(out, mask);
}

fn write_decimals(out: &mut Writer, column: &Decimals, mask: Option<&[u8]>) {
    let Decimals { exponent, sums, exceptions } = column;
    let more = usize::from(*exponent != 0) + usize::from(!exceptions.is_empty()) + usize::from(mask.is_some());
    out.map(1 + more);
    out.text("d");
    out.array(sums.len());
    let mut before = 0;
    for sum in sums {
        out.int(sum - before);
        before = *sum;
    }
    if *exponent != 0 {
        out.text("e");
        out.int(i128::from(*exponent));
    }
    if !exceptions.is_empty() {
        out.text("x");
        out.map(exceptions.len());
        for (position, value) in exceptions {
            out.uint(*position as u64);
            out.float(*value);
        }
    }
    write_mask(out, mask);
}

fn write_texts(out: &mut Writer, values: &[Arc<str>], mask: Option<&[u8]>) {
    let mut numbers = BTreeMap::new();
    let mut dictionary = Vec::new();
    let mut indexes = Vec::with_capacity(values.len());
    for value in values {
        let number = *numbers.entry(&**value).or_insert_with(|| {
            dictionary.push(value);
            dictionary.len() - 1
        });
        indexes.push(number);
    }
    out.map(2 + usize::from(mask.is_some()));
    out.text("t");
    out.array(dictionary.len());
    for text in dictionary {
        out.text(text);
    }
    out.text("i");
    out.array(indexes.len());
    for index in indexes {
        out.uint(index as u64);
    }
    write_mask(out, mask);
}

fn write_mask(out: &mut Writer, mask: Option<&[u8]>) {
    if let Some(mask) = mask {
        out.text("m");
        out.bytes(mask);
    }
}

/// A column of `rows` values, `None` where a row has none.
pub fn read(input: &mut Reader<'_>, rows: usize) -> Result<Vec<Option<Value>>, Refusal> {
    let parts = Parts::read(input, rows)?;
    let mask = parts.mask;
    let mut values = parts.values()?.into_iter();
    let Some(mask) = mask else {
        let all: Vec<_> = values.map(Some).collect();
        return if all.len() == rows { Ok(all) } else { Err(Refusal::UnequalColumns) };
    };
    check_bitmap(mask, rows)?;
    let mut column = Vec::with_capacity(rows);
    for row in 0..rows {
        let missing = bit(mask, row);
        column.push(if missing { None } else { Some(values.next().ok_or(Refusal::UnequalColumns)?) });
    }
    if values.next().is_some() { Err(Refusal::UnequalColumns) } else { Ok(column) }
}

/// A column of integers without gaps, of no more than `most` rows.
pub fn read_integers(input: &mut Reader<'_>, most: usize) -> Result<Vec<i128>, Refusal> {
    match Parts::read(input, most)? {
        Parts { kind: Kind::Deltas { sums, exponent: 0..=6, exceptions }, mask: None, .. } if exceptions.is_empty() => {
            Ok(sums)
        }
        _ => Err(Refusal::Expected("a column of integers")),
    }
}

struct Parts<'a> {
    kind: Kind<'a>,
    mask: Option<&'a [u8]>,
}

enum Kind<'a> {
    /// `sums` are multiplied out already where the exponent is not negative.
    Deltas {
        sums: Vec<i128>,
        exponent: i8,
        exceptions: Vec<(usize, f64)>,
    },
    Floats(&'a [u8]),
    Bools(&'a [u8], usize),
    Texts(Vec<&'a str>, Vec<u64>),
}

impl<'a> Parts<'a> {
    /// Nothing in it may be longer than `most`: found out before there is room made for it.
    fn read(input: &mut Reader<'a>, most: usize) -> Result<Self, Refusal> {
        let array = |input: &mut Reader<'a>| input.array().and_then(|len| bounded(len, most));
        let mut left = input.map()?.checked_sub(1).ok_or(Refusal::Missing("d, f, b or t"))?;
        let mut next = |input: &mut Reader<'a>, key: &str| {
            let ahead = left > 0 && Reader(input.0).text()? == key;
            if ahead {
                input.text()?;
                left -= 1;
            }
            Ok::<bool, Refusal>(ahead)
        };
        let kind = match input.text()? {
            "d" => {
                let len = array(input)?;
                let mut sums = read_sums(input, len)?;
                let exponent = if next(input, "e")? { read_exponent(input)? } else { 0 };
                let exceptions = if next(input, "x")? { read_exceptions(input, sums.len())? } else { Vec::new() };
                if exponent > 0 {
                    for sum in &mut sums {
                        *sum = in_range(*sum * WHOLE_POWERS[exponent as usize])?;
                    }
                }
                Kind::Deltas { sums, exponent, exceptions }
            }
            "f" => {
                input.tag(FLOATS_TAG)?;
                let bytes = input.bytes()?;
                bounded(bytes.len() / 8, most)?;
                Kind::Floats(bytes)
            }
            "b" => {
                let bits = input.bytes()?;
                if !next(input, "n")? {
                    return Err(Refusal::Missing("n"));
                }
                let count = usize::try_from(input.uint()?).map_err(|_| Refusal::UnequalColumns)?;
                bounded(count, most)?;
                check_bitmap(bits, count)?;
                Kind::Bools(bits, count)
            }
            "t" => {
                let texts = (0..array(input)?).map(|_| input.text()).collect::<Result<_, _>>()?;
                if !next(input, "i")? {
                    return Err(Refusal::Missing("i"));
                }
                Kind::Texts(texts, (0..array(input)?).map(|_| input.uint()).collect::<Result<_, _>>()?)
            }
            _ => return Err(Refusal::UnknownKey),
        };
        let mask = if next(input, "m")? { Some(input.bytes()?) } else { None };
        if left > 0 { Err(Refusal::UnknownKey) } else { Ok(Self { kind, mask }) }
    }

    fn values(self) -> Result<Vec<Value>, Refusal> {
        match self.kind {
            Kind::Deltas { sums, exponent, exceptions } => {
                let mut values: Vec<_> = sums.into_iter().map(|sum| number(sum, exponent)).collect();
                for (position, value) in exceptions {
                    values[position] = Value::F64(value);
                }
                Ok(values)
            }
            Kind::Floats(bytes) => match bytes.as_chunks::<8>() {
                (floats, []) => Ok(floats.iter().map(|bytes| Value::F64(f64::from_le_bytes(*bytes))).collect()),
                _ => Err(Refusal::UnequalColumns),
            },
            Kind::Bools(bits, count) => Ok((0..count).map(|at| Value::Bool(bit(bits, at))).collect()),
            Kind::Texts(texts, indexes) => {
                let texts: Vec<Arc<str>> = texts.into_iter().map(Arc::from).collect();
                let text = |index: &u64| texts.get(usize::try_from(*index).ok()?).cloned().map(Value::Text);
                indexes.iter().map(text).collect::<Option<_>>().ok_or(Refusal::Expected("an index of the dictionary"))
            }
        }
    }
}

fn number(sum: i128, exponent: i8) -> Value {
    if exponent < 0 {
        return Value::F64(sum as f64 / POWERS[exponent.unsigned_abs() as usize]);
    }
    match i64::try_from(sum) {
        Ok(n) => Value::I64(n),
        // `in_range` has seen to it that it fits.
        Err(_) => Value::U64(sum as u64),
    }
}

fn bounded(len: usize, most: usize) -> Result<usize, Refusal> {
    if len <= most { Ok(len) } else { Err(Refusal::UnequalColumns) }
}

fn read_sums(input: &mut Reader<'_>, len: usize) -> Result<Vec<i128>, Refusal> {
    let mut sums = vec![0; len];
    let mut sum = 0;
    for place in &mut sums {
        sum = in_range(sum + input.int()?)?;
        *place = sum;
    }
    Ok(sums)
}

fn read_exponent(input: &mut Reader<'_>) -> Result<i8, Refusal> {
    match input.int()? {
        exponent @ -9..=6 => Ok(exponent as i8),
        _ => Err(Refusal::Expected("an exponent of -9 to 6")),
    }
}

fn read_exceptions(input: &mut Reader<'_>, len: usize) -> Result<Vec<(usize, f64)>, Refusal> {
    let count = input.map()?;
    let mut exceptions: Vec<(usize, f64)> = Vec::new();
    for _ in 0..count {
        let position = usize::try_from(input.uint()?).ok().filter(|position| *position < len);
        let position = position.ok_or(Refusal::Expected("a position in the column"))?;
        if exceptions.last().is_some_and(|(before, _)| *before >= position) {
            return Err(Refusal::UnknownKey);
        }
        exceptions.push((position, input.float()?));
    }
    Ok(exceptions)
}

fn in_range(n: i128) -> Result<i128, Refusal> {
    if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&n) { Ok(n) } else { Err(Refusal::OutOfRange) }
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits[at / 8] >> (at % 8) & 1 == 1
}

/// A bitmap of so many bits, its spare ones 0.
fn check_bitmap(bits: &[u8], count: usize) -> Result<(), Refusal> {
    let spare = bits.len() * 8 - count.min(bits.len() * 8);
    let clean = bits.last().is_none_or(|last| spare < 8 && u16::from(*last) >> (8 - spare) == 0);
    if bits.len() == count.div_ceil(8) && clean { Ok(()) } else { Err(Refusal::UnequalColumns) }
}

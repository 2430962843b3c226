//! A group's key, as bytes: compared, hashed and kept without looking inside.
//!
//! ```text
//! key  = datum datum …
//! datum = 0                         NULL
//!       | 1 bool                    u8
//!       | 2 integer                 i64, sign bit flipped, big endian
//!       | 3 integer above i64::MAX  u64, big endian
//!       | 4 float                   bits, made to sort, big endian
//!       | 5 text 0                  a zero byte inside is 0 FF
//! ```
//!
//! Invariants: keys are equal where SQL calls their values equal (1 and 1.0, 0.0 and -0.0; NULL is one group, NaN
//! another); texts sort as texts.

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use super::plan::Datum;
use crate::reading::Value;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl std::ops::Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

pub fn write_datum(datum: &Datum, key: &mut Vec<u8>) {
    match datum {
        None => key.push(0),
        Some(value) => write_value(value, key),
    }
}

pub fn write_value(value: &Value, key: &mut Vec<u8>) {
    match value {
        Value::Bool(b) => key.extend([1, u8::from(*b)]),
        Value::I64(n) => write(2, *n as u64 ^ SIGN, key),
        Value::U64(n) => write(3, *n, key),
        Value::F64(x) => write_float(*x, key),
        Value::Text(text) => {
            key.push(5);
            for part in text.split_inclusive('\0') {
                key.extend(part.as_bytes());
                if part.ends_with('\0') {
                    key.push(0xFF);
                }
            }
            key.push(0);
        }
    }
}

const SIGN: u64 = 1 << 63;

fn write(kind: u8, bits: u64, key: &mut Vec<u8>) {
    key.push(kind);
    key.extend(bits.to_be_bytes());
}

fn write_float(x: f64, key: &mut Vec<u8>) {
    const TOO_LARGE_SIGNED: f64 = 9_223_372_036_854_775_808.0;
    const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;
    if x.fract() == 0.0 && (-TOO_LARGE_SIGNED..TOO_LARGE_SIGNED).contains(&x) {
        return write(2, x as i64 as u64 ^ SIGN, key);
    }
    if x.fract() == 0.0 && (TOO_LARGE_SIGNED..TOO_LARGE).contains(&x) {
        return write(3, x as u64, key);
    }
    let bits = if x.is_nan() { f64::NAN.to_bits() & !SIGN } else { x.to_bits() };
    write(4, if bits & SIGN == 0 { bits ^ SIGN } else { !bits }, key);
}

/// The values of a key; `None` if no `write_datum` wrote it.
pub fn read(mut key: &[u8]) -> Option<Vec<Datum>> {
    let mut datums = Vec::new();
    while let Some((kind, rest)) = key.split_first() {
        let (datum, rest) = read_datum(*kind, rest)?;
        datums.push(datum);
        key = rest;
    }
    Some(datums)
}

fn read_datum(kind: u8, key: &[u8]) -> Option<(Datum, &[u8])> {
    if kind == 5 {
        let (text, rest) = read_text(key)?;
        return Some((Some(Value::Text(text)), rest));
    }
    if kind < 2 {
        let (b, rest) = if kind == 0 { (None, key) } else { key.split_first().map(|(b, rest)| (Some(*b), rest))? };
        return Some((b.map(|b| Value::Bool(b != 0)), rest));
    }
    let (bytes, rest) = key.split_first_chunk()?;
    let bits = u64::from_be_bytes(*bytes);
    let value = match kind {
        2 => Value::I64((bits ^ SIGN) as i64),
        3 => Value::U64(bits),
        4 => Value::F64(f64::from_bits(if bits & SIGN == 0 { !bits } else { bits ^ SIGN })),
        _ => return None,
    };
    Some((Some(value), rest))
}

fn read_text(mut key: &[u8]) -> Option<(Arc<str>, &[u8])> {
    let mut text = Vec::new();
    loop {
        let zero = key.iter().position(|byte| *byte == 0)?;
        text.extend(&key[..zero]);
        key = &key[zero + 1..];
        if key.first() != Some(&0xFF) {
            return Some((String::from_utf8(text).ok()?.into(), key));
        }
        text.push(0);
        key = &key[1..];
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl Visitor<'_> for Take {
            type Value = Key;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Key, E> {
                read(bytes).map(|_| Key(bytes.into())).ok_or_else(|| E::custom("not a key"))
            }
        }
        deserializer.deserialize_bytes(Take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(datums: &[Datum]) -> Vec<u8> {
        let mut key = Vec::new();
        for datum in datums {
            write_datum(datum, &mut key);
        }
        key
    }

    #[test]
    fn a_key_gives_its_values_back() {
        let text = |text: &str| Some(Value::Text(text.into()));
        let datums = [
            None,
            text(""),
            text("a\0b\0"),
            text("ÿ"),
            Some(Value::Bool(true)),
            Some(Value::I64(i64::MIN)),
            Some(Value::U64(u64::MAX)),
            Some(Value::F64(-2.5)),
            Some(Value::F64(1e300)),
        ];
        assert_eq!(read(&key(&datums)).unwrap(), datums);
    }

    #[test]
    fn what_sql_calls_equal_is_one_group() {
        let float = |x| key(&[Some(Value::F64(x))]);
        assert_eq!(float(1.0), key(&[Some(Value::I64(1))]));
        assert_eq!(float(0.0), float(-0.0));
        assert_eq!(float(f64::NAN), float(-f64::NAN));
        assert_eq!(float(18_446_744_073_709_549_568.0), key(&[Some(Value::U64(18_446_744_073_709_549_568))]));
        assert_ne!(float(9_223_372_036_854_775_808.0), key(&[Some(Value::I64(i64::MAX))]));
        assert_ne!(key(&[None]), key(&[Some(Value::I64(0))]));
    }

    #[test]
    fn keys_sort_as_their_values_do() {
        let texts = ["", "a", "a\0", "a\0b", "aa", "b"];
        let keys: Vec<_> = texts.iter().map(|text| key(&[Some(Value::Text((*text).into())), None])).collect();
        assert!(keys.is_sorted());
        let floats: Vec<_> = [-1e300, -2.5, -0.5, 0.5, 2.5].map(|x| key(&[Some(Value::F64(x))])).into();
        assert!(floats.is_sorted());
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        for bytes in [&[9][..], &[5, b'a'], &[2, 0, 0], &[1], &[5, 0xFE, 0]] {
            assert!(read(bytes).is_none(), "{bytes:?}");
        }
    }
}

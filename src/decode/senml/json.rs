//! SenML in JSON (RFC 8428, section 5).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Entries, Item};
use crate::decode::gather::Scalar;
use crate::decode::{Fault, Pass, json};

pub(in crate::decode) fn read(pass: &mut Pass<'_>) {
    super::read(pass, json::shape(pass.payload), entries);
}

fn entries(record: &[u8]) -> Result<Entries<'_>, Fault> {
    // The parser would say so too, and repeat a text at its full length.
    if !record.trim_ascii_start().starts_with(b"{") {
        return Err(Fault::malformed("a record has to be an object".to_owned()));
    }
    let Members(members) = serde_json::from_slice(record).map_err(|error| Fault::malformed(error.to_string()))?;
    Ok(members.into_iter().map(|(label, text)| (label, item(text))).collect())
}

/// A number too large for any type would stop the parser: each value is read for itself.
fn item(text: &RawValue) -> Result<Item<'_>, Fault> {
    serde_json::from_str(text.get()).map_err(|error| Fault::value(error.to_string()))
}

/// The members of a record, their values unread.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Label<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut record: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Label(label), value)) = record.next_entry()? {
                    members.push((label, value));
                }
                Ok(Members(members))
            }
        }
        parser.deserialize_map(Collect)
    }
}

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        parser.deserialize_any(AnyItem)
    }
}

struct AnyItem;

impl<'de> Visitor<'de> for AnyItem {
    type Value = Item<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Item::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Item::Scalar(Scalar::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Item::Scalar(Scalar::I64(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Item::Scalar(Scalar::integer(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Item::Scalar(Scalar::F64(value)))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Item::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Item::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Item::Nested)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Item::Nested)
    }
}

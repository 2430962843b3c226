//! JSON: an object, an array of objects, or a bare value.
//!
//! The text is walked once, straight into the list of fields; no tree is built. An array is first cut into the
//! texts of its elements, so that a bad one goes alone, with its own bytes. A syntax error anywhere condemns the
//! whole payload: behind it nobody knows where an element begins.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::gather::{Gather, Mark, Scalar};
use super::{Fault, MAX_DEPTH, MAX_READINGS, Shape};
use crate::source::Reason;

pub(super) fn shape(payload: &[u8]) -> Result<Shape<'_>, Fault> {
    if payload.trim_ascii_start().first() != Some(&b'[') {
        return Ok(Shape::One(payload));
    }
    let mut parser = serde_json::Deserializer::from_slice(payload);
    let elements =
        parser.deserialize_seq(Elements).and_then(|elements| parser.end().map(|()| elements)).map_err(|error| {
            Fault { reason: if error.is_data() { Reason::Value } else { Reason::Malformed }, detail: error.to_string() }
        })?;
    if elements.is_empty() {
        return Err(Fault::empty("the array is empty"));
    }
    Ok(Shape::Many(elements))
}

/// Walks one element of an array.
pub(super) fn element(text: &[u8], gather: &mut Gather) -> Result<(), Fault> {
    if !text.starts_with(b"{") {
        return Err(Fault::malformed("an element of an array has to be an object".to_owned()));
    }
    one(text, gather)
}

/// Walks one object or one bare value.
pub(super) fn one(text: &[u8], gather: &mut Gather) -> Result<(), Fault> {
    gather.start();
    // Once for all: of a text the parser need not look at each name and value whether it is one.
    let text = std::str::from_utf8(text).map_err(|error| Fault::malformed(format!("not UTF-8: {error}")))?;
    let mut fault = None;
    let mut parser = serde_json::Deserializer::from_str(text);
    let walk = Node { gather, fault: &mut fault, depth: 0 };
    walk.deserialize(&mut parser)
        .and_then(|()| parser.end())
        .map_err(|error| Fault { reason: fault.unwrap_or_else(|| reason(text)), detail: error.to_string() })
}

/// What stopped the parser: the grammar, or a value that the grammar allows (1e999, half a surrogate pair).
fn reason(text: &str) -> Reason {
    let grammatical = serde_json::from_str::<IgnoredAny>(text).is_ok();
    if grammatical { Reason::Value } else { Reason::Malformed }
}

/// The elements of an array, uncut and unread.
struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = array.next_element::<&RawValue>()? {
            if elements.len() == MAX_READINGS {
                return Err(A::Error::custom(format_args!("more than {MAX_READINGS} readings; send several messages")));
            }
            elements.push(element.get().as_bytes());
        }
        Ok(elements)
    }
}

/// One place in the text, and all below it.
struct Node<'a> {
    gather: &'a mut Gather,
    /// The reason for an error of ours; the parser adds the position to its message.
    fault: &'a mut Option<Reason>,
    depth: usize,
}

impl Node<'_> {
    fn put<E: Error>(self, value: Scalar<'_>) -> Result<(), E> {
        let bare = self.depth == 0;
        let mark = bare.then(|| self.gather.enter("value", false));
        let outcome = self.gather.put(value);
        if let Some(mark) = mark {
            self.gather.leave(&mark);
        }
        outcome.map_err(|fault| {
            *self.fault = Some(fault.reason);
            E::custom(fault.detail)
        })
    }

    fn below(&mut self) -> Node<'_> {
        Node { gather: self.gather, fault: self.fault, depth: self.depth + 1 }
    }

    fn check_depth<E: Error>(&mut self) -> Result<(), E> {
        if self.depth < MAX_DEPTH {
            return Ok(());
        }
        *self.fault = Some(Reason::Value);
        Err(E::custom(format_args!("deeper than {MAX_DEPTH} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, a number, a bool or a text")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.put(Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.put(Scalar::I64(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.put(Scalar::U64(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.put(Scalar::F64(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.put(Scalar::Text(value))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        self.check_depth()?;
        let nested = self.depth > 0;
        while let Some(mark) = object.next_key_seed(Key { gather: self.gather, nested })? {
            object.next_value_seed(self.below())?;
            self.gather.leave(&mark);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        self.check_depth()?;
        for index in 0.. {
            let mark = self.gather.enter_place(index);
            let more = array.next_element_seed(self.below())?;
            self.gather.leave(&mark);
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// Writes a key to the end of the path.
struct Key<'a> {
    gather: &'a mut Gather,
    nested: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Mark;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Mark, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Mark;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Mark, E> {
        Ok(self.gather.enter(key, self.nested))
    }
}

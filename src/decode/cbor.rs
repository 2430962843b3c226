//! CBOR (RFC 8949): the shapes of JSON, walked once, without a tree.
//!
//! | item | becomes |
//! | --- | --- |
//! | integer, bignum (tags 2, 3) | an integer where it fits 64 bits, else a float, as in JSON |
//! | float of 16, 32, 64 bits | the same number; what is not finite is refused |
//! | decimal fraction (tag 4) | the nearest float, an integer where the exponent is 0 |
//! | epoch time (tag 1) | seconds where it is the time, else the number |
//! | byte string | its base64url text without padding, as section 6.1 advises |
//! | null, undefined | nothing |
//! | key that is an integer | its decimal digits |
//!
//! Any other tag is passed over, the self-described one (55799) too. Lengths may be indefinite.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};

use super::gather::{Gather, Scalar};
use super::{Fault, MAX_DEPTH, MAX_READINGS, Shape};

const EPOCH: u64 = 1;
const BIGNUM: u64 = 2;
const NEGATIVE_BIGNUM: u64 = 3;
const DECIMAL: u64 = 4;
const BIGFLOAT: u64 = 5;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::malformed(format!("not CBOR: {error}"))
    }
}

pub(super) fn shape(payload: &[u8]) -> Result<Shape<'_>, Fault> {
    let mut input = Decoder::new(payload);
    let is_number = is_number(skip_tags(&mut input)?);
    if is_number || !matches!(input.datatype()?, Type::Array | Type::ArrayIndef) {
        return Ok(Shape::One(payload));
    }
    let mut elements = Vec::new();
    let mut left = input.array()?;
    while more(&mut input, &mut left)? {
        if elements.len() == MAX_READINGS {
            return Err(Fault::value(format!("more than {MAX_READINGS} readings; send several messages")));
        }
        let start = input.position();
        input.skip()?;
        elements.push(&payload[start..input.position()]);
    }
    end(&input)?;
    if elements.is_empty() {
        return Err(Fault::empty("the array is empty"));
    }
    Ok(Shape::Many(elements))
}

/// Walks one element of an array.
pub(super) fn element(item: &[u8], gather: &mut Gather) -> Result<(), Fault> {
    let mut input = Decoder::new(item);
    skip_tags(&mut input)?;
    let (Type::Map | Type::MapIndef) = input.datatype()? else {
        return Err(Fault::malformed("an element of an array has to be a map".to_owned()));
    };
    one(item, gather)
}

/// Walks one map or one bare value.
pub(super) fn one(item: &[u8], gather: &mut Gather) -> Result<(), Fault> {
    gather.start();
    let mut walk = Walk { input: Decoder::new(item), gather };
    walk.node(0)?;
    end(&walk.input)
}

struct Walk<'a, 'b> {
    input: Decoder<'b>,
    gather: &'a mut Gather,
}

impl Walk<'_, '_> {
    /// One place in the payload, and all below it.
    fn node(&mut self, depth: usize) -> Result<(), Fault> {
        let start = self.input.position();
        let tag = skip_tags(&mut self.input)?;
        match self.input.datatype()? {
            _ if is_number(tag) => {
                self.input.set_position(start);
                let number = number(&mut self.input)?;
                self.put(number, depth, tag)
            }
            Type::Map | Type::MapIndef => self.map(depth),
            Type::Array | Type::ArrayIndef => self.array(depth),
            Type::Null | Type::Undefined => Ok(self.input.skip()?),
            Type::Bool => {
                let value = self.input.bool()?;
                self.put(Scalar::Bool(value), depth, tag)
            }
            Type::String | Type::StringIndef => {
                let text = text(&mut self.input)?;
                self.put(Scalar::Text(&text), depth, tag)
            }
            Type::Bytes | Type::BytesIndef => {
                let text = data(&mut self.input)?;
                self.put(Scalar::Text(&text), depth, tag)
            }
            Type::Simple => Err(Fault::value(format!("simple value {} has no meaning", self.input.simple()?))),
            _ => {
                let number = number(&mut self.input)?;
                self.put(number, depth, tag)
            }
        }
    }

    fn put(&mut self, value: Scalar<'_>, depth: usize, tag: Option<u64>) -> Result<(), Fault> {
        if depth == 0 {
            let _ = self.gather.enter("value", false);
        }
        if tag == Some(EPOCH) { self.gather.put_seconds(value) } else { self.gather.put(value) }
    }

    fn map(&mut self, depth: usize) -> Result<(), Fault> {
        check_depth(depth)?;
        let mut left = self.input.map()?;
        while more(&mut self.input, &mut left)? {
            let key = key(&mut self.input)?;
            let mark = self.gather.enter(&key, depth > 0);
            self.node(depth + 1)?;
            self.gather.leave(&mark);
        }
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        check_depth(depth)?;
        let mut left = self.input.array()?;
        for index in 0.. {
            if !more(&mut self.input, &mut left)? {
                break;
            }
            let mark = self.gather.enter_place(index);
            self.node(depth + 1)?;
            self.gather.leave(&mark);
        }
        Ok(())
    }
}

fn check_depth(depth: usize) -> Result<(), Fault> {
    if depth < MAX_DEPTH { Ok(()) } else { Err(Fault::value(format!("deeper than {MAX_DEPTH} levels"))) }
}

pub(super) fn end(input: &Decoder<'_>) -> Result<(), Fault> {
    match input.input().len() - input.position() {
        0 => Ok(()),
        rest => Err(Fault::malformed(format!("not CBOR: {rest} bytes follow its end"))),
    }
}

/// Passes over tags; the last one says what the value is.
fn skip_tags(input: &mut Decoder<'_>) -> Result<Option<u64>, Fault> {
    let mut tag = None;
    while input.datatype()? == Type::Tag {
        tag = Some(input.tag()?.as_u64());
    }
    Ok(tag)
}

/// Whether the tag makes a number of what is behind it.
fn is_number(tag: Option<u64>) -> bool {
    matches!(tag, Some(BIGNUM..=BIGFLOAT))
}

/// Whether an array or a map goes on; `left` is what its head said, none where it ends with a break.
pub(super) fn more(input: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Fault> {
    match left {
        Some(0) => Ok(false),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None if input.datatype()? == Type::Break => {
            input.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

pub(super) fn text<'b>(input: &mut Decoder<'b>) -> Result<Cow<'b, str>, Fault> {
    match input.datatype()? {
        Type::StringIndef => Ok(Cow::Owned(input.str_iter()?.collect::<Result<_, _>>()?)),
        _ => Ok(Cow::Borrowed(input.str()?)),
    }
}

/// A byte string as text.
pub(super) fn data(input: &mut Decoder<'_>) -> Result<String, Fault> {
    Ok(URL_SAFE_NO_PAD.encode(bytes(input)?))
}

fn bytes<'b>(input: &mut Decoder<'b>) -> Result<Cow<'b, [u8]>, Fault> {
    match input.datatype()? {
        Type::BytesIndef => Ok(Cow::Owned(input.bytes_iter()?.collect::<Result<Vec<_>, _>>()?.concat())),
        _ => Ok(Cow::Borrowed(input.bytes()?)),
    }
}

pub(super) fn key<'b>(input: &mut Decoder<'b>) -> Result<Cow<'b, str>, Fault> {
    match input.datatype()? {
        Type::String | Type::StringIndef => text(input),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            Ok(Cow::Owned(i128::from(input.int()?).to_string()))
        }
        other => Err(Fault::value(format!("a key is {other}; it has to be text or an integer"))),
    }
}

/// A number in any of its forms.
pub(super) fn number(input: &mut Decoder<'_>) -> Result<Scalar<'static>, Fault> {
    let tag = skip_tags(input)?;
    match (tag, input.datatype()?) {
        (Some(BIGNUM), _) => Ok(Scalar::integer(magnitude(input)?)),
        (Some(NEGATIVE_BIGNUM), _) => Ok(Scalar::integer(-1 - magnitude(input)?)),
        (Some(DECIMAL), _) => decimal(input),
        (Some(BIGFLOAT), _) => Err(Fault::value("a bigfloat (tag 5) is not supported; send a float".to_owned())),
        (_, Type::F16 | Type::F32 | Type::F64) => Ok(Scalar::F64(input.f64()?)),
        _ => Ok(Scalar::integer(input.int()?.into())),
    }
}

fn magnitude(input: &mut Decoder<'_>) -> Result<i128, Fault> {
    let bytes = bytes(input)?;
    let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    if digits.len() >= size_of::<i128>() {
        return Err(Fault::value("a bignum of more than 120 bits; send a float".to_owned()));
    }
    Ok(digits.iter().fold(0, |n, digit| n << 8 | i128::from(*digit)))
}

/// `[exponent, mantissa]` to the base of ten (section 3.4.4).
fn decimal(input: &mut Decoder<'_>) -> Result<Scalar<'static>, Fault> {
    let mut left = input.array()?;
    let mut parts = [0_i128; 2];
    for part in &mut parts {
        if !more(input, &mut left)? {
            return Err(Fault::malformed("a decimal fraction (tag 4) is an exponent and a mantissa".to_owned()));
        }
        *part = input.int()?.into();
    }
    if more(input, &mut left)? {
        return Err(Fault::malformed("a decimal fraction (tag 4) is an exponent and a mantissa".to_owned()));
    }
    let [exponent, mantissa] = parts;
    if exponent == 0 {
        return Ok(Scalar::integer(mantissa));
    }
    // By way of its text it is rounded once.
    format!("{mantissa}e{exponent}").parse().map(Scalar::F64).map_err(|_| Fault::value("not a number".to_owned()))
}

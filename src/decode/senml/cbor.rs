//! SenML in CBOR (RFC 8428, section 6): the same records, with numbers for labels.

use std::borrow::Cow;

use minicbor::data::Type;
use minicbor::decode::Decoder;

use super::{Entries, Item};
use crate::decode::gather::Scalar;
use crate::decode::{Fault, Pass, cbor};

pub(in crate::decode) fn read(pass: &mut Pass<'_>) {
    super::read(pass, cbor::shape(pass.payload), entries);
}

fn entries(record: &[u8]) -> Result<Entries<'_>, Fault> {
    let mut input = Decoder::new(record);
    let mut left = input.map()?;
    let mut entries = Vec::new();
    while cbor::more(&mut input, &mut left)? {
        let label = label(&mut input)?;
        // Whatever is wrong with a value, the next label stands behind it.
        let start = input.position();
        input.skip()?;
        let value = &record[start..input.position()];
        entries.push((label, item(&mut Decoder::new(value))));
    }
    cbor::end(&input)?;
    Ok(entries)
}

/// Table 4 of the standard.
fn label<'b>(input: &mut Decoder<'b>) -> Result<Cow<'b, str>, Fault> {
    if let Type::String | Type::StringIndef = input.datatype()? {
        return cbor::text(input);
    }
    let label = cbor::key(input)?;
    let label = match &*label {
        "-6" => "bs",
        "-5" => "bv",
        "-4" => "bu",
        "-3" => "bt",
        "-2" => "bn",
        "-1" => "bver",
        "0" => "n",
        "1" => "u",
        "2" => "v",
        "3" => "vs",
        "4" => "vb",
        "5" => "s",
        "6" => "t",
        "7" => "ut",
        "8" => "vd",
        // Labels of later standards are texts: the table is closed.
        _ => return Ok(label),
    };
    Ok(Cow::Borrowed(label))
}

fn item<'b>(input: &mut Decoder<'b>) -> Result<Item<'b>, Fault> {
    let item = match input.datatype()? {
        Type::Null | Type::Undefined => Item::Nothing,
        Type::Bool => Item::Scalar(Scalar::Bool(input.bool()?)),
        Type::String | Type::StringIndef => Item::Text(cbor::text(input)?),
        Type::Bytes | Type::BytesIndef => Item::Text(Cow::Owned(cbor::data(input)?)),
        Type::Map | Type::MapIndef | Type::Array | Type::ArrayIndef => Item::Nested,
        _ => Item::Scalar(cbor::number(input)?),
    };
    Ok(item)
}

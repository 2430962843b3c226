//! The value of a metric to fields, by its datatype (Sparkplug 3.0.0, section 6.4.16).
//!
//! | datatype | becomes |
//! | --- | --- |
//! | Int8 … Int64 | an integer, its sign restored from two's complement |
//! | UInt8 … UInt64, `DateTime` | an integer; a moment is in milliseconds |
//! | Float, Double | a float |
//! | Boolean, String, Text, UUID | a bool, a text |
//! | Bytes, File | base64url text without padding, as in CBOR |
//! | `DataSet` | `NAME.ROW.COLUMN` |
//! | Template | `NAME.MEMBER`; a definition says nothing |
//! | array of one of the above | `NAME.PLACE` |

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::proto::{DataSet, Template, Told};
use crate::decode::gather::{Gather, Scalar};
use crate::decode::{Fault, MAX_DEPTH};

pub(super) const INT64: u32 = 4;
pub(super) const UINT64: u32 = 8;
const FLOAT: u32 = 9;
const DOUBLE: u32 = 10;
pub(super) const BOOLEAN: u32 = 11;
const STRING: u32 = 12;
const DATE_TIME: u32 = 13;
const TEXT: u32 = 14;
const UUID: u32 = 15;
const DATA_SET: u32 = 16;
const BYTES: u32 = 17;
const FILE: u32 = 18;
const TEMPLATE: u32 = 19;
const INT8_ARRAY: u32 = 22;
const BOOLEAN_ARRAY: u32 = 32;
const STRING_ARRAY: u32 = 33;
const DATE_TIME_ARRAY: u32 = 34;

/// The datatype of a value that leaves no doubt about it.
pub(super) fn implied(told: &Told) -> Option<u32> {
    match told {
        Told::Float(_) => Some(FLOAT),
        Told::Double(_) => Some(DOUBLE),
        Told::Boolean(_) => Some(BOOLEAN),
        Told::Text(_) => Some(STRING),
        Told::DataSet(_) => Some(DATA_SET),
        Told::Template(_) => Some(TEMPLATE),
        Told::Int(_) | Told::Long(_) | Told::Bytes(_) => None,
    }
}

/// Puts a value at the place the gathering is at, and what is in it below.
pub(super) fn put(datatype: u32, told: Told, gather: &mut Gather, depth: usize) -> Result<(), Fault> {
    match (datatype, told) {
        (1..=INT64, Told::Int(n)) => gather.put(Scalar::I64(signed(datatype, n.into(), n.cast_signed().into())?)),
        (1..=INT64, Told::Long(n)) => gather.put(Scalar::I64(signed(datatype, n, n.cast_signed())?)),
        (5..=UINT64 | DATE_TIME, Told::Int(n)) => gather.put(Scalar::U64(n.into())),
        (5..=UINT64 | DATE_TIME, Told::Long(n)) => gather.put(Scalar::U64(n)),
        (FLOAT | DOUBLE, Told::Float(n)) => gather.put(Scalar::F64(n.into())),
        (FLOAT | DOUBLE, Told::Double(n)) => gather.put(Scalar::F64(n)),
        (BOOLEAN, Told::Boolean(b)) => gather.put(Scalar::Bool(b)),
        (STRING | TEXT | UUID, Told::Text(text)) => gather.put(Scalar::Text(&text)),
        (BYTES | FILE, Told::Bytes(bytes)) => gather.put(Scalar::Text(&URL_SAFE_NO_PAD.encode(bytes))),
        (DATA_SET, Told::DataSet(set)) => data_set(set, gather),
        (TEMPLATE, Told::Template(template)) => self::template(template, gather, depth),
        (INT8_ARRAY..=DATE_TIME_ARRAY, Told::Bytes(bytes)) => array(datatype, &bytes, gather),
        (1..=TEMPLATE | INT8_ARRAY..=DATE_TIME_ARRAY, _) => {
            Err(Fault::malformed(format!("its value is of another kind than its datatype, {datatype}")))
        }
        _ => Err(Fault::value(format!("datatype {datatype} is not supported"))),
    }
}

/// Encoders write a small negative number as wide as its type, or as wide as the field that carries it.
fn signed(datatype: u32, bits: u64, extended: i64) -> Result<i64, Fault> {
    let width = 8 << (datatype - 1);
    let (least, most) = (i64::MIN >> (64 - width), i64::MAX >> (64 - width));
    if (least..=most).contains(&extended) {
        return Ok(extended);
    }
    if bits >> width == 0 {
        // The sign is the highest bit of the type.
        return Ok((bits << (64 - width)).cast_signed() >> (64 - width));
    }
    Err(Fault::value(format!("{bits} does not fit {width} bits")))
}

fn data_set(set: DataSet, gather: &mut Gather) -> Result<(), Fault> {
    for (place, row) in set.rows.into_iter().enumerate() {
        let row_mark = gather.enter_place(place);
        if row.elements.len() > set.columns.len().min(set.types.len()) {
            let what = format!("row {place} of a data set has more cells than there are columns with a type");
            return Err(Fault::malformed(what));
        }
        for ((element, column), datatype) in row.elements.into_iter().zip(&set.columns).zip(&set.types) {
            if let Some(told) = element.value {
                let mark = gather.enter(column, true);
                put(*datatype, told.into(), gather, 1)?;
                gather.leave(&mark);
            }
        }
        gather.leave(&row_mark);
    }
    Ok(())
}

fn template(template: Template, gather: &mut Gather, depth: usize) -> Result<(), Fault> {
    if depth == MAX_DEPTH {
        return Err(Fault::value(format!("deeper than {MAX_DEPTH} levels")));
    }
    if template.is_definition == Some(true) {
        return Ok(());
    }
    for member in template.metrics {
        let Some(told) = member.value else { continue };
        let Some(name) = member.name else {
            return Err(Fault::malformed("a member of a template has a value and no name".to_owned()));
        };
        let Some(datatype) = member.datatype.or_else(|| implied(&told)) else {
            let name = Scalar::Text(&name).shown();
            return Err(Fault::malformed(format!("the member {name} of a template has no datatype")));
        };
        let mark = gather.enter(&name, true);
        put(datatype, told, gather, depth + 1)?;
        gather.leave(&mark);
    }
    Ok(())
}

/// Elements side by side, the low byte first (section 6.4.16.1).
fn array(datatype: u32, bytes: &[u8], gather: &mut Gather) -> Result<(), Fault> {
    match datatype {
        BOOLEAN_ARRAY => {
            let cut = || Fault::malformed("an array of booleans shorter than it says".to_owned());
            let (count, bits) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
            let count = u32::from_le_bytes(*count) as usize;
            if bits.len() < count.div_ceil(8) {
                return Err(cut());
            }
            each((0..count).map(|n| Scalar::Bool(bits[n / 8] & (0x80 >> (n % 8)) != 0)), gather)
        }
        STRING_ARRAY => {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| Fault::malformed("an array of strings that is not UTF-8".to_owned()))?;
            each(text.split_terminator('\0').map(Scalar::Text), gather)
        }
        _ => {
            let width = [1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 0, 0, 8][(datatype - INT8_ARRAY) as usize];
            if !bytes.len().is_multiple_of(width) {
                return Err(Fault::malformed(format!("an array that is no multiple of {width} bytes")));
            }
            each(bytes.chunks_exact(width).map(|bytes| number(datatype, bytes)), gather)
        }
    }
}

fn each<'a>(elements: impl Iterator<Item = Scalar<'a>>, gather: &mut Gather) -> Result<(), Fault> {
    for (place, element) in elements.enumerate() {
        let mark = gather.enter_place(place);
        gather.put(element)?;
        gather.leave(&mark);
    }
    Ok(())
}

fn number(datatype: u32, bytes: &[u8]) -> Scalar<'static> {
    let mut low_first = [0; 8];
    low_first[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(low_first);
    let unused = 64 - 8 * bytes.len();
    match datatype - INT8_ARRAY {
        0..=3 => Scalar::I64((bits << unused).cast_signed() >> unused),
        8 => Scalar::F64(f32::from_bits(bits as u32).into()),
        9 => Scalar::F64(f64::from_bits(bits)),
        _ => Scalar::U64(bits),
    }
}

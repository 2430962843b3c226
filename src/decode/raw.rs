//! A bare number or a text: the field `value`.

use super::Fault;
use super::gather::{Gather, Scalar};

pub(super) fn one(payload: &[u8], gather: &mut Gather) -> Result<(), Fault> {
    let text = std::str::from_utf8(payload).map_err(|error| {
        Fault::malformed(format!("not UTF-8 from byte {} on; raw takes a number or a text", error.valid_up_to()))
    })?;
    gather.start();
    let _ = gather.enter("value", false);
    gather.put(scalar(text))
}

/// A number may have white space around it; a text is kept as it came. `nan` and `inf` are words.
pub(super) fn scalar(text: &str) -> Scalar<'_> {
    let number = text.trim();
    if let Ok(n) = number.parse::<i64>() {
        return Scalar::I64(n);
    }
    if let Ok(n) = number.parse::<u64>() {
        return Scalar::U64(n);
    }
    match number.parse::<f64>() {
        Ok(n) if number.contains(|c: char| c.is_ascii_digit()) => Scalar::F64(n),
        _ => Scalar::Text(text),
    }
}

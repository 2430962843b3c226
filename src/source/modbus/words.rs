//! Words of registers to values. Pure.
//!
//! Modbus sends each register with its high byte first (Modbus Application Protocol V1.1b3, section 4.2), and says nothing
//! of values that take several: meters differ, hence [`Order`].

use crate::config::{Kind, Order, Register};
use crate::reading::Value;

/// A value that is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotFinite;

/// The value of a register from its words: as many as its length.
pub fn value(register: &Register, words: &[u16]) -> Result<Value, NotFinite> {
    let raw = match register.kind {
        Kind::Bool => return Ok(Value::Bool(words.iter().any(|word| *word != 0))),
        Kind::Bit(bit) => return Ok(Value::Bool(words.first().is_some_and(|word| word >> bit & 1 == 1))),
        Kind::Text(bytes) => return Ok(Value::Text(text(words, register.order, bytes.into()).into())),
        kind => number(kind, integer(words, register.order)),
    };
    if register.scale.is_none() && register.offset.is_none() && !matches!(raw, Value::F64(_)) {
        return Ok(raw);
    }
    let raw = match raw {
        Value::I64(number) => number as f64,
        Value::U64(number) => number as f64,
        Value::F64(number) => number,
        Value::Bool(_) | Value::Text(_) => return Err(NotFinite),
    };
    let value = scaled(raw, register.scale.unwrap_or(1.0)) + register.offset.unwrap_or(0.0);
    if value.is_finite() { Ok(Value::F64(value)) } else { Err(NotFinite) }
}

/// What the words say, the highest byte first.
fn integer(words: &[u16], order: Order) -> u64 {
    let word = |word: &u16| match order {
        Order::Abcd | Order::Cdab => *word,
        Order::Badc | Order::Dcba => word.swap_bytes(),
    };
    let join = |value: u64, word: u16| value << 16 | u64::from(word);
    match order {
        Order::Abcd | Order::Badc => words.iter().map(word).fold(0, join),
        Order::Cdab | Order::Dcba => words.iter().rev().map(word).fold(0, join),
    }
}

fn number(kind: Kind, bits: u64) -> Value {
    match kind {
        Kind::I16 => Value::I64((bits as i16).into()),
        Kind::I32 => Value::I64((bits as i32).into()),
        Kind::I64 => Value::I64(bits as i64),
        Kind::F32 => Value::F64(shortest(f32::from_bits(bits as u32))),
        Kind::F64 => Value::F64(f64::from_bits(bits)),
        _ => Value::from(bits),
    }
}

/// The number that a person would write for it: 21.5 and 0.1, where widening gives 0.10000000149011612.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| number.into())
}

/// By a scale of 0.1 or the like a number is divided: 2301 becomes 230.1, where a product is 230.10000000000002.
#[expect(clippy::float_cmp, reason = "equal is what is asked")]
fn scaled(raw: f64, scale: f64) -> f64 {
    let parts = (1.0 / scale).round();
    if scale.abs() < 1.0 && 1.0 / parts == scale { raw / parts } else { raw * scale }
}

/// Bytes up to the first zero, without the spaces that fill up; what is not UTF-8 is replaced.
fn text(words: &[u16], order: Order, bytes: usize) -> String {
    let word = |word: &u16| match order {
        Order::Abcd | Order::Cdab => word.to_be_bytes(),
        Order::Badc | Order::Dcba => word.to_le_bytes(),
    };
    let bytes: Vec<u8> = words.iter().flat_map(word).take(bytes).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Table;

    fn register(kind: Kind, order: Order) -> Register {
        let field = "x".to_owned();
        Register { field, table: Table::Input, address: 0, kind, order, scale: None, offset: None }
    }

    fn read(kind: Kind, order: Order, words: &[u16]) -> Value {
        value(&register(kind, order), words).unwrap()
    }

    #[test]
    fn integers_of_each_width_and_sign() {
        let abcd = |kind, words: &[u16]| read(kind, Order::Abcd, words);
        assert_eq!(abcd(Kind::U16, &[0xFFFE]), Value::I64(65_534));
        assert_eq!(abcd(Kind::I16, &[0xFFFE]), Value::I64(-2));
        assert_eq!(abcd(Kind::U32, &[0xFFFF, 0xFFFE]), Value::I64(4_294_967_294));
        assert_eq!(abcd(Kind::I32, &[0xFFFF, 0xFFFE]), Value::I64(-2));
        assert_eq!(abcd(Kind::I64, &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE]), Value::I64(-2));
        assert_eq!(abcd(Kind::U64, &[0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE]), Value::U64(u64::MAX - 1));
        assert_eq!(abcd(Kind::U64, &[0, 0, 0, 7]), Value::I64(7));
    }

    #[test]
    fn the_four_orders_say_the_same_number() {
        for (order, words) in [
            (Order::Abcd, [0x0102, 0x0304]),
            (Order::Cdab, [0x0304, 0x0102]),
            (Order::Badc, [0x0201, 0x0403]),
            (Order::Dcba, [0x0403, 0x0201]),
        ] {
            assert_eq!(read(Kind::U32, order, &words), Value::I64(0x0102_0304), "{order:?}");
        }
        for (order, words) in [
            (Order::Abcd, [0x0102, 0x0304, 0x0506, 0x0708]),
            (Order::Cdab, [0x0708, 0x0506, 0x0304, 0x0102]),
            (Order::Badc, [0x0201, 0x0403, 0x0605, 0x0807]),
            (Order::Dcba, [0x0807, 0x0605, 0x0403, 0x0201]),
        ] {
            assert_eq!(read(Kind::U64, order, &words), Value::I64(0x0102_0304_0506_0708), "{order:?}");
        }
        assert_eq!(read(Kind::U16, Order::Badc, &[0x0201]), Value::I64(0x0102));
    }

    #[test]
    fn floats_are_the_numbers_a_person_would_write() {
        // 230.1 as IEEE 754 single precision, and -0.5 as double precision.
        assert_eq!(read(Kind::F32, Order::Abcd, &[0x4366, 0x199A]), Value::F64(230.1));
        assert_eq!(read(Kind::F32, Order::Cdab, &[0x199A, 0x4366]), Value::F64(230.1));
        assert_eq!(read(Kind::F64, Order::Abcd, &[0xBFE0, 0, 0, 0]), Value::F64(-0.5));
    }

    #[test]
    fn integers_stay_integers_unless_they_are_scaled() {
        let scaled = Register { scale: Some(0.1), offset: Some(-40.0), ..register(Kind::U16, Order::Abcd) };
        assert_eq!(value(&scaled, &[615]), Ok(Value::F64(21.5)));
        let moved = Register { offset: Some(1.0), ..register(Kind::I16, Order::Abcd) };
        assert_eq!(value(&moved, &[1]), Ok(Value::F64(2.0)));
        for (scale, raw, expected) in [(0.1, 2_301, 230.1), (0.01, 2_151, 21.51), (-0.1, 3, -0.3), (3.0, 7, 21.0)] {
            let scaled = Register { scale: Some(scale), ..register(Kind::U16, Order::Abcd) };
            assert_eq!(value(&scaled, &[raw]), Ok(Value::F64(expected)));
        }
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for words in [[0x7FC0, 0], [0x7F80, 0], [0xFF80, 0]] {
            assert_eq!(value(&register(Kind::F32, Order::Abcd), &words), Err(NotFinite));
        }
        let scaled = Register { scale: Some(1e300), ..register(Kind::F32, Order::Abcd) };
        assert_eq!(value(&scaled, &[0x7F00, 0]), Err(NotFinite), "1.7e38 times 1e300");
    }

    #[test]
    fn bits_and_switches() {
        let bits: Vec<_> = (0..16).map(|bit| read(Kind::Bit(bit), Order::Abcd, &[0b1000_0000_0000_1000])).collect();
        assert!((0..16).all(|bit| bits[bit] == Value::Bool(bit == 3 || bit == 15)));
        assert_eq!(read(Kind::Bool, Order::Abcd, &[0]), Value::Bool(false));
        assert_eq!(read(Kind::Bool, Order::Abcd, &[2]), Value::Bool(true));
    }

    #[test]
    fn text_ends_at_its_length_or_a_zero_and_loses_what_fills_it_up() {
        let text = |order, bytes, words: &[u16]| match read(Kind::Text(bytes), order, words) {
            Value::Text(text) => text.to_string(),
            value => panic!("{value:?}"),
        };
        assert_eq!(text(Order::Abcd, 4, &[0x4142, 0x4344]), "ABCD");
        assert_eq!(text(Order::Abcd, 3, &[0x4142, 0x4344]), "ABC");
        assert_eq!(text(Order::Badc, 4, &[0x4241, 0x4443]), "ABCD");
        assert_eq!(text(Order::Abcd, 6, &[0x4142, 0x0044, 0x4545]), "AB");
        assert_eq!(text(Order::Abcd, 4, &[0x4120, 0x2020]), "A");
        assert_eq!(text(Order::Abcd, 2, &[0x41FF]), "A\u{FFFD}");
    }
}

//! Numbers as SQL sees them: 64-bit integers, signed or not, and floats, mixed at will and never rounded unasked.
//!
//! - Comparison is by value: 2^63 + 1 is greater than the float 2^63, though it would round to it.
//! - `+ - *` and modulo of integers are exact; what fits neither `i64` nor `u64` becomes a float.
//! - `/` is a float always. Division and modulo by zero are NULL: neither infinite nor the end of a window.
//! - A result that is not finite is NULL.

use std::cmp::Ordering;

use super::plan::{Arithmetic, Datum};
use crate::reading::Value;

/// The value of a number, whichever way it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Int(i128),
    /// Finite.
    Float(f64),
}

impl Number {
    /// `None` where the value is text or a boolean.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::I64(n) => Some(Self::Int(i128::from(*n))),
            Value::U64(n) => Some(Self::Int(i128::from(*n))),
            Value::F64(n) => Some(Self::Float(*n)),
            Value::Bool(_) | Value::Text(_) => None,
        }
    }

    /// A number out of its text, spaces around it allowed.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let small = |n: &i128| int(*n).is_some();
        let whole = text.parse().ok().filter(small).map(Self::Int);
        whole.or_else(|| text.parse().ok().filter(|n: &f64| n.is_finite()).map(Self::Float))
    }

    #[must_use]
    pub fn float(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Float(n) => n,
        }
    }

    #[must_use]
    pub fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => left.cmp(&right),
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
            (Self::Int(left), Self::Float(right)) => int_to_float(left, right),
            (Self::Float(left), Self::Int(right)) => int_to_float(right, left).reverse(),
        }
    }
}

/// The integer parts first, which are exact on both sides; then what is left of the float.
fn int_to_float(int: i128, float: f64) -> Ordering {
    // `as` stops at the ends of i128, far beyond any 64-bit integer.
    int.cmp(&(float as i128)).then_with(|| 0.0.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal))
}

fn int(n: i128) -> Datum {
    let large = || u64::try_from(n).ok().map(Value::U64);
    i64::try_from(n).ok().map(Value::I64).or_else(large)
}

fn finite(n: f64) -> Datum {
    n.is_finite().then_some(Value::F64(n))
}

/// An exact result where it fits 64 bits, else the nearest float.
fn exact(n: Option<i128>, float: impl FnOnce() -> f64) -> Datum {
    n.and_then(int).or_else(|| finite(float()))
}

#[must_use]
pub fn arithmetic(how: Arithmetic, left: Number, right: Number) -> Datum {
    let (a, b) = (left.float(), right.float());
    match (how, left, right) {
        (Arithmetic::Divide | Arithmetic::Modulo, _, _) if b == 0.0 => None,
        (Arithmetic::Divide, _, _) => finite(a / b),
        (Arithmetic::Add, Number::Int(x), Number::Int(y)) => exact(x.checked_add(y), || a + b),
        (Arithmetic::Subtract, Number::Int(x), Number::Int(y)) => exact(x.checked_sub(y), || a - b),
        (Arithmetic::Multiply, Number::Int(x), Number::Int(y)) => exact(x.checked_mul(y), || a * b),
        (Arithmetic::Modulo, Number::Int(x), Number::Int(y)) => exact(x.checked_rem(y), || a % b),
        (Arithmetic::Add, _, _) => finite(a + b),
        (Arithmetic::Subtract, _, _) => finite(a - b),
        (Arithmetic::Multiply, _, _) => finite(a * b),
        (Arithmetic::Modulo, _, _) => finite(a % b),
    }
}

#[must_use]
pub fn negate(n: Number) -> Datum {
    match n {
        Number::Int(n) => exact(n.checked_neg(), || -(n as f64)),
        Number::Float(n) => finite(-n),
    }
}

#[must_use]
pub fn abs(n: Number) -> Datum {
    match n {
        Number::Int(n) => int(n.abs()),
        Number::Float(n) => finite(n.abs()),
    }
}

#[must_use]
pub fn floor(n: Number) -> Datum {
    match n {
        Number::Int(n) => int(n),
        Number::Float(n) => finite(n.floor()),
    }
}

#[must_use]
pub fn ceil(n: Number) -> Datum {
    match n {
        Number::Int(n) => int(n),
        Number::Float(n) => finite(n.ceil()),
    }
}

/// As `CAST … AS BIGINT` has it: what is behind the point goes. NULL where no 64-bit integer is that large.
#[must_use]
pub fn integer(n: Number) -> Datum {
    match n {
        Number::Int(n) => int(n),
        Number::Float(n) => int(n as i128),
    }
}

/// To this many decimals, below zero to tens, hundreds …; a half goes away from zero. Integers stay integers.
#[must_use]
pub fn round(n: Number, decimals: i32) -> Datum {
    match n {
        Number::Int(n) if decimals >= 0 => int(n),
        Number::Int(n) => {
            // Beyond 10^20 every 64-bit integer is nearer to zero.
            let unit = 10_i128.pow(decimals.unsigned_abs().min(21));
            let half = if n < 0 { -(unit / 2) } else { unit / 2 };
            exact(Some((n + half) / unit * unit), || n as f64)
        }
        Number::Float(n) if decimals == 0 => finite(n.round()),
        Number::Float(n) => finite(round_decimal(n, decimals)),
    }
}

/// Rounds the shortest decimal that is this float, the one people see: 1.005 to two decimals is 1.01, though the
/// float is a hair below 1.005.
fn round_decimal(n: f64, decimals: i32) -> f64 {
    let text = format!("{:e}", n.abs());
    let (digits, exponent) = text.split_once('e').expect("a float written with an exponent has one");
    let exponent: i32 = exponent.parse().expect("the exponent of a float is a number");
    let mut digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    // How many of the digits stay.
    let keep = exponent + 1 + decimals;
    if keep >= digits.len() as i32 {
        return n;
    }
    if keep < 0 {
        return 0.0;
    }
    let up = digits[keep as usize] >= 5;
    digits.truncate(keep as usize);
    // The digits are an integer of at most 17 places: far from the end of i64.
    let whole = digits.iter().fold(0_i64, |whole, digit| whole * 10 + i64::from(*digit)) + i64::from(up);
    let magnitude: f64 = format!("{whole}e{}", -decimals).parse().expect("an integer with an exponent is a float");
    magnitude.copysign(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn i(n: i64) -> Value {
        Value::I64(n)
    }

    fn f(n: f64) -> Value {
        Value::F64(n)
    }

    #[test]
    fn numbers_of_all_kinds_compare_by_value() {
        let two63 = 9_223_372_036_854_775_808.0_f64;
        let rising = [
            f(-1e300),
            f(-two63 * 2.0),
            i(i64::MIN),
            i(i64::MIN + 1),
            f(-2.5),
            i(-2),
            f(-1.5),
            i(0),
            f(5e-324),
            f(0.5),
            i(1),
            i((1 << 53) - 1),
            f(9_007_199_254_740_992.0),
            i((1 << 53) + 1),
            i(i64::MAX),
            f(two63),
            Value::U64((1 << 63) + 1),
            Value::U64(u64::MAX),
            f(two63 * 2.0),
            f(f64::MAX),
        ];
        for (at, left) in rising.iter().enumerate() {
            for (other, right) in rising.iter().enumerate() {
                let (left, right) = (Number::of(left).unwrap(), Number::of(right).unwrap());
                assert_eq!(left.order(right), at.cmp(&other), "{left:?} to {right:?}");
            }
        }
        let equal = |a: &Value, b: &Value| Number::of(a).unwrap().order(Number::of(b).unwrap()).is_eq();
        assert!(equal(&f(0.0), &f(-0.0)) && equal(&i(3), &f(3.0)) && equal(&Value::U64(1 << 63), &f(two63)));
    }

    #[test]
    fn integers_are_exact_and_what_is_too_large_is_a_float() {
        use Arithmetic::{Add, Divide, Modulo, Multiply, Subtract};
        for (how, left, right, expected) in [
            (Add, i(i64::MAX), i(1), Some(Value::U64(1 << 63))),
            (Add, Value::U64(u64::MAX), i(1), Some(f(18_446_744_073_709_551_616.0))),
            (Add, i(i64::MIN), i(-1), Some(f(-9_223_372_036_854_775_808.0))),
            (Subtract, Value::U64(1 << 63), i(1), Some(i(i64::MAX))),
            (Multiply, i(3_037_000_500), i(3_037_000_500), Some(Value::U64(9_223_372_037_000_250_000))),
            (Multiply, Value::U64(u64::MAX), Value::U64(u64::MAX), Some(f(u64::MAX as f64 * u64::MAX as f64))),
            (Multiply, i(2), f(1.5), Some(f(3.0))),
            (Divide, i(7), i(2), Some(f(3.5))),
            (Divide, i(4), i(2), Some(f(2.0))),
            (Divide, i(1), i(0), None),
            (Divide, f(0.0), f(-0.0), None),
            (Divide, f(1e308), f(1e-10), None),
            (Multiply, f(1e200), f(1e200), None),
            (Modulo, i(-7), i(3), Some(i(-1))),
            (Modulo, i(i64::MIN), i(-1), Some(i(0))),
            (Modulo, f(7.5), i(2), Some(f(1.5))),
            (Modulo, i(7), i(0), None),
            (Modulo, f(7.0), f(0.0), None),
        ] {
            let found = arithmetic(how, Number::of(&left).unwrap(), Number::of(&right).unwrap());
            assert_eq!(found, expected, "{left:?} {how:?} {right:?}");
        }
        assert_eq!(negate(Number::Int(i128::from(i64::MIN))), Some(Value::U64(1 << 63)));
        assert_eq!(negate(Number::Int(1 << 63)), Some(i(i64::MIN)));
        assert_eq!(abs(Number::Int(i128::from(i64::MIN))), Some(Value::U64(1 << 63)));
    }

    #[test]
    fn a_half_is_rounded_away_from_zero_in_the_decimals_people_see() {
        for (n, decimals, expected) in [
            (0.5, 0, 1.0),
            (-0.5, 0, -1.0),
            (2.5, 0, 3.0),
            (1.005, 2, 1.01),
            (-1.005, 2, -1.01),
            (2.675, 2, 2.68),
            (0.1 + 0.2, 2, 0.3),
            (9.996, 2, 10.0),
            (0.04, 1, 0.0),
            (0.05, 1, 0.1),
            (1234.5, -2, 1200.0),
            (1250.0, -2, 1300.0),
            (49.9, -2, 0.0),
            (50.0, -2, 100.0),
            (4.9, -2, 0.0),
            (1e300, 2, 1e300),
            (1.25, 400, 1.25),
            (1e300, -400, 0.0),
            (20.3, 3, 20.3),
        ] {
            assert_eq!(round(Number::Float(n), decimals), Some(f(expected)), "ROUND({n}, {decimals})");
        }
        for (n, decimals, expected) in
            [(25, 0, 25), (25, 3, 25), (25, -1, 30), (-25, -1, -30), (24, -1, 20), (5, -21, 0)]
        {
            assert_eq!(round(Number::Int(n), decimals), Some(i(expected)), "ROUND({n}, {decimals})");
        }
        assert_eq!(round(Number::Int(i128::from(u64::MAX)), -1), Some(f(u64::MAX as f64)));
    }

    #[test]
    fn text_is_read_as_a_number_or_not_at_all() {
        for (text, expected) in [
            (" 12 ", Some(Number::Int(12))),
            ("-3", Some(Number::Int(-3))),
            ("18446744073709551615", Some(Number::Int(i128::from(u64::MAX)))),
            ("18446744073709551616", Some(Number::Float(18_446_744_073_709_551_616.0))),
            ("1e3", Some(Number::Float(1000.0))),
            ("1.5", Some(Number::Float(1.5))),
            ("", None),
            ("twelve", None),
            ("inf", None),
            ("NaN", None),
            ("1e999", None),
        ] {
            assert_eq!(Number::read(text), expected, "{text}");
        }
        assert_eq!(integer(Number::Float(-2.9)), Some(i(-2)));
        assert_eq!(integer(Number::Float(1e19)), Some(Value::U64(10_000_000_000_000_000_000)));
        assert_eq!(integer(Number::Float(1e20)), None);
        assert_eq!(integer(Number::Float(f64::MAX)), None);
    }
}

//! Numbers as decimal deltas: the fewest decimals that fit, and what does not fit as an exception.
//!
//! A float goes this way only if it comes back bit for bit: `(sum as f64) / 10^decimals == value`, |sum| < 2^53.

use alloc::vec::Vec;

/// A number of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// −2^63 … 2^64−1.
    Int(i128),
    Float(f64),
}

/// Whole numbers below this are told apart by a float.
pub const EXACT: i128 = 1 << 53;
const EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;
/// The decimals a column may have: `e` is −9 to 6.
const MOST_DECIMALS: i8 = 9;
const FEWEST_DECIMALS: i8 = -6;
/// One value in so many may be an exception.
const EXCEPTIONS: usize = 16;
/// What an exception costs, and what a decimal more costs for each value, in tenths of a byte before compression.
const EXCEPTION_COST: usize = 110;
const DECIMAL_COST: usize = 4;

pub const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
pub const WHOLE_POWERS: [i128; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];

/// A column as sums of 10^exponent, before the deltas are taken.
pub struct Decimals {
    pub exponent: i8,
    /// One a value; an exception repeats the sum before it.
    pub sums: Vec<i128>,
    pub exceptions: Vec<(usize, f64)>,
}

/// Integers, exactly, without exceptions.
pub fn integers(values: &[Number]) -> Option<Decimals> {
    let whole = |value: &Number| match value {
        Number::Int(n) => Some(*n),
        Number::Float(_) => None,
    };
    let mut sums = values.iter().map(whole).collect::<Option<Vec<_>>>()?;
    // Zeros are multiples of anything.
    let mut exponent = if sums.iter().all(|sum| *sum == 0) { 0 } else { 6 };
    while exponent > 0 && sums.iter().any(|n| n % WHOLE_POWERS[exponent] != 0) {
        exponent -= 1;
    }
    for sum in &mut sums {
        *sum /= WHOLE_POWERS[exponent];
    }
    Some(Decimals { exponent: exponent as i8, sums, exceptions: Vec::new() })
}

/// Floats, or floats among integers, where decimals and few exceptions tell them. `None`: they are told as floats.
pub fn decimals(values: &[f64]) -> Option<Decimals> {
    let decimals = choose(values)?;
    let mut sums = Vec::with_capacity(values.len());
    let mut exceptions = Vec::new();
    let mut sum = 0;
    for (position, value) in values.iter().enumerate() {
        match scaled(*value, decimals) {
            Some(exact) => sum = i128::from(exact),
            None => exceptions.push((position, *value)),
        }
        sums.push(sum);
    }
    // What fewer decimals tell is not always told by more: those are out of what a float tells exactly.
    if exceptions.len() > values.len() / EXCEPTIONS {
        return None;
    }
    let exponent = if sums.iter().all(|sum| *sum == 0) { 0 } else { -decimals };
    Some(Decimals { exponent, sums, exceptions })
}

/// The decimals that cost least, with no more exceptions than are allowed.
fn choose(values: &[f64]) -> Option<i8> {
    let allowed = values.len() / EXCEPTIONS;
    let mut needed = [0_usize; (MOST_DECIMALS - FEWEST_DECIMALS + 1) as usize];
    let (mut never, mut guess) = (0, 0);
    for value in values {
        if !value.is_finite() || (*value == 0.0 && value.is_sign_negative()) {
            return None;
        }
        if let Some(decimals) = fewest(*value, guess) {
            needed[(decimals - FEWEST_DECIMALS) as usize] += 1;
            guess = decimals;
        } else {
            never += 1;
            if never > allowed {
                return None;
            }
        }
    }
    let mut exceptions = never;
    let mut best = None;
    for at in (0..needed.len()).rev() {
        if exceptions <= allowed {
            let cost = exceptions * EXCEPTION_COST + at * values.len() * DECIMAL_COST;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, at as i8 + FEWEST_DECIMALS));
            }
        }
        exceptions += needed[at];
    }
    best.map(|(_, decimals)| decimals)
}

/// The fewest decimals that tell this value; neighbours mostly need as many as `guess`.
fn fewest(value: f64, guess: i8) -> Option<i8> {
    if value == 0.0 {
        return Some(FEWEST_DECIMALS);
    }
    let mut decimals = guess;
    while scaled(value, decimals).is_none() {
        decimals += 1;
        if decimals > MOST_DECIMALS {
            return None;
        }
    }
    while decimals > FEWEST_DECIMALS && scaled(value, decimals - 1).is_some() {
        decimals -= 1;
    }
    Some(decimals)
}

/// The sum that tells this value with so many decimals, if one does.
#[expect(clippy::float_cmp, reason = "a float goes as decimals only if it comes back bit for bit")]
fn scaled(value: f64, decimals: i8) -> Option<i64> {
    if decimals >= 0 {
        let power = POWERS[decimals as usize];
        let near = value * power;
        if near.abs() >= EXACT_FLOAT {
            return None;
        }
        // Half away from zero; a wrong turn is caught by the way back.
        let sum = (near + if near < 0.0 { -0.5 } else { 0.5 }) as i64;
        (sum as f64 / power == value).then_some(sum)
    } else {
        if value.abs() >= EXACT_FLOAT {
            return None;
        }
        let (whole, power) = (value as i64, WHOLE_POWERS[-decimals as usize] as i64);
        (whole as f64 == value && whole % power == 0).then(|| whole / power)
    }
}

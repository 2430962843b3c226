//! `INTERVAL '5' MINUTE`: a length of time, in microseconds.

use sqlparser::ast::{DateTimeField, Expr as Ast, Interval, Value as Literal};

use super::query::Planner;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
const MAX: i64 = 366 * DAY;
const USUAL: &str = "write INTERVAL '5' MINUTE; the units are MILLISECOND, SECOND, MINUTE, HOUR and DAY";

impl Planner<'_> {
    pub fn interval(&mut self, ast: &Ast) -> Option<i64> {
        let at = self.words.of(ast);
        let Ast::Interval(interval) = ast else {
            self.fault(at, "this is the place of an interval", USUAL);
            return None;
        };
        let length = match length(interval) {
            Ok(length) => length,
            Err(what) => {
                self.fault(at, what, USUAL);
                return None;
            }
        };
        if !(1..=i128::from(MAX)).contains(&length) {
            self.fault(at, "an interval of this length is not supported", "it is above nothing and up to 366 days");
            return None;
        }
        Some(length as i64)
    }
}

fn length(interval: &Interval) -> Result<i128, &'static str> {
    if interval.last_field.is_some() {
        return Err("an interval in two units is not supported");
    }
    let unit = match &interval.leading_field {
        Some(DateTimeField::Millisecond | DateTimeField::Milliseconds) => 1_000,
        Some(DateTimeField::Second | DateTimeField::Seconds) => SECOND,
        Some(DateTimeField::Minute | DateTimeField::Minutes) => 60 * SECOND,
        Some(DateTimeField::Hour | DateTimeField::Hours) => 3_600 * SECOND,
        Some(DateTimeField::Day | DateTimeField::Days) => DAY,
        Some(DateTimeField::Month | DateTimeField::Months | DateTimeField::Year | DateTimeField::Years) => {
            return Err("months and years are not all of one length");
        }
        Some(_) => return Err("an interval in this unit is not supported"),
        None => return Err("the interval has no unit"),
    };
    let text = match &*interval.value {
        Ast::Value(value) => match &value.value {
            Literal::SingleQuotedString(text) | Literal::Number(text, _) => text.trim(),
            _ => return Err("the length of an interval is a number"),
        },
        _ => return Err("the length of an interval is a number"),
    };
    decimal(text, unit).ok_or("the length of an interval is a number of whole microseconds")
}

/// `1.5` of a unit, exactly.
fn decimal(text: &str, unit: i64) -> Option<i128> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() + part.len() > 18 || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let scale = 10_i128.pow(part.len() as u32);
    let scaled = format!("{whole}{part}").parse::<i128>().ok()? * i128::from(unit);
    (scaled % scale == 0).then_some(scaled / scale)
}

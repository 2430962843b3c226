//! Event times as sensors write them: numbers in one of four units, RFC 3339, civil time.
//!
//! Without a `time_unit` a number tells its unit by its size. The four ranges do not meet between March 1973 and
//! the year 5138:
//!
//! ```text
//!   |n| < 10^11  seconds    < 10^14  milliseconds    < 10^17  microseconds    else nanoseconds
//! ```
//!
//! A civil time without a zone is UTC. What the years −9999 to 9999 do not hold is a fault, and so is `inf`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::TimeUnit;
use super::gather::Scalar;
use crate::reading::Micros;

/// Why a value is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TimeFault {
    #[error("{0} is not a time; send RFC 3339, or a number of s, ms, µs or ns since 1970")]
    NotATime(String),
    #[error("{0} is outside the years -9999 to 9999; is time_unit right?")]
    OutOfRange(String),
}

/// Reads a time; `unit` is for numbers.
pub(super) fn read(value: Scalar<'_>, unit: Option<TimeUnit>) -> Result<Micros, TimeFault> {
    let micros = match value {
        Scalar::I64(n) => whole(n.into(), unit),
        Scalar::U64(n) => whole(n.into(), unit),
        Scalar::F64(n) => fraction(n, unit),
        Scalar::Bool(_) => return Err(TimeFault::NotATime(value.shown())),
        Scalar::Text(text) => return self::text(text.trim(), unit),
    };
    micros.ok_or_else(|| TimeFault::OutOfRange(value.shown()))
}

fn text(text: &str, unit: Option<TimeUnit>) -> Result<Micros, TimeFault> {
    let out_of_range = || TimeFault::OutOfRange(Scalar::Text(text).shown());
    if let Ok(n) = text.parse::<i128>() {
        return whole(n, unit).ok_or_else(out_of_range);
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && let Ok(n) = text.parse::<f64>()
    {
        return fraction(n, unit).ok_or_else(out_of_range);
    }
    moment(text).ok_or_else(|| TimeFault::NotATime(Scalar::Text(text).shown()))
}

fn whole(n: i128, unit: Option<TimeUnit>) -> Option<Micros> {
    let micros = match unit.unwrap_or_else(|| by_size(n as f64)) {
        TimeUnit::Seconds => n.checked_mul(1_000_000)?,
        TimeUnit::Millis => n.checked_mul(1_000)?,
        TimeUnit::Micros => n,
        TimeUnit::Nanos => n.div_euclid(1_000),
    };
    in_range(i64::try_from(micros).ok()?)
}

/// Rounds to the microsecond: a double of today's seconds is good to a quarter of one.
fn fraction(n: f64, unit: Option<TimeUnit>) -> Option<Micros> {
    let micros = match unit.unwrap_or_else(|| by_size(n)) {
        TimeUnit::Seconds => n * 1e6,
        TimeUnit::Millis => n * 1e3,
        TimeUnit::Micros => n,
        TimeUnit::Nanos => n / 1e3,
    };
    // A cast of what is too large saturates, which is out of range too; only NaN would pass for 1970.
    if micros.is_nan() { None } else { in_range(micros.round() as i64) }
}

fn by_size(n: f64) -> TimeUnit {
    match n.abs() {
        n if n < 1e11 => TimeUnit::Seconds,
        n if n < 1e14 => TimeUnit::Millis,
        n if n < 1e17 => TimeUnit::Micros,
        _ => TimeUnit::Nanos,
    }
}

fn in_range(micros: i64) -> Option<Micros> {
    Some(Micros(micros)).filter(|time| is_in_range(*time))
}

/// Whether the calendar holds it.
pub(super) fn is_in_range(time: Micros) -> bool {
    (Timestamp::MIN.as_microsecond()..=Timestamp::MAX.as_microsecond()).contains(&time.0)
}

fn moment(text: &str) -> Option<Micros> {
    let at = match text.parse::<Timestamp>() {
        Ok(at) => at,
        // A civil time is read only where no zone is written: the parser would pass over one.
        Err(_) if zoned(text) => return None,
        Err(_) => TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok()?,
    };
    Some(Micros(at.as_microsecond()))
}

/// Whether anything behind the date looks like a zone or an offset.
fn zoned(text: &str) -> bool {
    text.find([':', 'T', 't', ' ']).is_some_and(|date| text[date..].contains(['Z', 'z', '+', '-', '[', '−']))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02T03:04:05.678901Z
    const AT: i64 = 1_767_323_045_678_901;

    fn told(text: &str) -> Result<Micros, TimeFault> {
        read(Scalar::Text(text), None)
    }

    #[test]
    fn numbers_tell_their_unit_by_their_size() {
        for (number, micros) in [
            (1_767_323_045, 1_767_323_045_000_000),
            (1_767_323_045_678, 1_767_323_045_678_000),
            (AT, AT),
            (1_767_323_045_678_901_234, AT),
            (0, 0),
            (-1, -1_000_000),
            (-1_767_323_045_678_901_234, -1_767_323_045_678_902),
            (99_999_999_999, 99_999_999_999_000_000),
            (100_000_000_000, 100_000_000_000_000),
            (100_000_000_000_000, 100_000_000_000_000),
            (100_000_000_000_000_000, 100_000_000_000_000),
        ] {
            assert_eq!(read(Scalar::I64(number), None), Ok(Micros(micros)), "{number}");
            assert_eq!(told(&number.to_string()), Ok(Micros(micros)), "{number} as text");
        }
        assert_eq!(read(Scalar::U64(u64::MAX), None), Ok(Micros(18_446_744_073_709_551)));
    }

    #[test]
    fn fractions_keep_their_microseconds() {
        for (number, micros) in [
            (1_767_323_045.678_901, AT),
            (1_767_323_045_678.901, AT),
            (1_767_323_045_678_901.0, AT),
            (1_767_323_045.000_001, 1_767_323_045_000_001),
            (0.5, 500_000),
            (-0.000_001, -1),
        ] {
            assert_eq!(read(Scalar::F64(number), None), Ok(Micros(micros)), "{number}");
        }
        assert_eq!(told("1767323045.678901"), Ok(Micros(AT)));
        assert_eq!(told(" 1.767323045678901e9 "), Ok(Micros(AT)));
    }

    #[test]
    fn a_unit_that_is_given_is_taken_at_its_word() {
        for (unit, micros) in [
            (TimeUnit::Seconds, 5_000_000_000),
            (TimeUnit::Millis, 5_000_000),
            (TimeUnit::Micros, 5_000),
            (TimeUnit::Nanos, 5),
        ] {
            assert_eq!(read(Scalar::I64(5_000), Some(unit)), Ok(Micros(micros)));
            assert_eq!(read(Scalar::F64(5_000.0), Some(unit)), Ok(Micros(micros)));
            assert_eq!(read(Scalar::Text("5000"), Some(unit)), Ok(Micros(micros)));
        }
    }

    #[test]
    fn written_times_are_read_with_and_without_a_zone() {
        for text in [
            "2026-01-02T03:04:05.678901Z",
            "2026-01-02t03:04:05.678901z",
            "2026-01-02 03:04:05.678901Z",
            "2026-01-02T03:04:05.678901234Z",
            "2026-01-02T04:04:05.678901+01:00",
            "2026-01-01T21:34:05.678901-05:30",
            "2026-01-02T03:04:05.678901",
            "2026-01-02 03:04:05.678901",
            " 2026-01-02 03:04:05,678901 ",
        ] {
            assert_eq!(told(text), Ok(Micros(AT)), "{text}");
        }
        assert_eq!(told("2026-01-02"), Ok(Micros(1_767_312_000_000_000)));
        assert_eq!(told("1969-12-31T23:59:59.5Z"), Ok(Micros(-500_000)));
    }

    #[test]
    fn what_is_no_time_is_named() {
        for text in ["", "yesterday", "nan", "inf", "12:30", "2026-13-01T00:00:00Z", "2026-01-02T03:04:05+99:00"] {
            assert!(matches!(told(text), Err(TimeFault::NotATime(_))), "{text}");
        }
        // With its offset it lies after the year 9999; without it, it would not.
        assert!(told("9999-12-31T23:59:59-12:00").is_err());
        assert!(matches!(read(Scalar::Bool(true), None), Err(TimeFault::NotATime(_))));
    }

    #[test]
    fn what_is_beyond_the_calendar_is_named() {
        let seconds = Some(TimeUnit::Seconds);
        for value in [
            Scalar::I64(1_767_323_045_678),
            Scalar::I64(i64::MIN),
            Scalar::U64(u64::MAX),
            Scalar::F64(1e300),
            Scalar::F64(f64::INFINITY),
            Scalar::F64(f64::NAN),
            Scalar::Text("1e999"),
            Scalar::Text("99999999999999999999999999999999999999"),
        ] {
            assert!(matches!(read(value, seconds), Err(TimeFault::OutOfRange(_))), "{value:?}");
        }
        assert_eq!(
            read(Scalar::F64(1e300), None).unwrap_err().to_string(),
            "1e300 is outside the years -9999 to 9999; is time_unit right?"
        );
    }
}

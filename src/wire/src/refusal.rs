//! Why bytes were not taken for a record.

use core::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not begin with D9 D9 F7.
    NotARecord,
    /// It ends in the middle of something.
    Truncated,
    /// There are bytes behind its end.
    TrailingBytes,
    /// Something else stands where this was expected.
    Expected(&'static str),
    /// A version this program does not know.
    UnknownVersion(u64),
    /// A codec this program does not know.
    UnknownCodec,
    /// A key the format does not have, or has once.
    UnknownKey,
    /// A key is missing.
    Missing(&'static str),
    /// `size` is over the limit of a reader.
    TooLarge(u64),
    /// More readings or cells than a reader takes.
    TooMany,
    /// Columns of one group differ in length.
    UnequalColumns,
    /// A sum of deltas lies outside −2^63 … 2^64−1.
    OutOfRange,
    /// Offsets do not rise.
    OffsetsNotRising,
    /// `first`, `last`, `count` or `size` is not what the body holds.
    Mismatch(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord => f.write_str("not a record in the columns format: it does not begin with D9 D9 F7"),
            Self::Truncated => f.write_str("the record is cut off"),
            Self::TrailingBytes => f.write_str("there are bytes behind the end of the record"),
            Self::Expected(what) => write!(f, "{what} was expected"),
            Self::UnknownVersion(version) => write!(f, "version {version} of the columns format; this reads version 1"),
            Self::UnknownCodec => f.write_str("a codec other than zstd and none"),
            Self::UnknownKey => f.write_str("a key that the format does not have there, or twice"),
            Self::Missing(key) => write!(f, "the key {key} is missing"),
            Self::TooLarge(size) => write!(f, "a body of {size} bytes, and a reader takes 64 MiB"),
            Self::TooMany => {
                f.write_str("more than 4 million readings or 16 million cells, and a reader takes no more")
            }
            Self::UnequalColumns => f.write_str("columns of one group differ in length"),
            Self::OutOfRange => f.write_str("a sum of deltas lies outside 64 bits"),
            Self::OffsetsNotRising => f.write_str("offsets do not rise"),
            Self::Mismatch(what) => write!(f, "{what} is not what the body holds"),
        }
    }
}

impl core::error::Error for Refusal {}

//! Faults made on purpose, for the rig in `tests/power-cut`: gateways that are wrong, which it must find out or it finds
//! nothing, and places to die at.
//!
//! All but the names of the places is compiled with the feature `faults` alone, which only the rig asks for; one build has
//! them all, and the environment says what lives:
//!
//! | variable | value |
//! | --- | --- |
//! | `TIDEGATE_MUTANT` | the name of a mutant, such as `no-fsync` |
//! | `TIDEGATE_GENERATION_BYTES` | the bytes after which a generation is full: small ones come and go all the time |
//! | `TIDEGATE_POINT` | the socket of whoever says at which point this life ends |

#[cfg(feature = "faults")]
mod end;
#[cfg(feature = "faults")]
mod mutant;
mod point;

#[cfg(feature = "faults")]
pub use self::mutant::Mutant;
pub use self::point::Point;

/// The variable that makes generations small.
#[cfg(feature = "faults")]
pub const GENERATION_BYTES: &str = "TIDEGATE_GENERATION_BYTES";

/// The bytes after which a generation is full, where the environment says so.
#[cfg(feature = "faults")]
#[must_use]
pub fn generation_bytes() -> Option<u64> {
    let text = std::env::var(GENERATION_BYTES).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{GENERATION_BYTES} is {text}, and should be a number")))
}

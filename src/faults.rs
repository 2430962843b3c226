//! Gateways that are wrong on purpose: the power-cut rig must find each of them out, or it finds nothing.
//!
//! Compiled with the feature `faults` alone, which only the rig asks for; one build has all of them, and the
//! environment says which lives:
//!
//! | variable | value |
//! | --- | --- |
//! | `TIDEGATE_MUTANT` | the name of a mutant, such as `no-fsync` |
//! | `TIDEGATE_GENERATION_BYTES` | the bytes after which a generation is full: small ones come and go all the time |

use std::sync::OnceLock;

/// One order of writing that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A commit without the `fdatasync`: with what sled calls a flush alone.
    NoFsync,
    /// An acknowledgement before the fsync of what it acknowledges.
    AckFirst,
    /// New names that no fsync of their directory makes durable.
    NoDirectoryFsync,
    /// Cursors saved behind what is still on the road.
    CursorsFirst,
    /// A checkpoint on stable storage before the rows that it counts.
    CheckpointFirst,
    /// The fold's position without the state that belongs to it.
    PositionAlone,
}

impl Mutant {
    pub const ALL: [Self; 6] = [
        Self::NoFsync,
        Self::AckFirst,
        Self::NoDirectoryFsync,
        Self::CursorsFirst,
        Self::CheckpointFirst,
        Self::PositionAlone,
    ];
    /// The variable that says which one lives.
    pub const VARIABLE: &str = "TIDEGATE_MUTANT";

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoFsync => "no-fsync",
            Self::AckFirst => "ack-first",
            Self::NoDirectoryFsync => "no-directory-fsync",
            Self::CursorsFirst => "cursors-first",
            Self::CheckpointFirst => "checkpoint-first",
            Self::PositionAlone => "position-alone",
        }
    }

    /// Whether this process is that mutant. A name that no mutant has must not pass for a sound gateway.
    #[must_use]
    pub fn lives(self) -> bool {
        static LIVING: OnceLock<Option<Mutant>> = OnceLock::new();
        let living = LIVING.get_or_init(|| {
            let name = std::env::var(Self::VARIABLE).ok()?;
            let named = Self::ALL.into_iter().find(|mutant| mutant.name() == name);
            Some(named.unwrap_or_else(|| panic!("there is no mutant {name}")))
        });
        *living == Some(self)
    }
}

/// The variable that makes generations small.
pub const GENERATION_BYTES: &str = "TIDEGATE_GENERATION_BYTES";

/// The bytes after which a generation is full, where the environment says so.
#[must_use]
pub fn generation_bytes() -> Option<u64> {
    let text = std::env::var(GENERATION_BYTES).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{GENERATION_BYTES} is {text}, and should be a number")))
}

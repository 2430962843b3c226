//! Gateways that are wrong on purpose.

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
    /// A start that takes what can be read for durable, behind a sync that failed.
    NoRenewal,
}

impl Mutant {
    pub const ALL: [Self; 7] = [
        Self::NoFsync,
        Self::AckFirst,
        Self::NoDirectoryFsync,
        Self::CursorsFirst,
        Self::CheckpointFirst,
        Self::PositionAlone,
        Self::NoRenewal,
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
            Self::NoRenewal => "no-renewal",
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

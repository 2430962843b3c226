//! The fold between its logs: a writer, the windows, and a store that loses what was not synced.

mod crashes;
mod expected;
mod going_on;
mod life;

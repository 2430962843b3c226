//! Which gateway is tested and measured; shared with the benches.

use std::process::Command;

/// The binary under test: the one that cargo built, unless `TIDEGATE_TEST_GATEWAY` has the words that start another,
/// such as `qemu-aarch64-static -L /usr/aarch64-linux-gnu tidegate`.
pub fn binary() -> Command {
    let other = std::env::var("TIDEGATE_TEST_GATEWAY").unwrap_or_default();
    let mut words = other.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(env!("CARGO_BIN_EXE_tidegate")));
    command.args(words);
    command
}

//! The Rust firmware for a Cortex-M3, on qemu.

use super::board::Board;
use super::peer::Peer;
use super::{sensor, tools};

const TOOLS: &[&str] = &[
    "/usr/bin/cargo",
    "/usr/bin/rustc",
    "/usr/lib/rustlib/src/rust/library/core/Cargo.toml",
    "arm-none-eabi-ld",
    "qemu-system-arm",
];

/// A board that takes a reading every 10 ms.
pub fn cortex() -> Option<Board> {
    tools::there(TOOLS).then(|| Board::cortex_m(&tools::cortex(10)))
}

/// A board that takes a reading every 100 ms: what it holds is enough for six seconds.
pub fn slow_cortex() -> Option<Board> {
    tools::there(TOOLS).then(|| Board::cortex_m(&tools::cortex(100)))
}

#[test]
fn the_cortex_greets_until_it_is_acknowledged() {
    let Some(board) = cortex() else { return };
    sensor::greets_until_it_is_acknowledged(&board.port, "lm3s-1");
}

#[test]
fn the_cortex_sends_again_until_it_is_acknowledged() {
    let Some(board) = cortex() else { return };
    sensor::sends_again_until_it_is_acknowledged(&board.port);
}

#[test]
fn the_cortex_loses_nothing_by_resets() {
    let Some(mut board) = cortex() else { return };
    sensor::loses_nothing_by_resets(&mut board);
}

#[test]
fn the_cortex_survives_noise() {
    let Some(board) = cortex() else { return };
    sensor::survives_noise(&board.port);
}

#[test]
fn the_cortex_tells_what_it_dropped() {
    let Some(board) = cortex() else { return };
    sensor::tells_what_it_dropped(&board.port);
}

#[test]
fn the_cortex_sends_what_its_converter_says() {
    let Some(board) = cortex() else { return };
    let mut peer = Peer::attach(&board.port);
    peer.greet();
    let mut values = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let (seq, reading) = peer.reading();
        peer.acknowledge(seq);
        values.insert(reading.mv);
    }
    // qemu has no pins: its converter gives 512 to 519 of 1024 steps of 3 V, at random.
    let steps: std::collections::BTreeSet<u64> = (512..520).map(|step| (step * 3_000 + 512) / 1_024).collect();
    assert!(values.len() > 3 && values.is_subset(&steps), "{values:?}");
}

#[test]
fn a_boot_of_the_cortex_is_like_no_other_even_when_power_was_gone() {
    let Some(mut board) = cortex() else { return };
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..4 {
        let mut peer = Peer::attach(&board.port);
        for _ in 0..2 {
            let (nonce, _) = peer.greet();
            assert!(nonces.insert(nonce), "{nonce:#x} was drawn before");
            board.reset();
        }
        board.unplug();
        board.plug_in();
    }
}

//! The Arduino Uno: the ELF file that is flashed, on libsimavr.

use std::process::Command;
use std::time::Instant;

use serde_json::Value as Json;

use super::board::{Board, PATIENCE};
use super::line::Line;
use super::peer::Peer;
use super::{sensor, tools};

/// What a program for the Uno is built with and runs in.
pub const TOOLS: &[&str] = &[
    "make",
    "cc",
    "avr-gcc",
    "avr-objcopy",
    "/usr/lib/avr/include/avr/io.h",
    "/usr/include/simavr/sim_avr.h",
    "/usr/include/libelf.h",
];

/// An Uno that takes a reading every 15 ms: its line carries twice as many.
pub fn uno(lines: bool) -> Option<Board> {
    if !tools::there(TOOLS) {
        return None;
    }
    let words: &[&str] = if lines { &["JSON=1", "PERIOD_MS=15"] } else { &["PERIOD_MS=15", "RESEND_MS=200"] };
    let out = tools::make("avr-c", if lines { "avr-c-lines" } else { "avr-c" }, words);
    Some(Board::uno(&out.join(if lines { "lines.elf" } else { "sensor.elf" })))
}

/// An Uno that takes a reading every 100 ms: what it holds is enough for six seconds.
pub fn slow_uno() -> Option<Board> {
    let words = ["PERIOD_MS=100", "RESEND_MS=200"];
    tools::there(TOOLS).then(|| Board::uno(&tools::make("avr-c", "avr-c-slow", &words).join("sensor.elf")))
}

#[test]
fn what_knows_nothing_of_the_board_is_tested_without_one() {
    if tools::there(&["make", "cc"]) {
        let vectors = format!("VECTORS={}", tools::vectors().display());
        let out = format!("OUT={}", tools::out("avr-c-test").display());
        let mut command = Command::new("make");
        let said = tools::run(command.arg("-C").arg(tools::example("avr-c")).args(["test", &vectors, &out]));
        assert!(said.contains(" vectors\n") && said.contains("the outbox holds\n"), "{said}");
    }
}

#[test]
fn the_uno_greets_until_it_is_acknowledged() {
    let Some(board) = uno(false) else { return };
    sensor::greets_until_it_is_acknowledged(&board.port, "uno-1");
}

#[test]
fn the_uno_sends_again_until_it_is_acknowledged() {
    let Some(board) = uno(false) else { return };
    sensor::sends_again_until_it_is_acknowledged(&board.port);
}

#[test]
fn the_uno_loses_nothing_by_resets() {
    let Some(mut board) = uno(false) else { return };
    sensor::loses_nothing_by_resets(&mut board);
}

#[test]
fn the_uno_survives_noise() {
    let Some(board) = uno(false) else { return };
    sensor::survives_noise(&board.port);
}

#[test]
fn the_uno_tells_what_it_dropped() {
    let Some(board) = uno(false) else { return };
    sensor::tells_what_it_dropped(&board.port);
}

#[test]
fn the_uno_sends_the_voltage_of_its_pin() {
    let Some(mut board) = uno(false) else { return };
    let mut peer = Peer::attach(&board.port);
    peer.greet();
    for fed in [0, 5, 712, 2_500, 4_321, 5_000] {
        board.voltage(0, fed);
        board.voltage(1, 1_111);
        let until = Instant::now() + PATIENCE;
        loop {
            let (seq, reading) = peer.reading();
            peer.acknowledge(seq);
            // A step of the converter is 4.9 mV, and the simulator has 1023 of them, where the chip has 1024.
            if reading.mv.abs_diff(u64::from(fed)) <= 10 {
                break;
            }
            assert!(Instant::now() < until, "{fed} mV were put on A0, not {reading:?}");
        }
    }
}

#[test]
fn noise_on_the_way_from_the_uno_costs_no_frame() {
    let Some(mut board) = uno(false) else { return };
    let mut peer = Peer::attach(&board.port);
    peer.greet();
    // In pieces without an end, so that some hit a frame, which then comes again, and the others none.
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 200 {
        let (seq, reading) = peer.reading();
        seen.insert(reading.n);
        peer.acknowledge(seq);
        if reading.n % 10 == 0 {
            board.noise(&[0x55, 0xAA, seq as u8]);
        }
    }
    let until = Instant::now() + PATIENCE;
    while *seen.last().unwrap() >= seen.len() as u64 {
        assert!(Instant::now() < until, "some of {seen:?} are missing");
        let (seq, reading) = peer.reading();
        seen.insert(reading.n);
        peer.acknowledge(seq);
    }
    assert!(peer.faults >= 20, "{} pieces were no frames", peer.faults);
}

#[test]
fn a_boot_is_like_no_other_even_when_power_was_gone() {
    let Some(mut board) = uno(false) else { return };
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..5 {
        let mut peer = Peer::attach(&board.port);
        let (nonce, _) = peer.greet();
        assert!(nonces.insert(nonce), "{nonce:#x} was drawn before");
        let (_, reading) = peer.reading();
        assert_eq!(reading.n, 0, "memory was empty: {reading:?}");
        board.unplug();
        board.plug_in();
    }
}

#[test]
fn the_uno_sends_lines_of_json() {
    let Some(mut board) = uno(true) else { return };
    board.voltage(0, 1_234);
    let mut line = Line::open(&board.port);
    let (mut text, mut lines) = (Vec::new(), Vec::<Json>::new());
    let until = Instant::now() + PATIENCE;
    while lines.len() < 100 {
        assert!(Instant::now() < until, "{lines:?}");
        text.extend(line.read(until));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let one: Vec<u8> = text.drain(..=end).collect();
            lines.push(serde_json::from_slice(&one).unwrap());
        }
    }
    for pair in lines.windows(2) {
        assert_eq!(pair[1]["n"].as_u64().unwrap(), pair[0]["n"].as_u64().unwrap() + 1);
        let between = pair[1]["up_ms"].as_u64().unwrap() - pair[0]["up_ms"].as_u64().unwrap();
        assert!((14..=16).contains(&between), "{pair:?}");
    }
    assert!(lines.last().unwrap()["mv"].as_u64().unwrap().abs_diff(1_234) <= 10, "{lines:?}");
}

#[test]
fn a_reader_that_comes_late_finds_whole_lines_behind_what_was_lost() {
    let Some(mut board) = uno(true) else { return };
    let until = Instant::now() + PATIENCE;
    while board.lost() < 1_000 {
        assert!(Instant::now() < until, "the buffers never fill");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut line = Line::open(&board.port);
    let (mut text, mut broken) = (String::new(), 0);
    let (mut first, mut last) = (None, 0);
    while last < first.unwrap_or(0) + 500 {
        assert!(Instant::now() < until + PATIENCE, "{last} of {first:?} and more; {text}");
        text += std::str::from_utf8(&line.read(until + PATIENCE)).unwrap();
        while let Some((one, rest)) = text.split_once('\n') {
            match serde_json::from_str::<Json>(one) {
                Ok(reading) => last = reading["n"].as_u64().unwrap(),
                Err(_) => broken += 1,
            }
            first.get_or_insert(last);
            text = rest.to_owned();
        }
    }
    assert!(broken <= 1, "one is cut where the loss was, not {broken}");
}

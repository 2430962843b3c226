//! How fast frames come out of what a line brings: `cargo bench --bench frames`.

use std::hint::black_box;
use std::time::Instant;

use tidegate_wire::frame::{Deframer, Frame, Kind};

/// What is asked for, million bytes a second.
const LEAST: f64 = 100.0;
const ROUNDS: u32 = 50;
/// As much as a line is read at once.
const PORTION: usize = 4096;

fn main() {
    for (what, payload) in [
        ("a reading in JSON", br#"{"temp":21.5,"hum":48,"n":123456,"ok":true}"#.to_vec()),
        ("4 KiB without a zero", vec![7; 4096]),
        ("4 KiB of zeros", vec![0; 4096]),
    ] {
        let mut line = Vec::new();
        let mut frame = vec![0; Frame::encoded_max(payload.len())];
        for seq in 0..(2 << 20) / frame.len() {
            let length = Frame { kind: Kind::Data, seq: seq as u16, payload: &payload }.encode(&mut frame).unwrap();
            line.extend(&frame[..length]);
        }
        let start = Instant::now();
        let mut frames = 0;
        for _ in 0..ROUNDS {
            frames += deframe(black_box(&line));
        }
        let rate = f64::from(ROUNDS) * line.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("{what}: {rate:.0} MB/s (at least {LEAST}), {frames} frames");
    }
}

fn deframe(line: &[u8]) -> usize {
    let mut deframer = Deframer::<8192>::default();
    let mut frames = 0;
    for mut portion in line.chunks(PORTION) {
        while let Some(frame) = deframer.next(&mut portion) {
            frames += usize::from(black_box(frame).is_ok());
        }
    }
    frames
}

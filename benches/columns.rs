//! What a reading costs on the wire, and how fast it is packed: `cargo bench --bench columns`.

use std::hint::black_box;
use std::time::Instant;

use tidegate::batch::read::read_record;
use tidegate_wire::{decode_body, encode_body};

#[path = "../tests/support/readings.rs"]
mod readings;

/// What wire.md asks for, bytes a reading.
const SIZES: [(usize, f64); 2] = [(1_000, 4.6), (50_000, 3.0)];
const ROUNDS: u32 = 10;

fn main() {
    for (count, most) in SIZES {
        let rows = readings::rows(count);
        let record = readings::record(&rows, 3);
        let size = record.len() as f64 / count as f64;
        println!("{count:>6} readings, columns + zstd 3: {size:.2} bytes each (at most {most})");
    }
    let rows = readings::rows(50_000);
    let (record, body) = (readings::record(&rows, 3), encode_body(&rows));
    let (envelope, _) = tidegate_wire::decode_record(&record).unwrap();
    speed("columns encoded", rows.len(), || encode_body(&rows).len());
    speed("columns decoded", rows.len(), || decode_body(&envelope, &body).unwrap().len());
    speed("records made with zstd 3", rows.len(), || readings::record(&rows, 3).len());
    speed("records read", rows.len(), || read_record(&record).unwrap().rows.len());
}

fn speed(what: &str, readings: usize, run: impl Fn() -> usize) {
    black_box(run());
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(run());
    }
    let rate = f64::from(ROUNDS) * readings as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("{what}: {rate:.1} million readings/s");
}

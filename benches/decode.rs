//! How fast payloads become readings on one core: `cargo bench --bench decode`.
//!
//! Beside each rate stands how long a payload takes as a multiple of what `serde_json` takes to read the same JSON into a
//! struct, round by round in turn: that ratio is the same on a slow day.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use tidegate::decode::{Decoder, Format, Payload};

/// What is asked for of JSON, million payloads a second.
const LEAST: f64 = 1.5;
const PAYLOADS: usize = 1_000;
const ROUNDS: usize = 500;
const DEVICES: usize = 20;

fn main() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut four = |time: bool| -> Vec<Bytes> {
        let payload = |n| {
            let time = if time { format!(r#""ts":{},"#, 1_767_323_045_000 + n) } else { String::new() };
            let (temp, hum) = (random.i32(1_800..2_600), random.i32(300..700));
            format!(
                r#"{{{time}"temp":{}.{:02},"hum":{}.{},"n":{},"ok":{}}}"#,
                temp / 100,
                temp % 100,
                hum / 10,
                hum % 10,
                123_456 + n,
                random.bool()
            )
        };
        (0..PAYLOADS).map(payload).map(Bytes::from).collect()
    };
    let (plain, timed) = (four(false), four(true));
    println!("asked for: {LEAST} million payloads/s of JSON, such as {}", String::from_utf8_lossy(&plain[0]));
    let json = Payload::default();
    let json_timed = Payload { time: Some("ts".to_owned()), ..json.clone() };
    let cbor_timed = Payload { format: Format::Cbor, ..json_timed.clone() };
    let cbor: Vec<_> = timed.iter().map(|payload| Bytes::from(to_cbor(payload))).collect();
    speed("json, four fields", &json, &plain, &plain);
    speed("json, four fields and the time", &json_timed, &timed, &timed);
    speed("cbor, four fields and the time", &cbor_timed, &cbor, &timed);
}

fn to_cbor(json: &[u8]) -> Vec<u8> {
    serde_cbor::to_vec(&serde_json::from_slice::<serde_json::Value>(json).unwrap()).unwrap()
}

/// As a program would read it that knows these payloads and no others.
#[derive(Deserialize)]
struct Bare {
    #[serde(rename = "ts")]
    _time: Option<i64>,
    #[serde(rename = "temp")]
    _temp: f64,
    #[serde(rename = "hum")]
    _hum: f64,
    #[serde(rename = "n")]
    _n: u64,
    #[serde(rename = "ok")]
    _ok: bool,
}

fn speed(what: &str, settings: &Payload, payloads: &[Bytes], same_in_json: &[Bytes]) {
    let mut decoder = Decoder::new("plant".into(), "sensors/#", Some("sensors/{device}/telemetry"), settings).unwrap();
    let topics: Vec<_> = (0..DEVICES).map(|n| format!("sensors/device-{n}/telemetry")).collect();
    let mut decode = || {
        for (n, payload) in payloads.iter().enumerate() {
            let delivery = decoder.decode(black_box(&topics[n % DEVICES]), black_box(payload));
            assert_eq!(delivery.readings[0].fields.len(), 4);
            black_box(delivery);
        }
    };
    let parse = || {
        for payload in same_in_json {
            black_box(serde_json::from_slice::<Bare>(black_box(payload)).unwrap());
        }
    };
    let took = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let (mut decoding, mut parsing): (Vec<_>, Vec<_>) =
        (0..ROUNDS).map(|_| (took(&mut decode), took(&mut &parse))).unzip();
    let rate = payloads.len() as f64 / median(&mut decoding).as_secs_f64() / 1e6;
    let ratio = median(&mut decoding).as_secs_f64() / median(&mut parsing).as_secs_f64();
    println!("{what}: {rate:.2} million payloads/s, {ratio:.1} times a bare parse");
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

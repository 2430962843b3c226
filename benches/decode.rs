//! How fast payloads become readings on one core: `cargo bench --bench decode`.

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use tidegate::decode::{Decoder, Format, Payload};

/// What is asked for of JSON, million payloads a second.
const LEAST: f64 = 1.5;
const PAYLOADS: usize = 1_000;
const ROUNDS: u32 = 500;
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
    let json = Payload::default();
    println!("{}", String::from_utf8_lossy(&timed[0]));
    speed("json, four fields", &json, &plain, LEAST);
    speed("json, four fields and the time", &Payload { time: Some("ts".to_owned()), ..json.clone() }, &timed, LEAST);
    let cbor = Payload { format: Format::Cbor, time: Some("ts".to_owned()), ..json };
    let timed: Vec<_> = timed.iter().map(|payload| Bytes::from(to_cbor(payload))).collect();
    speed("cbor, four fields and the time", &cbor, &timed, LEAST);
}

fn to_cbor(json: &[u8]) -> Vec<u8> {
    serde_cbor::to_vec(&serde_json::from_slice::<serde_json::Value>(json).unwrap()).unwrap()
}

fn speed(what: &str, payload: &Payload, payloads: &[Bytes], least: f64) {
    let mut decoder = Decoder::new("plant".into(), "sensors/#", Some("sensors/{device}/telemetry"), payload).unwrap();
    let topics: Vec<_> = (0..DEVICES).map(|n| format!("sensors/device-{n}/telemetry")).collect();
    let mut round = || {
        for (n, payload) in payloads.iter().enumerate() {
            let delivery = decoder.decode(black_box(&topics[n % DEVICES]), black_box(payload));
            assert_eq!(delivery.readings[0].fields.len(), 4);
            black_box(delivery);
        }
    };
    round();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        round();
    }
    let rate = f64::from(ROUNDS) * payloads.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("{what}: {rate:.2} million payloads/s (at least {least})");
}

//! Frames: golden bytes, there and back, and what a line does to them.

use tidegate_wire::frame::{Deframer, Fault, Frame, Hello, Kind};

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = vec![0xAA; Frame::encoded_max(frame.payload.len())];
    let length = frame.encode(&mut out).expect("there is room");
    out.truncate(length);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The vectors that every implementation, in whatever language, is held against.
#[test]
fn each_vector_is_written_byte_for_byte_and_read_back() {
    let vectors = include_str!("../../../tests/vectors/frames.txt");
    let mut count = 0;
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, seq, payload, frame] = words[..] else { panic!("{line}") };
        let kind = [Kind::Data, Kind::Ack, Kind::Hello][kind.parse::<usize>().unwrap() - 1];
        let payload = unhex(payload.trim_start_matches('-'));
        let frame_is = Frame { kind, seq: seq.parse().unwrap(), payload: &payload };
        assert_eq!(hex(&encoded(&frame_is)), frame, "{line}");
        let mut bytes = unhex(frame);
        assert_eq!(bytes.pop(), Some(0));
        assert_eq!(Frame::decode(&mut bytes), Ok(frame_is), "{line}");
        count += 1;
    }
    assert!(count >= 10, "{count}");
}

/// A generator that is the same everywhere (Steele et al., `SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> usize {
        (self.next() % n) as usize
    }

    /// Mostly zeros, mostly none, or anything.
    fn payload(&mut self, length: usize) -> Vec<u8> {
        let style = self.below(3);
        let byte = |random: &mut Self| match style {
            0 => u8::from(random.below(10) == 0),
            1 => 1 + random.below(255) as u8,
            _ => random.next() as u8,
        };
        (0..length).map(|_| byte(self)).collect()
    }
}

#[test]
fn frames_of_any_length_come_back_and_hold_no_zero_and_no_more_than_was_said() {
    let mut random = Random(1);
    for length in (0..600).chain([4_000, 65_536]) {
        let payload = random.payload(length);
        let frame = Frame { kind: Kind::Data, seq: length as u16, payload: &payload };
        let mut bytes = encoded(&frame);
        assert_eq!(bytes.pop(), Some(0));
        assert!(!bytes.contains(&0) && bytes.len() < Frame::encoded_max(length));
        assert_eq!(Frame::decode(&mut bytes), Ok(frame));
    }
}

#[test]
fn a_buffer_that_is_too_small_is_never_overrun() {
    let payload = Random(2).payload(300);
    let frame = Frame { kind: Kind::Hello, seq: 7, payload: &payload };
    let length = encoded(&frame).len();
    for room in 0..length {
        assert_eq!(frame.encode(&mut vec![0; room]), None, "{room} of {length}");
    }
    assert_eq!(frame.encode(&mut vec![0; length]), Some(length));
}

#[test]
fn a_changed_bit_is_found_out() {
    let payload = b"{\"temp\":21.5}";
    let good = encoded(&Frame { kind: Kind::Data, seq: 258, payload });
    for at in 0..good.len() - 1 {
        for bit in 0..8 {
            let mut bad = good[..good.len() - 1].to_vec();
            bad[at] ^= 1 << bit;
            // A byte that became 00 is an end: then two pieces are left, and neither is a frame.
            let mut deframer = Deframer::<64>::default();
            let mut line: &[u8] = &[&bad[..], &[0]].concat();
            while let Some(found) = deframer.next(&mut line) {
                assert!(found.is_err(), "bit {bit} of byte {at}");
            }
        }
    }
    assert_eq!(Frame::decode(&mut []), Err(Fault::Short));
    assert_eq!(Frame::decode(&mut [9, 1, 1]), Err(Fault::Cut));
}

#[test]
fn anything_at_all_is_read_or_refused() {
    let mut random = Random(3);
    for _ in 0..20_000 {
        let length = random.below(40);
        let mut bytes: Vec<u8> = (0..length).map(|_| 1 + random.below(255) as u8).collect();
        let _ = Frame::decode(&mut bytes);
    }
}

#[test]
fn a_line_with_noise_costs_only_the_frames_it_hits() {
    let mut random = Random(4);
    for _ in 0..300 {
        let mut line = Vec::new();
        let mut sent = Vec::new();
        for seq in 0..20 {
            let length = random.below(80);
            let payload = random.payload(length);
            if random.below(4) == 0 {
                let noise = 1 + random.below(200);
                line.extend((0..noise).map(|_| 1 + random.below(255) as u8));
                line.push(0);
            }
            line.extend(encoded(&Frame { kind: Kind::Data, seq, payload: &payload }));
            sent.push((seq, payload));
        }
        let mut deframer = Deframer::<100>::default();
        let mut found = Vec::new();
        let mut rest = &line[..];
        while !rest.is_empty() {
            let (portion, later) = rest.split_at(rest.len().min(1 + random.below(50)));
            let mut portion = portion;
            while let Some(frame) = deframer.next(&mut portion) {
                if let Ok(frame) = frame {
                    found.push((frame.seq, frame.payload.to_vec()));
                }
            }
            rest = later;
        }
        assert_eq!(found, sent);
    }
}

#[test]
fn a_frame_longer_than_the_buffer_is_told_once_and_the_next_is_whole() {
    let long = encoded(&Frame { kind: Kind::Data, seq: 1, payload: &[5; 90] });
    let short = encoded(&Frame { kind: Kind::Ack, seq: 2, payload: &[] });
    let line = [&long[..], &short, &[0, 0], &short].concat();
    let mut deframer = Deframer::<16>::default();
    let mut rest = &line[..];
    assert_eq!(deframer.next(&mut rest), Some(Err(Fault::Long)));
    let ack = Frame { kind: Kind::Ack, seq: 2, payload: &[] };
    assert_eq!(deframer.next(&mut rest), Some(Ok(ack)));
    assert_eq!(deframer.next(&mut rest), Some(Ok(ack)));
    assert_eq!(deframer.next(&mut rest), None);
    let mut half = &short[..3];
    assert_eq!(deframer.next(&mut half), None);
    deframer.reset();
    assert_eq!(deframer.next(&mut &short[..]), Some(Ok(ack)));
}

#[test]
fn a_hello_comes_back() {
    let hello = Hello { boot_nonce: 0xDEAD_BEEF, device: "boiler-ü" };
    let mut payload = [0; 40];
    let length = hello.write(&mut payload).unwrap();
    assert_eq!(Hello::read(&payload[..length]), Some(hello));
    assert_eq!(hello.write(&mut payload[..length - 1]), None);
    assert_eq!(Hello::read(&[1, 2, 3]), None);
    assert_eq!(Hello::read(&[1, 2, 3, 4, 0xFF]), None);
}

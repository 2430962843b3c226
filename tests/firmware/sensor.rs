//! What every example that sends frames keeps to, seen from the other end of the line.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use super::board::{Board, PATIENCE};
use super::peer::{Heard, Peer};

/// HELLO is the first that is said, and all that is said until it is acknowledged.
pub fn greets_until_it_is_acknowledged(board: &Board, name: &str) {
    let mut peer = Peer::attach(&board.port);
    let hello = peer.hear();
    let Heard::Hello { seq, nonce, device } = hello.clone() else { panic!("{hello:?} came first") };
    assert_eq!((seq, &*device), (nonce as u16, name));
    // What is acknowledged from before a reset means nothing.
    peer.acknowledge(seq.wrapping_sub(1));
    peer.acknowledge(seq.wrapping_add(1));
    for _ in 0..2 {
        assert_eq!(peer.hear(), hello);
    }
    peer.acknowledge(seq);
    let mut next = seq;
    for _ in 0..10 {
        let (seq, reading) = peer.reading();
        next = next.wrapping_add(1);
        assert_eq!(seq, next, "{reading:?}");
        peer.acknowledge(seq);
    }
}

/// What is not acknowledged is sent again as it was; what is, is not.
pub fn sends_again_until_it_is_acknowledged(board: &Board) {
    let mut peer = Peer::attach(&board.port);
    peer.greet();
    let mut first = BTreeMap::new();
    let (mut acknowledged, mut again) = (HashSet::new(), 0);
    let until = Instant::now() + PATIENCE;
    while again < 20 {
        assert!(Instant::now() < until, "{again} of 20 came again");
        let Heard::Data { seq, payload } = peer.hear() else { continue };
        assert!(!acknowledged.contains(&seq), "{seq} was acknowledged");
        if let Some(before) = first.insert(seq, payload.clone()) {
            assert_eq!(before, payload, "{seq} is sent again as it was");
            again += 1;
        }
        // One in three has to be sent twice. What is on the line may cross its acknowledgement, so those that were
        // sent again are left alone from here on.
        if seq % 3 != 0 && acknowledged.len() < 200 {
            peer.acknowledge(seq);
            acknowledged.insert(seq);
        }
    }
}

/// Resets after each number of readings from 0 to 70, some of them not yet acknowledged: none is missing at the end,
/// and no boot is like another.
pub fn loses_nothing_by_resets(board: &mut Board) {
    let mut peer = Peer::attach(&board.port);
    let (mut nonces, mut boots_of) = (HashSet::new(), BTreeMap::<u64, u32>::new());
    for readings in 0..=70 {
        let (nonce, _) = peer.greet();
        assert!(nonces.insert(nonce), "{nonce:#x} was drawn before");
        for index in 1..=readings {
            let (seq, reading) = peer.reading();
            assert_eq!(reading.dropped, 0, "there was room for all");
            assert!(reading.n < 10_000, "{reading:?} of boot {readings}, frame {index}");
            let boots = boots_of.entry(reading.n).or_default();
            *boots += 1;
            // Every other reading of the last forty is acknowledged only when a reset has lain between.
            if reading.n % 2 == 0 || *boots > 1 || index + 40 < readings {
                peer.acknowledge(seq);
            }
        }
        board.reset();
    }
    peer.greet();
    let last = *boots_of.last_key_value().unwrap().0;
    let until = Instant::now() + PATIENCE;
    while boots_of.len() as u64 <= last && Instant::now() < until {
        let (seq, reading) = peer.reading();
        boots_of.entry(reading.n).or_default();
        peer.acknowledge(seq);
    }
    let missing: Vec<_> = (0..=last).filter(|n| !boots_of.contains_key(n)).collect();
    assert!(missing.is_empty(), "of {last} readings these are missing: {missing:?}");
    assert!(last > 500, "{last}");
}

/// Noise, broken frames and strange acknowledgements on the line to the sensor cost nothing.
pub fn survives_noise(board: &Board) {
    let mut peer = Peer::attach(&board.port);
    peer.greet();
    let mut random = fastrand::Rng::with_seed(7);
    for n in 0..100 {
        let (seq, reading) = peer.reading();
        assert_eq!((reading.n, reading.dropped), (n, 0));
        let length = random.usize(..30);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        peer.write(&noise);
        peer.acknowledge(seq.wrapping_add(1_000));
        // The end of the frame before is the end of the noise.
        peer.acknowledge(seq);
    }
}

/// While nobody answers the oldest readings go, and each later one says how many went.
pub fn tells_what_it_dropped(board: &Board) {
    let mut peer = Peer::attach(&board.port);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        // Long enough for the readings of a second to find no room.
        peer.hear_within(until.saturating_duration_since(Instant::now()));
    }
    peer.greet();
    let mut seen = HashSet::new();
    loop {
        let (seq, reading) = peer.reading();
        peer.acknowledge(seq);
        seen.insert(reading.n);
        let missing = reading.n + 1 - seen.len() as u64;
        if seen.len() > 150 {
            // One that went while it was on the line was dropped as far as the sensor knows.
            assert!(missing > 0 && (missing..missing + 10).contains(&reading.dropped), "{missing}: {reading:?}");
            return;
        }
    }
}

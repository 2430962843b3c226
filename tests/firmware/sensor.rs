//! What every example that sends frames keeps to, seen from the other end of the line.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use super::board::{Board, PATIENCE};
use super::peer::{Heard, Peer};

/// HELLO is the first that is said, and all that is said until it is acknowledged.
pub fn greets_until_it_is_acknowledged(port: &Path, name: &str) {
    let mut peer = Peer::attach(port);
    let hello = peer.hear();
    let Heard::Hello { seq: first, nonce, device } = hello.clone() else { panic!("{hello:?} came first") };
    assert_eq!((first, &*device), (nonce as u16, name));
    // What is acknowledged from before a reset means nothing.
    peer.acknowledge(first.wrapping_sub(1));
    peer.acknowledge(first.wrapping_add(1));
    for _ in 0..2 {
        assert_eq!(peer.hear(), hello);
    }
    peer.acknowledge(first);
    let mut newest = 0;
    while newest < 10 {
        let (seq, reading) = peer.reading();
        peer.acknowledge(seq);
        let number = seq.wrapping_sub(first);
        assert!(number <= newest + 1, "{number} follows {newest}: {reading:?}");
        newest = newest.max(number);
    }
}

/// What is not acknowledged is sent again as it was; what is, is not.
pub fn sends_again_until_it_is_acknowledged(port: &Path) {
    let mut peer = Peer::attach(port);
    peer.greet();
    let mut first = BTreeMap::new();
    let (mut acknowledged, mut again, mut in_vain) = (HashSet::new(), 0, 0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) || again < 20 {
        assert!(start.elapsed() < PATIENCE, "{again} of 20 came again");
        let Heard::Data { seq, payload } = peer.hear() else { continue };
        if let Some(before) = first.insert(seq, payload.clone()) {
            assert_eq!(before, payload, "{seq} is sent again as it was");
            again += 1;
        }
        in_vain += usize::from(acknowledged.contains(&seq));
        if seq % 3 != 0 {
            peer.acknowledge(seq);
            acknowledged.insert(seq);
        }
    }
    // On a machine with other things to do, some acknowledgements cross what they acknowledge.
    assert!(acknowledged.len() > 20 && in_vain < acknowledged.len() / 4, "{in_vain} of {}", acknowledged.len());
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
pub fn survives_noise(port: &Path) {
    let mut peer = Peer::attach(port);
    peer.greet();
    let mut random = fastrand::Rng::with_seed(7);
    let mut next = 0;
    while next < 100 {
        let (seq, reading) = peer.reading();
        assert_eq!(reading.dropped, 0);
        assert!(reading.n <= next, "{next} is missing: {reading:?}");
        next = next.max(reading.n + 1);
        let length = random.usize(..30);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        peer.write(&noise);
        // The end of this frame is the end of the noise.
        peer.acknowledge(seq.wrapping_add(1_000));
        peer.acknowledge(seq);
    }
}

/// While nobody answers the oldest readings go, and each later one says how many went.
pub fn tells_what_it_dropped(port: &Path) {
    let mut peer = Peer::attach(port);
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

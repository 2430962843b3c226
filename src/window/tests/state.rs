//! The state: its size, its pieces, and what happens to it when the configuration changes.

use super::*;

fn with(spec: Spec, pieces: &[Vec<u8>]) -> (Windows, Vec<(String, usize)>) {
    let (windows, lost) = Windows::restore(vec![spec], pieces).unwrap();
    (windows, lost.into_iter().map(|lost| (lost.window.to_string(), lost.open)).collect())
}

/// A thousand readings, each of a device of its own.
fn many(log: &mut Log, second: i64, devices: std::ops::Range<usize>) -> Group {
    let time = Some(MIDNIGHT + second * SECOND);
    let fields = || vec![("x".into(), Value::F64(second as f64 + 0.25))];
    let entries = devices.map(|n| reading("plant", &format!("device-{n}"), time, fields()));
    let entries = entries.collect();
    log.stamped(second * SECOND, entries)
}

#[test]
fn a_delta_is_as_large_as_what_changed() {
    let mut spec = spec();
    spec.max_groups = 100_000;
    spec.plan.shape = Shape::Tumble { size: 86_400 * SECOND };
    let (mut log, mut windows) = (Log::default(), Windows::new(vec![spec.clone()]));
    windows.apply(&many(&mut log, 1, 0..10_000));
    let whole = windows.changes().len();
    assert!(whole < 10_000 * 140, "{whole} bytes for 10,000 groups");
    windows.apply(&many(&mut log, 2, 77..78));
    let one = windows.changes().len();
    assert!(one < 300, "{one} bytes for one group");
    assert!(windows.changes().len() < 200, "nothing changed");
}

#[test]
fn a_delta_of_long_hops_holds_the_slices_that_changed() {
    let mut spec = spec();
    spec.plan.shape = Shape::Hop { slide: 60 * SECOND, size: 86_400 * SECOND };
    let (mut log, mut windows) = (Log::default(), Windows::new(vec![spec.clone()]));
    for minute in 0..1000 {
        windows.apply(&many(&mut log, minute * 60, 0..1));
    }
    windows.changes();
    windows.apply(&many(&mut log, 60_000, 0..1));
    let delta = windows.changes().len();
    assert!(delta < 300, "{delta} bytes for one slice of 1,000");
}

#[test]
fn a_snapshot_comes_in_pieces_and_any_number_of_them_restores() {
    let mut spec = spec();
    spec.max_groups = 100_000;
    let (mut log, mut windows) = (Log::default(), Windows::new(vec![spec.clone()]));
    windows.apply(&many(&mut log, 1, 0..10_000));
    let pieces: Vec<_> = windows.snapshot().collect();
    assert!(pieces.len() > 3, "{} pieces", pieces.len());
    assert!(pieces.iter().all(|piece| piece.len() <= (256 << 10) + 1024));
    let (mut restored, lost) = with(spec, &pieces);
    assert_eq!(lost, []);
    let next = many(&mut log, 16, 0..10_000);
    let folded = restored.apply(&next);
    assert_eq!(folded.rows.len(), 10_000);
    assert_eq!(folded, windows.apply(&next));
}

#[test]
fn a_window_with_another_query_starts_anew_and_the_others_keep_what_they_have() {
    let (mut first, mut second) = (spec(), spec());
    second.name = "v".into();
    let mut log = Log::default();
    let mut windows = Windows::new(vec![first.clone(), second.clone()]);
    windows.apply(&log.group("1 a 1 x=1 ; b 2 x=1 ; b 13 x=1"));
    let pieces = [windows.changes()];

    first.sql = "another".into();
    second.watermark = 0;
    let (mut windows, lost) = Windows::restore(vec![first, second], &pieces).unwrap();
    assert_eq!(lost, [Lost { window: "w".into(), open: 3 }]);
    let rows = windows.apply(&log.group("2 a 21 x=1 ; b 21 x=1")).rows;
    let windows: Vec<_> = rows.iter().map(|row| (&*row.window, &*row.device)).collect();
    assert_eq!(windows, [("v", "a"), ("v", "b"), ("v", "b")]);
}

#[test]
fn other_lengths_of_time_lose_no_window_and_open_none_again() {
    for (before, after) in [((5, 20), (0, 20)), ((0, 20), (30, 20)), ((5, 20), (5, 1)), ((5, 1), (5, 200))] {
        for mut spec in [spec(), of_all()] {
            let set = |spec: &mut Spec, (watermark, idle): (i64, i64)| {
                (spec.watermark, spec.idle_timeout) = (watermark * SECOND, idle * SECOND);
            };
            let mut log = Log::default();
            set(&mut spec, before);
            let mut windows = Windows::new(vec![spec.clone()]);
            windows.apply(&log.group("0 up plant"));
            let first = windows.apply(&log.group("1 a 1 x=1 ; a 13 x=1"));
            let second = windows.apply(&log.group("10 tick"));
            let mut rows = [first.rows, second.rows].concat();
            let mut pieces = vec![windows.changes()];

            set(&mut spec, after);
            let mut windows = with(spec.clone(), &pieces).0;
            pieces.push(windows.changes());
            let mut windows = with(spec, &pieces).0;
            for event in ["11 a 2 x=1", "12 a 29 x=1", "13 a 99 x=1", "14 end"] {
                rows.extend(windows.apply(&log.group(event)).rows);
            }
            let mut ends: Vec<_> = rows.iter().map(|row| seconds(row.end)).collect();
            ends.sort_unstable();
            assert_eq!(ends, [10, 20, 30, 100], "{before:?} {after:?}");
        }
    }
}

#[test]
fn a_window_that_was_away_for_a_while_does_not_come_back_from_the_dead() {
    let mut log = Log::default();
    let mut other = spec();
    other.sql = "another".into();
    let mut windows = Windows::new(vec![spec()]);
    windows.apply(&log.group("1 a 1 x=1"));
    let mut pieces = vec![windows.changes()];

    let (mut windows, lost) = with(other, &pieces);
    assert_eq!(lost, [("w".to_owned(), 1)]);
    windows.apply(&log.group("2 a 2 x=1"));
    pieces.push(windows.changes());

    let (mut windows, lost) = with(spec(), &pieces);
    assert_eq!(lost, [("w".to_owned(), 1)], "the other's; the first one's was said before");
    assert_eq!(show(&windows.apply(&log.group("3 a 3 x=1 ; a 16 x=1"))), "a [0, 10) n=1 sum=1");
}

#[test]
fn what_closed_is_not_lost() {
    let mut log = Log::default();
    let mut windows = Windows::new(vec![spec()]);
    windows.apply(&log.group("1 a 1 x=1 ; a 12 x=1"));
    let mut pieces = vec![windows.changes()];
    windows.apply(&log.group("2 a 16 x=1"));
    pieces.push(windows.changes());
    let (_, lost) = Windows::restore(Vec::new(), &pieces).unwrap();
    assert_eq!(lost, [Lost { window: "w".into(), open: 1 }]);
}

#[test]
fn bytes_that_are_no_state_are_refused() {
    let mut log = Log::default();
    let mut windows = Windows::new(vec![spec()]);
    windows.apply(&log.group("1 a 1 x=1 ; b 2 x=2.5"));
    let good = windows.changes();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let _ = Windows::restore(vec![spec()], [&bad]);
        let _ = Windows::restore(vec![spec()], [&good[..at]]);
    }
    assert!(Windows::restore(vec![spec()], [&b"nonsense"[..]]).is_err());
}

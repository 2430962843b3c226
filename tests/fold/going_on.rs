//! What becomes of the fold from one start to the next, and of what it may not keep to itself.

use std::sync::Arc;
use std::time::Duration;

use tidegate::clock::Clock;
use tidegate::config::Config;
use tidegate::queue::entry::Stamp;
use tidegate::queue::{Cursor, Cursors, Entry, Queue, Span, Store, StreamCursors};
use tidegate::reading::{Micros, Reading, Series, Value};
use tokio::time::Instant;

use super::expected;
use super::life::{Life, Named, all, config};
use crate::support::lossy::LossyStore;

const SECOND: i64 = 1_000_000;

fn counting(name: &str, seconds: u32) -> String {
    format!(
        "[[window]]\nname = \"{name}\"\nwatermark = \"1s\"\ncheckpoint_interval = \"2s\"\nidle_timeout = \"5s\"\nsql = \"SELECT device, COUNT(*) AS n \
         FROM readings GROUP BY device, TUMBLE(time, INTERVAL '{seconds}' SECOND)\"\n"
    )
}

fn reading(device: &str, second: i64) -> Reading {
    let series = Series { source: "plant".into(), device: device.into(), ..Series::default() };
    Reading { time: Some(Micros(second * SECOND)), series: Arc::new(series), fields: vec![("x".into(), Value::I64(1))] }
}

struct World {
    store: Arc<dyn Store>,
    lossy: Arc<LossyStore>,
    clock: Clock,
}

/// The first second.
const T: i64 = 1_800_000_000;

impl World {
    fn new() -> Self {
        let lossy = Arc::new(LossyStore::default());
        Self { store: lossy.clone(), lossy, clock: Clock::hand(Micros(T * SECOND)) }
    }

    async fn start(&self, config: &Config) -> Life {
        let mut life = Life::begin(&self.store, &self.clock, config).unwrap();
        assert!(life.up() && life.folded().await);
        life
    }

    /// Adds a reading of each of these seconds to the log while no fold looks.
    fn grow(&self, generation_bytes: u64, seconds: std::ops::Range<i64>) {
        let (queue, mut appenders) = Queue::open(self.store.clone(), self.clock.now(), generation_bytes).unwrap();
        for second in seconds {
            let entry = Entry::Reading { reading: reading("press", T + second), age: 0 };
            let stamp = Stamp { received: (T + second) * SECOND, boot: "boot".into(), mono: 0, synced: true };
            appenders.readings.append(queue.identity.epoch, stamp, vec![entry]).unwrap();
            appenders.readings.sync().unwrap();
        }
    }

    /// Commits a reading of each of these seconds, and has them folded.
    async fn commit(&self, life: &mut Life, device: &str, seconds: impl IntoIterator<Item = i64>) {
        for second in seconds {
            assert!(life.commit(reading(device, T + second)).await);
        }
        assert!(life.folded().await);
    }
}

/// Window, device, end in seconds since the first, and the count.
fn counted((_, _, row): &Named) -> (String, String, i64, Value) {
    let name = row.series.window.as_ref().unwrap().to_string();
    let (_, count) = row.fields.iter().find(|(name, _)| &**name == "n").unwrap();
    (name, row.series.device.to_string(), row.time.unwrap().0 / SECOND - T, count.clone())
}

fn rows(life: &Life) -> Vec<(String, String, i64, Value)> {
    all(&life.queue.rows).iter().map(counted).collect()
}

/// From, to and count of each gap that was told.
fn gaps(life: &Life) -> Vec<[Value; 3]> {
    let field = |gap: &Reading, name| gap.fields.iter().find(|(field, _)| &**field == name).unwrap().1.clone();
    all(&life.queue.notes).iter().map(|(.., gap)| ["from", "to", "count"].map(|name| field(gap, name))).collect()
}

fn row(window: &str, end: i64, n: i64) -> (String, String, i64, Value) {
    (window.to_owned(), "press".to_owned(), end, Value::I64(n))
}

#[tokio::test(start_paused = true)]
async fn a_window_of_a_day_goes_on_through_a_hundred_starts() {
    let world = World::new();
    let config = config(&counting("day", 86_400));
    for hour in 0..100 {
        world.clock.turn(3_600 * SECOND);
        let mut life = world.start(&config).await;
        world.commit(&mut life, "press", [3_600 * hour]).await;
        life.end().await;
    }
    let mut life = world.start(&config).await;
    assert!(life.finish().await);
    // T is 08:00 UTC; days end at midnight.
    let day = |days: i64, n| row("day", 3_600 * (16 + 24 * days), n);
    assert_eq!(rows(&life), [day(0, 16), day(1, 24), day(2, 24), day(3, 24), day(4, 12)]);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_never_lives_for_a_second_gets_on_all_the_same() {
    let world = World::new();
    let config = config(&counting("w", 10));
    for second in 0..40 {
        world.clock.turn(SECOND);
        let life = Life::begin(&world.store, &world.clock, &config).unwrap();
        assert!(life.up() && life.commit(reading("press", T + second)).await);
        tokio::time::sleep(Duration::from_millis(300)).await;
        life.end().await;
    }
    let life = Life::begin(&world.store, &world.clock, &config).unwrap();
    assert_eq!(rows(&life), [row("w", 10, 10), row("w", 20, 10), row("w", 30, 10)]);
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_with_another_query_starts_anew_and_the_others_keep_what_is_open() {
    let world = World::new();
    let mut life = world.start(&config(&(counting("kept", 10) + &counting("changed", 10)))).await;
    world.commit(&mut life, "press", 0..5).await;
    life.end().await;
    let mut life = world.start(&config(&(counting("kept", 10) + &counting("changed", 20)))).await;
    assert_eq!(life.metrics.window_lost.with_label_values(&["changed"]).get(), 1);
    assert_eq!(life.metrics.window_lost.with_label_values(&["kept"]).get(), 0);
    world.commit(&mut life, "press", 5..8).await;
    assert!(life.finish().await);
    assert_eq!(rows(&life), [row("kept", 10, 8), row("changed", 20, 3)]);
}

#[tokio::test(start_paused = true)]
async fn windows_that_were_taken_out_for_a_while_begin_where_they_come_back() {
    let world = World::new();
    let with = config(&counting("w", 10));
    let mut life = world.start(&with).await;
    world.commit(&mut life, "press", 0..2).await;
    life.end().await;
    let life = Life::begin(&world.store, &world.clock, &config("")).unwrap();
    for second in 2..5 {
        assert!(life.commit(reading("press", T + second)).await);
    }
    assert_eq!(life.metrics.window_lost.with_label_values(&["w"]).get(), 1);
    life.end().await;
    let mut life = world.start(&with).await;
    world.commit(&mut life, "press", 5..9).await;
    assert!(life.finish().await);
    // What came meanwhile is in the log still, and is folded; what was open before is lost.
    assert_eq!(rows(&life), [row("w", 10, 7)]);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_rots_costs_what_was_open_and_nothing_twice() {
    let world = World::new();
    let config = config(&counting("w", 10));
    let mut life = world.start(&config).await;
    world.commit(&mut life, "press", 0..25).await;
    let before = rows(&life);
    assert_eq!(before, [row("w", 10, 10), row("w", 20, 10)]);
    life.end().await;
    let newest = world.store.generations("state").unwrap().pop().unwrap();
    let last = world.lossy.chunks("state", newest).pop().unwrap();
    world.lossy.rot("state", newest, last, |bytes| bytes[40] ^= 1);
    let mut life = world.start(&config).await;
    world.commit(&mut life, "press", 25..30).await;
    assert!(life.finish().await);
    assert_eq!(rows(&life), [before, vec![row("w", 30, 5)]].concat());
}

#[tokio::test(start_paused = true)]
async fn silence_closes_a_window_while_a_source_is_connected() {
    let world = World::new();
    let mut life = world.start(&config(&counting("w", 10))).await;
    world.commit(&mut life, "press", 0..3).await;
    let mut shown = life.queue.rows.watch();
    let closed = shown.wait_for(|shown| shown.offset > 0);
    tokio::pin!(closed);
    for _ in 0..30 {
        // The wall clock goes by hand, the ticks by the runtime's.
        world.clock.turn(SECOND);
        if tokio::time::timeout(Duration::from_secs(1), &mut closed).await.is_ok() {
            assert_eq!(rows(&life), [row("w", 10, 3)]);
            return;
        }
    }
    panic!("the window stays open");
}

#[tokio::test(start_paused = true)]
async fn rows_are_there_within_two_seconds_and_a_state_without_rows_at_the_interval() {
    let world = World::new();
    let life = world.start(&config(&counting("w", 10))).await;
    let begun = Instant::now();
    assert!(life.commit(reading("press", T)).await);
    let mut folded = life.folded.clone();
    let end = life.queue.readings.durable().offset;
    folded.wait_for(|folded| *folded >= end).await.unwrap();
    let waited = begun.elapsed();
    // The interval is 2 s, counted from the commit at the start.
    assert!((Duration::from_millis(900)..Duration::from_millis(2_100)).contains(&waited), "{waited:?}");
    let begun = Instant::now();
    assert!(life.commit(reading("press", T + 30)).await);
    life.queue.rows.watch().wait_for(|shown| shown.offset > 0).await.unwrap();
    assert!(begun.elapsed() <= Duration::from_millis(1_100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_has_what_was_folded_committed_at_once() {
    let world = World::new();
    let mut slow = config(&counting("w", 10));
    slow.windows[0].checkpoint_interval = Duration::from_hours(1);
    let life = world.start(&slow).await;
    let mut folded = life.folded.clone();
    for sheds in [true, false] {
        assert!(life.commit(reading("press", T)).await);
        let end = life.queue.readings.durable().offset;
        let is_folded = |folded: &u64| *folded >= end;
        tokio::time::timeout(Duration::from_mins(1), folded.wait_for(is_folded)).await.unwrap_err();
        // Whether it gives up readings or holds back sources, what is folded and committed makes room.
        if sheds {
            life.ask_to_shed(end);
        } else {
            life.hold_back();
        }
        tokio::time::timeout(Duration::from_secs(1), folded.wait_for(is_folded)).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn where_only_rows_are_delivered_a_late_reading_goes_among_them_as_it_is() {
    for (readings, late, expected) in [("none", "forward", 1), ("none", "drop", 0), ("all", "forward", 0)] {
        let world = World::new();
        let window = counting("w", 10) + &format!("late = \"{late}\"\n[forward]\nreadings = \"{readings}\"\n");
        let mut life = world.start(&config(&window)).await;
        world.commit(&mut life, "press", [0, 30, 1]).await;
        assert!(life.finish().await);
        let (late, rows): (Vec<_>, _) =
            all(&life.queue.rows).into_iter().partition(|(.., row)| row.series.window.is_none());
        assert_eq!(rows.iter().map(counted).collect::<Vec<_>>(), [row("w", 10, 1), row("w", 40, 1)]);
        assert_eq!(late.len(), expected, "{readings} {window}");
        for (.., reading) in late {
            assert_eq!((&*reading.series.source, &*reading.series.device), ("plant", "press"));
            assert_eq!(reading.series.tags, [("late".into(), "true".into())]);
            assert_eq!(
                (reading.time, reading.fields),
                (Some(Micros((T + 1) * SECOND)), vec![("x".into(), Value::I64(1))])
            );
        }
        assert_eq!(life.metrics.window_exceptions.with_label_values(&["w", "late"]).get(), 1);
        life.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_the_log_is_told_of_by_the_fold_where_no_one_else_reads_it() {
    for (readings, expected) in [("none", 1), ("all", 0)] {
        let world = World::new();
        let window = counting("w", 10) + &format!("[forward]\nreadings = \"{readings}\"\n");
        let life = world.start(&config(&window)).await;
        let chunk = life.queue.readings.durable().chunk;
        life.end().await;
        world.grow(6_000, 0..3);
        world.lossy.rot("readings", 1, chunk + 1, |bytes| bytes[40] ^= 1);
        let mut life = world.start(&config(&window)).await;
        assert!(life.finish().await);
        assert_eq!(rows(&life), [row("w", 10, 2)]);
        assert_eq!(life.metrics.window_unread.get(), 1);
        assert_eq!(gaps(&life).len(), expected, "readings = {readings}");
        life.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_cannot_be_opened_at_a_start_is_told_of_as_well() {
    for (readings, rotten, expected) in [("none", false, 1), ("none", true, 1), ("all", false, 0)] {
        let world = World::new();
        let window = config(&(counting("w", 10) + &format!("[forward]\nreadings = \"{readings}\"\n")));
        let mut life = world.start(&window).await;
        world.commit(&mut life, "press", [0]).await;
        let (folded, epoch) = (*life.folded.borrow(), life.queue.identity.epoch);
        life.end().await;
        // Meanwhile the log has grown by some generations that no fold has seen.
        world.grow(300, 1..20);
        let numbers = world.store.generations("readings").unwrap();
        assert!(numbers.len() > 3, "{numbers:?}");
        for number in &numbers[..2] {
            world.lossy.break_generation("readings", *number);
        }
        if rotten {
            let newest = world.store.generations("state").unwrap().pop().unwrap();
            let last = world.lossy.chunks("state", newest).pop().unwrap();
            world.lossy.rot("state", newest, last, |bytes| bytes[40] ^= 1);
        }
        let mut life = world.start(&window).await;
        let begin = life.queue.readings.oldest().unwrap().offset;
        assert!(begin > folded);
        assert_eq!(life.metrics.window_unread.get(), begin - folded, "{readings} {rotten}");
        let told = [folded, begin - 1, begin - folded].map(|n| Value::I64(n as i64));
        assert_eq!(gaps(&life), vec![told; expected], "{readings} {rotten}");
        // Of the epoch that is known to have been, not of the one that has just been drawn.
        let drawn = life.queue.identity.epoch;
        for (.., gap) in all(&life.queue.notes) {
            let told = expected::integer(&gap, "from_epoch") as u64;
            assert!(told < drawn && (rotten || told == epoch), "{told}");
        }
        assert!(life.finish().await);
        life.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reading_for_which_there_is_no_group_goes_among_the_rows_as_it_is() {
    for (readings, expected) in [("none", vec!["pump", "fan"]), ("all", vec![])] {
        let world = World::new();
        let window = counting("w", 10) + &format!("max_groups = 1\n[forward]\nreadings = \"{readings}\"\n");
        let mut life = world.start(&config(&window)).await;
        for device in ["press", "pump", "fan", "press"] {
            world.commit(&mut life, device, [1]).await;
        }
        assert!(life.finish().await);
        let (aside, rows): (Vec<_>, _) =
            all(&life.queue.rows).into_iter().partition(|(.., row)| row.series.window.is_none());
        assert_eq!(rows.iter().map(counted).collect::<Vec<_>>(), [row("w", 10, 2)]);
        let devices: Vec<_> = aside.iter().map(|(.., reading)| &*reading.series.device).collect();
        assert_eq!(devices, expected, "readings = {readings}");
        let tags = [("overflow".into(), "true".into())];
        assert!(aside.iter().all(|(.., reading)| reading.series.tags == tags && reading.fields.len() == 1));
        assert_eq!(life.metrics.window_exceptions.with_label_values(&["w", "group_overflow"]).get(), 2);
        life.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_from_before_rows_that_were_delivered_is_not_gone_on_from() {
    let world = World::new();
    let config = config(&counting("w", 10));
    let mut life = world.start(&config).await;
    world.commit(&mut life, "press", 0..25).await;
    let before = all(&life.queue.rows);
    assert_eq!(before.len(), 2);
    life.end().await;
    // All that tells of the newest checkpoint is gone, but for how far the rows were delivered.
    let newest = world.store.generations("state").unwrap().pop().unwrap();
    let chunks = world.lossy.chunks("state", newest);
    for chunk in &chunks[2..] {
        world.lossy.rot("state", newest, *chunk, Vec::clear);
    }
    world.store.mark(b"rotten").unwrap();
    let delivered = Cursor { done: 2, prev: Some(before[1].0) };
    let spans = vec![Span { from: 0, base: 0, lanes: 1 }];
    let rows = StreamCursors { spans, lanes: [(0, delivered)].into(), passes_from: None };
    Cursors { streams: [("rows".to_owned(), rows)].into() }.store(&*world.store).unwrap();
    let mut life = world.start(&config).await;
    assert!(life.finish().await);
    let after = all(&life.queue.rows);
    assert_eq!(after[..2], before, "what was delivered keeps its name");
    life.end().await;
}

#[tokio::test(start_paused = true)]
async fn rows_without_a_checkpoint_are_not_seen_in_a_stopped_gateway_either() {
    let world = World::new();
    let mut life = world.start(&config(&counting("w", 10))).await;
    world.commit(&mut life, "press", 0..25).await;
    let rows = all(&life.queue.rows);
    life.end().await;
    let (queue, mut appenders) = Queue::open(world.store.clone(), world.clock.now(), 6_000).unwrap();
    let stamp = Stamp { received: T * SECOND, boot: "boot".into(), mono: 0, synced: true };
    let entry = Entry::Reading { reading: reading("press", T), age: 0 };
    appenders.rows.append(queue.identity.epoch, stamp, vec![entry]).unwrap();
    appenders.rows.sync().unwrap();
    drop((queue, appenders));
    let looked = Queue::look(world.store.clone()).unwrap();
    assert_eq!(all(&looked.rows), rows);
}

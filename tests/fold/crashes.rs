//! The power goes at every operation of the store: rows are always what the committed readings make up, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tidegate::clock::Clock;
use tidegate::config::Config;
use tidegate::queue::Store;
use tidegate::reading::{Micros, Reading, Series, Value};

use super::expected::{self, WINDOWS};
use super::life::{Life, Named, all, config};
use crate::support::lossy::{LossyStore, Survives};

const START: Micros = Micros(1_800_000_000_000_000);
const READINGS: u64 = 60;

struct World {
    store: Arc<LossyStore>,
    clock: Clock,
    random: Rng,
    /// Readings that were acknowledged.
    acknowledged: u64,
    /// Rows that a reader could see before the power went.
    seen: Vec<Named>,
    config: Config,
    /// Every so many readings are an hour late, and what is folded is let go.
    late: Option<u64>,
    /// Every reading that was in the log, by name, though it may have gone.
    kept: BTreeMap<(u64, u64), Reading>,
}

/// One window, and only rows are wanted; so few groups that some readings find none.
const NARROW: &str = r#"
[forward]
readings = "none"
[[window]]
name = "narrow"
watermark = "1s"
checkpoint_interval = "2s"
max_groups = 3
sql = "SELECT device, COUNT(*) AS n FROM readings GROUP BY device, TUMBLE(time, INTERVAL '1' SECOND)"
"#;

impl World {
    fn new(seed: u64) -> Self {
        let (store, clock, random) = (Arc::default(), Clock::hand(START), Rng::with_seed(seed));
        Self {
            store,
            clock,
            random,
            acknowledged: 0,
            seen: Vec::new(),
            config: config(WINDOWS),
            late: None,
            kept: BTreeMap::new(),
        }
    }

    fn narrow(seed: u64) -> Self {
        Self { config: config(NARROW), late: Some(7), ..Self::new(seed) }
    }

    /// Lives until the script is over or the power goes after so many operations; says whether it got to the end.
    async fn live(&mut self, power: Option<u64>) -> bool {
        self.store.faults.lock().unwrap().power_lasts = power;
        let store: Arc<dyn Store> = self.store.clone();
        let Ok(mut life) = Life::begin(&store, &self.clock, &self.config) else { return false };
        let over = self.play(&mut life).await;
        let seen = all(&life.queue.rows);
        assert!(seen.starts_with(&self.seen), "what was seen once stays");
        self.seen = seen;
        life.end().await;
        over
    }

    async fn play(&mut self, life: &mut Life) -> bool {
        if !life.up() {
            return false;
        }
        while self.acknowledged < READINGS {
            self.clock.turn(200_000);
            if !life.commit(self.reading()).await {
                return false;
            }
            self.acknowledged += 1;
            self.kept.extend(all(&life.queue.readings).into_iter().map(|(name, _, reading)| (name, reading)));
            if self.late.is_some() && life.queue.readings.release(*life.folded.borrow()).is_err() {
                return false;
            }
            // The fold's own time passes too.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        life.finish().await
    }

    /// The next in the script, up to 0.9 s old: out of order, but not late.
    fn reading(&self) -> Reading {
        let n = self.acknowledged;
        let back = match self.late {
            Some(late) if n % late == late - 1 => 3_600_000_000,
            _ => [0, 700_000, 100_000, 0, 900_000, 350_000][n as usize % 6],
        };
        let time = Micros(self.clock.now().wall.0 - back);
        let device = ["press", "pump", "fan"][n as usize % 3];
        let series = Series { source: "plant".into(), device: device.into(), ..Series::default() };
        Reading { time: Some(time), series: Arc::new(series), fields: vec![("x".into(), Value::I64(n as i64))] }
    }

    fn cut(&mut self) {
        let survives = [Survives::Nothing, Survives::Prefix, Survives::Some][self.random.usize(..3)];
        self.store.cut(survives, &mut self.random);
    }

    /// Lives until the script is over, while the power goes after so many operations, and every other time once more,
    /// soon after.
    async fn live_through(&mut self, at: u64) {
        let mut lives = 1;
        let mut power = Some(at);
        while !self.live(power).await {
            self.cut();
            power = (lives == 1 && self.random.bool()).then(|| self.random.u64(..60));
            lives += 1;
        }
        assert!(lives > 1, "the power did not go at {at}");
        self.store.faults.lock().unwrap().power_lasts = None;
    }

    /// Each reading that was committed is counted in a row once, or is among the rows as it is, once.
    async fn check_narrow(&self) {
        let store: Arc<dyn Store> = self.store.clone();
        let life = Life::begin(&store, &self.clock, &self.config).unwrap();
        let (rows, aside): (Vec<_>, Vec<_>) =
            all(&life.queue.rows).into_iter().map(|(.., row)| row).partition(|row| row.series.window.is_some());
        let counted: i64 = rows.iter().map(|row| expected::integer(row, "n")).sum();
        assert!(life.queue.readings.oldest().unwrap().offset > 0, "nothing was let go");
        let mut handed_back: Vec<_> = aside.iter().map(|reading| expected::integer(reading, "x")).collect();
        handed_back.sort_unstable();
        assert_eq!(counted as usize + handed_back.len(), self.kept.len());
        // The last may have been committed twice: its acknowledgement went with the power.
        for late in (6..READINGS as i64).step_by(7) {
            let committed = self.kept.values().filter(|reading| expected::integer(reading, "x") == late).count();
            assert_eq!(handed_back.iter().filter(|x| **x == late).count(), committed, "{late}");
        }
        let overflow = aside.iter().filter(|reading| &*reading.series.tags[0].0 == "overflow").count();
        assert!(overflow > 0, "every reading found a group");
        life.end().await;
    }

    /// Looks at the logs as they are now.
    async fn check(&self) {
        let store: Arc<dyn Store> = self.store.clone();
        let life = Life::begin(&store, &self.clock, &self.config).unwrap();
        let readings = all(&life.queue.readings);
        let mut kept: Vec<_> = readings.iter().map(|(.., reading)| reading.fields[0].1.clone()).collect();
        kept.dedup();
        assert_eq!(kept, (0..READINGS as i64).map(Value::I64).collect::<Vec<_>>());
        let mut rows: Vec<_> = all(&life.queue.rows).iter().map(|(.., reading)| expected::row(reading)).collect();
        let mut expected = expected::rows(&readings);
        for rows in [&mut rows, &mut expected] {
            rows.sort_by_cached_key(|row| format!("{row:?}"));
        }
        assert_eq!(rows, expected);
        life.end().await;
    }
}

/// How many operations a life without a crash takes.
async fn operations(world: &mut World) -> u64 {
    assert!(world.live(Some(u64::MAX)).await);
    u64::MAX - world.store.faults.lock().unwrap().power_lasts.take().unwrap()
}

#[tokio::test(start_paused = true)]
async fn rows_are_what_was_committed_whenever_the_power_goes() {
    let mut world = World::new(0);
    let operations = operations(&mut world).await;
    assert!(operations > 200, "{operations}");
    world.check().await;
    let kept = world.store.generations("state").unwrap();
    assert!(kept.len() <= 3 && kept[0] > 2, "snapshots take the place of what was before: {kept:?}");
    for at in 0..operations {
        let mut world = World::new(at);
        world.live_through(at).await;
        world.check().await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_only_rows_are_wanted_no_reading_is_lost_or_told_twice_whenever_the_power_goes() {
    let operations = operations(&mut World::narrow(0)).await;
    assert!(operations > 200, "{operations}");
    for at in 0..operations {
        let mut world = World::narrow(at);
        world.live_through(at).await;
        world.check_narrow().await;
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_groups_that_close_at_once_are_there_once_whenever_the_power_goes() {
    let operations = u64::MAX - close_ten_thousand(u64::MAX).await;
    assert!(operations >= 8, "{operations}");
    for power in 0..operations {
        assert_eq!(close_ten_thousand(power).await, 0, "the power does not go after {power} of {operations}");
    }
}

/// Closes them with power for so many operations, checks the rows after a start, and says what was left of the power.
async fn close_ten_thousand(power: u64) -> u64 {
    let windows = "[[window]]\nname = \"w\"\nsql = \"SELECT device, COUNT(*) AS n FROM readings \
                   GROUP BY device, TUMBLE(time, INTERVAL '1' HOUR)\"\n";
    let (config, clock, lossy) = (config(windows), Clock::hand(START), Arc::new(LossyStore::default()));
    let store: Arc<dyn Store> = lossy.clone();
    let mut life = Life::begin(&store, &clock, &config).unwrap();
    for thousand in 0..10 {
        let readings = (0..1_000).map(|n| of_device(thousand * 1_000 + n)).collect();
        assert!(life.commit_all(readings).await);
    }
    assert!(life.folded().await);
    lossy.faults.lock().unwrap().power_lasts = Some(power);
    life.finish().await;
    life.end().await;
    lossy.cut(Survives::Prefix, &mut Rng::with_seed(power));
    let left = lossy.faults.lock().unwrap().power_lasts.take().unwrap();
    let mut life = Life::begin(&store, &clock, &config).unwrap();
    assert!(life.finish().await);
    let rows = all(&life.queue.rows);
    life.end().await;
    let devices: BTreeSet<_> = rows.iter().map(|(.., row)| row.series.device.clone()).collect();
    assert_eq!((rows.len(), devices.len()), (10_000, 10_000), "power for {power}");
    assert!(rows.iter().all(|(.., row)| row.fields[1].1 == Value::I64(1)));
    left
}

fn of_device(n: usize) -> Reading {
    let series = Series { source: "plant".into(), device: format!("d{n}").into(), ..Series::default() };
    Reading { time: Some(START), series: Arc::new(series), fields: vec![("x".into(), Value::I64(1))] }
}

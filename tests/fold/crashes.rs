//! The power goes at every operation of the store: rows are always what the committed readings make up, each once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tidegate::clock::Clock;
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
}

impl World {
    fn new(seed: u64) -> Self {
        let (store, clock, random) = (Arc::default(), Clock::hand(START), Rng::with_seed(seed));
        Self { store, clock, random, acknowledged: 0, seen: Vec::new() }
    }

    /// Lives until the script is over or the power goes after so many operations; says whether it got to the end.
    async fn live(&mut self, power: Option<u64>) -> bool {
        self.store.faults.lock().unwrap().power_lasts = power;
        let store: Arc<dyn Store> = self.store.clone();
        let Ok(mut life) = Life::begin(&store, &self.clock, &config(WINDOWS)) else { return false };
        let over = self.play(&mut life).await;
        let seen = all(&life.queue.rows);
        assert!(seen.starts_with(&self.seen), "what was seen once stays");
        self.seen = seen;
        life.end().await;
        over
    }

    async fn play(&mut self, life: &mut Life) -> bool {
        if !life.up().await {
            return false;
        }
        while self.acknowledged < READINGS {
            self.clock.turn(200_000);
            if !life.commit(self.reading()).await {
                return false;
            }
            self.acknowledged += 1;
            // The fold's own time passes too.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        life.finish().await
    }

    /// The next in the script, up to 0.9 s old: out of order, but not late.
    fn reading(&self) -> Reading {
        let n = self.acknowledged;
        let back = [0, 700_000, 100_000, 0, 900_000, 350_000][n as usize % 6];
        let time = Micros(self.clock.now().wall.0 - back);
        let device = ["press", "pump", "fan"][n as usize % 3];
        let series = Series { source: "plant".into(), device: device.into(), ..Series::default() };
        Reading { time: Some(time), series: Arc::new(series), fields: vec![("x".into(), Value::I64(n as i64))] }
    }

    fn cut(&mut self) {
        let survives = [Survives::Nothing, Survives::Prefix, Survives::Some][self.random.usize(..3)];
        self.store.cut(survives, &mut self.random);
    }

    /// Looks at the logs as they are now.
    async fn check(&self) {
        let store: Arc<dyn Store> = self.store.clone();
        let life = Life::begin(&store, &self.clock, &config(WINDOWS)).unwrap();
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
async fn operations() -> u64 {
    let mut world = World::new(0);
    assert!(world.live(Some(u64::MAX)).await);
    let operations = u64::MAX - world.store.faults.lock().unwrap().power_lasts.unwrap();
    world.check().await;
    let kept = world.store.generations("state").unwrap();
    assert!(kept.len() <= 3 && kept[0] > 2, "snapshots take the place of what was before: {kept:?}");
    operations
}

#[tokio::test(start_paused = true)]
async fn rows_are_what_was_committed_whenever_the_power_goes() {
    let operations = operations().await;
    assert!(operations > 200, "{operations}");
    for at in 0..operations {
        let mut world = World::new(at);
        let mut lives = 1;
        let mut power = Some(at);
        while !world.live(power).await {
            world.cut();
            // Every other time it goes once more, soon after.
            power = (lives == 1 && world.random.bool()).then(|| world.random.u64(..60));
            lives += 1;
        }
        assert!(lives > 1, "the power did not go at {at}");
        world.store.faults.lock().unwrap().power_lasts = None;
        world.check().await;
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

//! What rots, and what then becomes of the rest: in memory chunk by chunk, on sled's real files byte by byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate::queue::cursors::{Cursor, StreamCursors};
use tidegate::queue::files::Mark;
use tidegate::queue::{Appenders, Cursors, Queue, SledStore, Store, dead};

use super::{Told, at_second, entry, letter, noise, stamp, told, writer};
use crate::support::lossy::{LossyStore, Survives};
use crate::support::{TempDir, copy_all};

const LOG: &str = "readings";
const GENERATION: u64 = 20_000;

fn open(store: &Arc<LossyStore>) -> (Queue, Appenders) {
    Queue::open(store.clone(), at_second(100), GENERATION).unwrap()
}

/// Commits groups of three, as the writer does, and says which texts have which offsets.
pub fn commit(queue: &mut Queue, appenders: &mut Appenders, groups: u64) {
    for group in 0..groups {
        let texts = (0..3).map(|n| noise(3 * group + n, 1_000));
        let entries = texts.map(|text| entry(&text)).collect();
        appenders.readings.append(queue.identity.epoch, stamp(), entries).unwrap();
        queue.mark.readings = appenders.readings.sync().unwrap();
        queue.mark.store(&*queue.store).unwrap();
    }
}

/// The offsets reported lost.
fn lost(queue: &Queue) -> Vec<u64> {
    told(&queue.readings, 0).into_iter().filter(|(_, said)| said.is_none()).map(|(offset, _)| offset).collect()
}

/// A store with several generations, none of them open.
fn filled(groups: u64) -> (Arc<LossyStore>, u64) {
    let store = Arc::new(LossyStore::default());
    let (mut queue, mut appenders) = open(&store);
    commit(&mut queue, &mut appenders, groups);
    (store, 3 * groups)
}

#[test]
fn a_sealed_generation_that_lost_its_tail_is_found_out_by_its_successor() {
    let (store, end) = filled(40);
    let numbers = store.generations(LOG).unwrap();
    assert!(numbers.len() > 3, "{numbers:?}");
    let chunks = store.chunks(LOG, numbers[1]);
    let tail = &chunks[chunks.len() - 2..];
    for chunk in tail {
        store.rot(LOG, numbers[1], *chunk, Vec::clear);
    }
    let (queue, _appenders) = open(&store);
    // One chunk a group, three offsets each.
    assert_eq!(lost(&queue), (3 * tail[0]..3 * (tail[1] + 1)).collect::<Vec<_>>());
    assert_eq!(queue.readings.durable().offset, end);
    assert_eq!(store.damaged(LOG), [0; 0], "what can be read of it stays in its place");
}

#[test]
fn a_changed_byte_costs_its_group_and_no_other() {
    let (_, end) = filled(40);
    for chunk in 0..end / 3 {
        let (store, _) = filled(40);
        let held = |number: &u32| store.chunks(LOG, *number).contains(&chunk);
        let number = store.generations(LOG).unwrap().into_iter().find(held).unwrap();
        store.rot(LOG, number, chunk, |bytes| bytes[100] ^= 4);
        let (mut queue, mut appenders) = open(&store);
        assert_eq!(lost(&queue), (3 * chunk..3 * chunk + 3).collect::<Vec<_>>());
        assert_eq!(appenders.readings.next().offset, end, "no offset is given twice");
        commit(&mut queue, &mut appenders, 1);
        assert_eq!(told(&queue.readings, 0).len() as u64, end + 3, "and service goes on");
    }
}

#[test]
fn a_generation_that_cannot_be_read_is_put_aside_and_is_a_gap() {
    let numbers = filled(40).0.generations(LOG).unwrap();
    for number in numbers {
        let (store, end) = filled(40);
        let held = store.chunks(LOG, number);
        store.break_generation(LOG, number);
        let (mut queue, mut appenders) = open(&store);
        let gap: Vec<_> = (3 * held[0]..3 * (held[held.len() - 1] + 1)).collect();
        assert_eq!(lost(&queue), gap);
        assert_eq!(store.damaged(LOG), [number]);
        commit(&mut queue, &mut appenders, 1);
        assert_eq!((lost(&queue), queue.readings.durable().offset), (gap, end + 3));
    }
}

#[test]
fn the_mark_makes_a_lost_newest_generation_a_gap_and_its_offsets_are_not_given_again() {
    let (store, end) = filled(40);
    let newest = *store.generations(LOG).unwrap().last().unwrap();
    let held = 3 * store.chunks(LOG, newest).len() as u64;
    store.lose_generation(LOG, newest);
    let (mut queue, mut appenders) = open(&store);
    assert_eq!(appenders.readings.next().offset, end);
    assert_eq!(lost(&queue), (end - held..end).collect::<Vec<_>>());
    commit(&mut queue, &mut appenders, 1);
    assert_eq!(told(&queue.readings, 0).len() as u64, end + 3);
}

#[test]
fn what_was_delivered_is_not_given_again_where_the_mark_is_lost_as_well() {
    let (store, end) = filled(10);
    let lane = Cursor { done: end - 1, prev: Some((77_000_000_000, end - 2)) };
    let stream = StreamCursors { spans: Vec::new(), lanes: [(0, lane)].into(), passes_from: None };
    Cursors { streams: [(LOG.to_owned(), stream)].into() }.store(&*store).unwrap();
    store.generations(LOG).unwrap().into_iter().for_each(|number| store.lose_generation(LOG, number));
    store.mark(b"").unwrap();
    store.put("identity", b"").unwrap();
    let (queue, appenders) = open(&store);
    assert_eq!(appenders.readings.next().offset, end - 1);
    assert_eq!(queue.identity.epoch, 77_000_000_001, "above what was delivered");
}

#[tokio::test(start_paused = true)]
async fn what_was_folded_is_not_given_again_where_the_mark_is_behind() {
    let store = Arc::new(LossyStore::default());
    let rig = writer::start(store.clone(), writer::options()).await;
    let mark = Mark::load(&*store).unwrap();
    for n in 0..3 {
        rig.put(writer::delivery(&noise(n, 100))).await.await.unwrap();
    }
    let end = rig.queue.readings.durable().offset;
    rig.fold(end, Vec::new()).await;
    rig.kill().await;
    mark.store(&*store).unwrap();
    store.generations(LOG).unwrap().into_iter().for_each(|number| store.lose_generation(LOG, number));
    let (queue, appenders) = open(&store);
    assert_eq!((queue.restored.position, appenders.readings.next().offset), (end, end));
}

#[test]
fn the_epoch_rises_though_the_clock_goes_back_and_the_files_that_hold_it_are_lost() {
    let store = Arc::new(LossyStore::default());
    let mut last = 0;
    for (second, lose) in [(1_000, false), (5_000, false), (10, false), (10, true), (-7, false), (4_000, true)] {
        if lose {
            store.mark(b"").unwrap();
            store.put("identity", b"rotten").unwrap();
        }
        let (mut queue, mut appenders) = Queue::open(store.clone(), at_second(second), GENERATION).unwrap();
        assert!(queue.identity.epoch > last, "{} at second {second}", queue.identity.epoch);
        last = queue.identity.epoch;
        commit(&mut queue, &mut appenders, 1);
    }
    assert_eq!(last, 5_004);
}

#[test]
fn a_generation_whose_making_was_cut_short_is_no_damage() {
    let (store, end) = filled(40);
    let newest = *store.generations(LOG).unwrap().last().unwrap();
    store.half_create(LOG, newest + 1);
    let (mut queue, mut appenders) = open(&store);
    commit(&mut queue, &mut appenders, 30);
    assert_eq!(told(&queue.readings, 0).len() as u64, end + 90);
    assert_eq!((lost(&queue), store.damaged(LOG)), (vec![], vec![]));
}

#[test]
fn a_newest_generation_that_rot_has_emptied_is_put_aside_and_not_thrown_away() {
    let (store, _) = filled(40);
    let newest = *store.generations(LOG).unwrap().last().unwrap();
    store.lose_generation(LOG, newest);
    store.half_create(LOG, newest);
    let (queue, _appenders) = open(&store);
    assert_eq!(store.damaged(LOG), [newest]);
    assert!(!lost(&queue).is_empty());
}

#[test]
fn a_group_torn_by_a_power_cut_was_never_acknowledged_and_leaves_no_trace() {
    let store = Arc::new(LossyStore::default());
    let (mut queue, mut appenders) = open(&store);
    commit(&mut queue, &mut appenders, 2);
    let large = noise(1, 200_000);
    appenders.readings.append(queue.identity.epoch, stamp(), vec![entry(&large)]).unwrap();
    drop((queue, appenders));
    let before = store.chunks(LOG, 1).len();
    store.cut(Survives::Prefix, &mut fastrand::Rng::with_seed(3));
    let after = store.chunks(LOG, 1).len();
    assert!(2 < after && after < before, "torn in the middle: {after} of {before}");
    let (queue, appenders) = open(&store);
    assert_eq!(appenders.readings.next().offset, 6);
    assert!(lost(&queue).is_empty());
}

#[test]
fn rot_among_the_dead_letters_neither_stops_their_shedding_nor_piles_up_generations() {
    let store = Arc::new(LossyStore::default());
    let (queue, mut appenders) = Queue::open(store.clone(), at_second(1), 5_000).unwrap();
    for n in 0..30 {
        appenders.dead.append(1, stamp(), vec![letter(&noise(n, 1_000))]).unwrap();
        appenders.dead.sync().unwrap();
    }
    let kept = store.generations("dead").unwrap();
    drop((queue, appenders));
    store.break_generation("dead", kept[1]);
    let (queue, mut appenders) = Queue::open(store.clone(), at_second(1), 5_000).unwrap();
    for n in 0..200 {
        appenders.dead.append(1, stamp(), vec![letter(&noise(n, 1_000))]).unwrap();
        appenders.dead.sync().unwrap();
        dead::shed(&*store, &mut appenders.dead, 20_000).unwrap();
        let generations = store.generations("dead").unwrap().len();
        assert!(generations < 10, "{generations} generations");
    }
    assert!(store.used(Some("dead")).unwrap() <= 20_000);
    let listed = dead::list(&*store, &queue.dead, 0, 1_000).unwrap();
    assert_eq!(listed.last().unwrap().letter.detail, noise(199, 1_000));
}

/// A data directory with several generations, to be copied and spoiled.
fn sled_directory() -> (TempDir, Vec<Told>) {
    let dir = TempDir::new("queue-rot");
    let store = Arc::new(SledStore::open(&dir.path).unwrap());
    let (mut queue, mut appenders) = Queue::open(store, at_second(9), 60_000).unwrap();
    commit(&mut queue, &mut appenders, 80);
    let all = told(&queue.readings, 0);
    (dir, all)
}

/// Spoils a file of a generation, and says how.
pub fn spoil(file: &Path, random: &mut fastrand::Rng) -> String {
    let mut bytes = fs::read(file).unwrap();
    // sled writes a whole segment ahead: what is behind the data is zeros, and spoiling those is nothing.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default();
    let what = match random.u32(..4) {
        0 => {
            bytes.truncate(random.usize(..=used));
            "truncated"
        }
        1 => {
            let from = random.usize(..=used);
            let to = bytes.len().min(from + 4096);
            bytes[from..to].fill(0);
            "a page of zeros"
        }
        2 => {
            let at = random.usize(..=used);
            bytes[at] ^= 1 << random.u32(..8);
            "one bit"
        }
        _ => {
            (0..20).for_each(|_| bytes[random.usize(..=used)] ^= random.u8(1..));
            "twenty bytes"
        }
    };
    fs::write(file, bytes).unwrap();
    format!("{}: {what}", file.display())
}

#[test]
fn whatever_byte_of_a_generation_rots_the_rest_is_read_and_the_gap_is_named() {
    let (template, all) = sled_directory();
    let end = all.len() as u64;
    let mut missed = 0;
    for seed in 0..24 {
        let mut random = fastrand::Rng::with_seed(seed);
        let dir = TempDir::new("queue-rotten");
        copy_all(&template.path, &dir.path);
        let mut generations: Vec<_> =
            fs::read_dir(dir.path.join(LOG)).unwrap().map(|entry| entry.unwrap().path()).collect();
        generations.sort();
        let newest = random.bool().then(|| generations.len() - 1);
        let of: &PathBuf = &generations[newest.unwrap_or_else(|| random.usize(..generations.len() - 1))];
        let files: Vec<_> =
            fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_file()).collect();
        let db = of.join("db");
        let file = if random.u32(..4) == 0 { &files[random.usize(..files.len())] } else { &db };
        let how = format!("seed {seed}, {}", spoil(file, &mut random));

        let store = Arc::new(SledStore::open(&dir.path).unwrap());
        let (mut queue, mut appenders) = Queue::open(store, at_second(9), 60_000).unwrap();
        assert_eq!(appenders.readings.next().offset, end, "{how}");
        let first = told(&queue.readings, 0);
        assert_eq!(first.len() as u64, end, "{how}");
        for (now, before) in first.iter().zip(&all) {
            assert!(now == before || now.1.is_none(), "{how}: offset {} is another", now.0);
            missed += u64::from(now.1.is_none());
        }
        commit(&mut queue, &mut appenders, 1);
        drop((queue, appenders));
        let store = Arc::new(SledStore::open(&dir.path).unwrap());
        let (queue, _appenders) = Queue::open(store, at_second(9), 60_000).unwrap();
        let again = told(&queue.readings, 0);
        assert_eq!(again.len() as u64, end + 3, "{how}");
        assert!(again[end as usize..].iter().all(|(_, said)| said.is_some()), "{how}: service goes on");
    }
    assert!(missed > 100, "hardly anything was spoiled: {missed}");
}

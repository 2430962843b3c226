//! Rounds of `simulate` in which the gateway is killed (SIGKILL): at named points, in every order of two, and at random.
//!
//! The points follow each other in a sequence in which each pair of neighbours comes once, the word of de Bruijn of order
//! two, made of the Lyndon words of one and two letters in their order (Fredricksen, Kessler and Maiorana, 1978); so each
//! point is met by a life that was left at each. A round takes a piece of it and begins with the last point of the piece
//! before. The third of the rounds is killed at random moments.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tidegate::faults::Point;
use tidegate::simulate::ground::Ground;
use tidegate::simulate::report::Report;
use tidegate::simulate::{self, Settings};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Child;
use tokio::time::Instant;

use crate::live;
use crate::place::Place;
use crate::sum::Sum;
use crate::verdict;

/// Kills in a full round.
const KILLS: u64 = 15;
/// Of the fleet, for each kill: data flows until the last.
const SENDING: Duration = Duration::from_millis(1_200);
const LIFE: std::ops::Range<u64> = 20..900;
/// A life that does not come to its point by then is killed all the same.
const LONGEST_LIFE: Duration = Duration::from_secs(4);
/// What is on its way when the point is reached goes on for so long.
const RUNS_ON_MAX: u64 = 15;
/// Where every n-th round is killed at random.
const AT_RANDOM: u64 = 3;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// When it has come to the point so often.
    At(Point, u64),
    After(Duration),
}

/// Runs so many kills, in as many rounds as that takes. Says whether all is well.
pub async fn run(kills: u64, seed: u64) -> anyhow::Result<bool> {
    let place = Place::new()?;
    let (mut sum, mut met, mut missed, mut rows_wrong, mut pairs) = (Sum::new(seed), 0, 0, 0, BTreeSet::new());
    while sum.done < kills {
        let (seed, asked) = (sum.seed(), KILLS.min(kills - sum.done));
        let (report, ended) = round(seed, asked, place.path()).await?;
        let told = verdict::wrong(&report);
        println!(
            "seed {seed:>5}  {} kills, {} at their point, {} pairs; {} readings and {} rows arrived: {}",
            report.kills,
            ended.met,
            ended.pairs.len(),
            report.delivered.unique,
            report.windows.delivered,
            told.as_deref().unwrap_or("ok")
        );
        if !ended.missed.is_empty() {
            println!("  not met: {}", ended.missed.join(", "));
        }
        sum.add(asked, &report, verdict::lost(&report), told.is_none());
        met += ended.met;
        missed += ended.missed.len() as u64;
        pairs.extend(ended.pairs);
        rows_wrong += report.windows.wrong;
    }
    // Points that nobody comes to would pass as well.
    let are_met = met >= 4 * missed;
    let own = json!({
        "at_points": met, "not_met": missed, "pairs": pairs.len(), "pairs_of": Point::ALL.len() * Point::ALL.len(),
        "rows_wrong": rows_wrong,
    });
    Ok(sum.tell("kill", own, are_met))
}

async fn round(seed: u64, kills: u64, place: &Path) -> anyhow::Result<(Report, Ended)> {
    let below = place.join(format!("kills-{seed}"));
    let dir = below.join("data");
    std::fs::create_dir_all(&dir)?;
    let socket = below.join("point");
    let mut killer = Killer::new(&socket, draw(seed, kills as usize))?;
    let settings = live::settings(seed, dir, &below, None, live::THROTTLE)?;
    let env = settings.env.into_iter().chain([(Point::VARIABLE.to_owned(), socket.display().to_string())]).collect();
    let settings = Settings { duration: Some(SENDING * kills as u32), env, ..settings };
    let report = simulate::run_on(&mut killer, settings, |_| {}).await?;
    std::fs::remove_dir_all(below)?;
    Ok((report, killer.ended))
}

/// How the lives of a round end.
fn draw(seed: u64, kills: usize) -> VecDeque<End> {
    let mut random = fastrand::Rng::with_seed(seed);
    if seed.is_multiple_of(AT_RANDOM) {
        return (0..kills).map(|_| End::After(Duration::from_millis(random.u64(LIFE)))).collect();
    }
    let all = pairs(&Point::ALL);
    let piece = (seed - seed / AT_RANDOM - 1) as usize * (KILLS as usize - 1);
    let points = all.iter().cycle().skip(piece % all.len()).take(kills);
    points.map(|point| End::At(*point, random.u64(1..=often(*point)))).collect()
}

/// Each pair of neighbours once, the last and the first included.
fn pairs<T: Copy>(letters: &[T]) -> Vec<T> {
    let mut word = Vec::new();
    for (at, first) in letters.iter().enumerate() {
        word.push(*first);
        word.extend(letters[at + 1..].iter().flat_map(|second| [*first, *second]));
    }
    word
}

/// How often a life of a second or two comes to a point, at least.
fn often(point: Point) -> u64 {
    match point {
        Point::Appended | Point::Flushed | Point::Synced | Point::Acknowledged => 20,
        Point::Sealed | Point::Created | Point::MidRequest | Point::Taken => 3,
        Point::RowsSynced | Point::CursorsSaved | Point::Renamed | Point::Snapshot => 1,
    }
}

/// How the lives of a round have ended.
#[derive(Default)]
struct Ended {
    /// At their point.
    met: u64,
    missed: Vec<&'static str>,
    /// Points that were met by a life and the one after it.
    pairs: Vec<(&'static str, &'static str)>,
    last: Option<&'static str>,
}

/// Firm ground on which somebody waits at a point.
struct Killer {
    listener: UnixListener,
    to_come: VecDeque<End>,
    /// The life that has asked where it ends.
    life: Option<UnixStream>,
    is_there: bool,
    born: Instant,
    random: fastrand::Rng,
    ended: Ended,
}

impl Killer {
    fn new(socket: &Path, to_come: VecDeque<End>) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(socket).context("nobody can be told where to end")?;
        let (life, is_there, born, ended) = (None, false, Instant::now(), Ended::default());
        Ok(Self { listener, to_come, life, is_there, born, random: fastrand::Rng::new(), ended })
    }

    /// Answers the life that asks, and waits until it is there. May be dropped while it waits. Who asked and was killed
    /// before the answer still stands in line: the next is asked for.
    async fn arrives(&mut self) -> io::Result<()> {
        while !self.is_there {
            let Some(life) = &self.life else {
                let (life, _) = self.listener.accept().await?;
                let end = match self.to_come.front() {
                    Some(End::At(point, times)) => format!("{} {times}\n", point.name()),
                    _ => "nowhere\n".to_owned(),
                };
                life.writable().await?;
                self.life = life.try_write(end.as_bytes()).is_ok_and(|written| written == end.len()).then_some(life);
                continue;
            };
            life.readable().await?;
            match life.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(1..) => self.is_there = true,
                Ok(0) | Err(_) => self.life = None,
            }
        }
        Ok(())
    }
}

impl Ground for Killer {
    async fn strike(&mut self) {
        let longest = self.to_come.front().map(|end| match end {
            End::After(after) => *after,
            End::At(..) => LONGEST_LIFE,
        });
        let until = longest.map(|longest| self.born + longest);
        tokio::select! {
            arrived = self.arrives() => arrived.expect("a life asks where it ends"),
            () = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }

    fn is_quiet(&self) -> bool {
        self.to_come.is_empty()
    }

    async fn cut(&mut self, process: &mut Child) -> anyhow::Result<ExitStatus> {
        let end = self.to_come.pop_front().context("no kill was to come")?;
        if let End::At(point, _) = end {
            let met = self.is_there.then(|| point.name());
            if let Some(name) = met {
                self.ended.met += 1;
                self.ended.pairs.extend(self.ended.last.map(|last| (last, name)));
            } else {
                self.ended.missed.push(point.name());
            }
            self.ended.last = met;
        }
        tokio::time::sleep(Duration::from_millis(self.random.u64(0..=RUNS_ON_MAX))).await;
        process.start_kill().context("the gateway cannot be killed")?;
        let ended = process.wait().await?;
        (self.life, self.is_there, self.born) = (None, false, Instant::now());
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_follows_each_once() {
        let word = pairs(&Point::ALL);
        let next = word.iter().cycle().skip(1);
        let pairs: BTreeSet<_> = word.iter().zip(next).map(|(first, second)| (first.name(), second.name())).collect();
        assert_eq!((word.len(), pairs.len()), (144, 144));
    }
}

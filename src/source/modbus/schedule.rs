//! When each unit is polled next. Pure.
//!
//! ```text
//! beats of a unit   start, start + poll, start + 2 × poll, …            no matter how long a poll took: nothing drifts
//! a beat is missed  when the next one has come before it was its turn
//! a silent unit     lets beats pass for a while that doubles; then it lets the others go first, for one beat more
//! a full line       of units with one beat, who was asked longest ago goes first: each gets its share
//! ```

use std::time::Duration;

/// The longest that a silent unit is left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub struct Schedule {
    turns: Vec<Turn>,
    /// The shortest that a silent unit is left alone.
    pause: Duration,
}

struct Turn {
    poll: Duration,
    /// The beat that comes next.
    due: Duration,
    /// Time-outs on end.
    silent: u32,
    /// When it had its turn last.
    asked: Duration,
}

/// How a turn went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    Answered,
    Silent,
    /// It was not polled.
    Skipped,
}

impl Schedule {
    /// Units by their intervals, all due at once. An answer that may come so late is waited for by leaving its unit alone.
    pub fn new(polls: impl IntoIterator<Item = Duration>, late: Duration) -> Self {
        let turn = |poll| Turn { poll, due: Duration::ZERO, silent: 0, asked: Duration::ZERO };
        Self { turns: polls.into_iter().map(turn).collect(), pause: late }
    }

    /// Whose turn is next, and when.
    pub fn next(&self, now: Duration) -> Option<(usize, Duration)> {
        let by_rank =
            |(_, turn): &(usize, &Turn)| (turn.silent > 0 && now < turn.due + turn.poll, turn.due, turn.asked);
        let due = self.turns.iter().enumerate().filter(|(_, turn)| turn.due <= now).min_by_key(by_rank);
        let next = due.or_else(|| self.turns.iter().enumerate().min_by_key(|(_, turn)| turn.due));
        next.map(|(unit, turn)| (unit, turn.due))
    }

    /// A unit has had its turn. Says how many of its beats were missed since.
    pub fn took(&mut self, unit: usize, now: Duration, went: Went) -> u64 {
        let turn = &mut self.turns[unit];
        turn.asked = now;
        turn.due += turn.poll;
        let (poll, due) = (turn.poll.as_nanos().max(1), turn.due);
        let missed = match went {
            Went::Answered | Went::Skipped => {
                if went == Went::Answered {
                    turn.silent = 0;
                }
                // The last beat that has come by now is still worth a poll.
                now.saturating_sub(due).as_nanos() / poll
            }
            Went::Silent => {
                turn.silent = turn.silent.saturating_add(1);
                let factor = 1_u32.checked_shl(turn.silent - 1).unwrap_or(u32::MAX);
                let pause = turn.poll.max(self.pause).saturating_mul(factor).min(LONGEST_PAUSE.max(turn.poll));
                (now + pause).saturating_sub(due).as_nanos().div_ceil(poll)
            }
        };
        turn.due += Duration::from_nanos((poll * missed) as u64);
        missed as u64
    }

    /// The line was away, and what was silent need not be any more: its beat is now. But for the one that cost the line.
    pub fn forgive(&mut self, now: Duration, culprit: Option<usize>) {
        let forgiven = self.turns.iter_mut().enumerate().filter(|(unit, _)| Some(*unit) != culprit);
        for turn in forgiven.map(|(_, turn)| turn).filter(|turn| turn.silent > 0) {
            let beats = now.as_nanos() / turn.poll.as_nanos().max(1);
            turn.due = Duration::from_nanos((beats * turn.poll.as_nanos()) as u64);
            turn.silent = 0;
        }
    }

    pub fn is_silent(&self, unit: usize) -> bool {
        self.turns[unit].silent > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn beats_do_not_drift_however_long_polls_take() {
        let mut schedule = Schedule::new([ms(100)], ms(0));
        let mut beats = Vec::new();
        for took in [0, 90, 30, 99, 1] {
            let (unit, due) = schedule.next(ms(0)).unwrap();
            beats.push(due.as_millis());
            assert_eq!(schedule.took(unit, due + ms(took), Went::Answered), 0);
        }
        assert_eq!(beats, [0, 100, 200, 300, 400]);
    }

    #[test]
    fn beats_that_passed_meanwhile_are_missed_and_counted_and_the_last_one_is_made_up_for() {
        let mut schedule = Schedule::new([ms(100)], ms(0));
        assert_eq!(schedule.took(0, ms(350), Went::Answered), 2);
        assert_eq!(schedule.next(ms(350)), Some((0, ms(300))));
        assert_eq!(schedule.took(0, ms(360), Went::Answered), 0);
        assert_eq!(schedule.next(ms(360)), Some((0, ms(400))));
    }

    #[test]
    fn a_silent_unit_is_polled_after_the_others_and_ever_more_rarely() {
        let mut schedule = Schedule::new([ms(100), ms(100)], ms(0));
        let mut pauses = Vec::new();
        let mut now = ms(0);
        for _ in 0..12 {
            schedule.took(0, now, Went::Silent);
            let due = schedule.turns[0].due;
            assert_eq!(due.as_millis() % 100, 0, "still on its beat");
            pauses.push(due.as_millis() - now.as_millis());
            now = due;
        }
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 30_000);
        for _ in 0..2 {
            assert_eq!(schedule.next(now).unwrap().0, 1, "both are due, and it waits");
            schedule.took(1, now, Went::Answered);
        }
        schedule.took(0, now, Went::Answered);
        assert_eq!(schedule.next(now).unwrap().1, now + ms(100), "it answers again, and is one of them");
    }

    #[test]
    fn a_unit_that_was_silent_once_has_its_turn_again_however_much_there_is_to_ask() {
        // Four units, of which each takes 40 ms of the 100 that all have.
        let mut schedule = Schedule::new([ms(100); 4], ms(0));
        let (mut now, mut turns, mut missed) = (ms(0), [0; 4], 0);
        for round in 0..400 {
            let (unit, due) = schedule.next(now).unwrap();
            now = now.max(due) + ms(40);
            let went = if round == 2 { Went::Silent } else { Went::Answered };
            turns[unit] += 1;
            missed += schedule.took(unit, now, went);
        }
        assert!(turns.iter().all(|turns| *turns >= 95), "{turns:?}");
        assert!(missed > 100, "{missed} beats were missed, and known to be");
    }

    #[test]
    fn after_the_line_was_away_nobody_waits_longer_than_a_beat() {
        let mut schedule = Schedule::new([ms(100)], ms(0));
        for _ in 0..9 {
            schedule.took(0, ms(0), Went::Silent);
        }
        assert!(schedule.next(ms(950)).unwrap().1 > ms(10_000));
        schedule.forgive(ms(950), None);
        assert_eq!((schedule.next(ms(950)), schedule.is_silent(0)), (Some((0, ms(900))), false));
    }

    /// One that is asked rarely, and hangs up each time, beside one that is asked often.
    #[test]
    fn whoever_costs_the_line_does_not_cost_the_others_their_turns() {
        let mut schedule = Schedule::new([ms(60_000), ms(1_000)], ms(1_000));
        let (mut now, mut turns) = (ms(0), [0, 0]);
        while now < ms(600_000) {
            let (unit, due) = schedule.next(now).unwrap();
            now = now.max(due) + ms(10);
            turns[unit] += 1;
            if unit == 0 {
                schedule.took(unit, now, Went::Silent);
                now += ms(500);
                schedule.forgive(now, Some(unit));
            } else {
                schedule.took(unit, now, Went::Answered);
            }
        }
        assert!(turns[0] >= 5 && turns[1] >= 590, "{turns:?}");
    }

    #[test]
    fn an_answer_that_may_still_come_is_waited_for() {
        let mut schedule = Schedule::new([ms(100)], ms(250));
        schedule.took(0, ms(0), Went::Silent);
        assert_eq!(schedule.next(ms(0)), Some((0, ms(300))), "its first beat after the pause");
    }

    #[test]
    fn units_take_turns_by_their_beats() {
        let mut schedule = Schedule::new([ms(100), ms(250)], ms(0));
        let mut order = String::new();
        for _ in 0..9 {
            let (unit, due) = schedule.next(ms(0)).unwrap();
            order.push(if unit == 0 { 'a' } else { 'b' });
            schedule.took(unit, due, Went::Answered);
        }
        assert_eq!(order, "abaabaaab");
    }
}

//! The consumer's rule: with it a consumer alone proves of any hour that it is complete, or names what is missing.
//!
//! For each (gateway, stream, lane) it keeps the highest (epoch, offset) it has taken. Of a record:
//! - `last` ≤ high: a repeat, dropped;
//! - `prev` ≤ high < `last`: the readings above high are taken, then high = `last`;
//! - `prev` > high: the same, and what lies between high and `prev` is a hole, unless a `gaps` record explains it.
//!
//! A hole counts as explained if a gap record of its lane names its end: offsets are not dense, so more cannot be told from
//! outside, and what is lost may have arrived in part before it was. Whoever knows how many readings there were compares
//! the counts as well.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use tidegate_wire::{Envelope, Row, Value};

/// (epoch, offset).
pub type Identity = (u64, u64);

/// An ordered sub-stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    pub gateway: String,
    pub stream: String,
    pub lane: u64,
}

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// All of it was taken before.
    Repeat,
    /// Take the readings above this offset; `None`: all.
    Above(Option<u64>),
}

/// What is missing from a lane: above `high`, up to and with `prev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    pub lane: Lane,
    /// `None`: nothing had been taken.
    pub high: Option<Identity>,
    pub prev: Identity,
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lane { stream, lane, .. } = &self.lane;
        write!(f, "{stream}, lane {lane}, ")?;
        match self.high {
            Some((epoch, offset)) => write!(f, "behind offset {offset} of epoch {epoch}")?,
            None => f.write_str("from its beginning")?,
        }
        write!(f, " to offset {} of epoch {}", self.prev.1, self.prev.0)
    }
}

/// What a gap record says: entries of a lane that will not come, first and last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub lane: Lane,
    pub from: Identity,
    pub to: Identity,
    pub count: u64,
}

#[derive(Debug, Default)]
pub struct Consumer {
    high: HashMap<Lane, Identity>,
    holes: Vec<Hole>,
    explanations: Vec<Explanation>,
    /// Of each record what was new: first and last offset, and how many there were at most.
    taken: Vec<(Lane, u64, u64, u64)>,
}

impl Consumer {
    /// Applies the rule to a record.
    pub fn admit(&mut self, envelope: &Envelope) -> Admission {
        let lane = Lane { gateway: envelope.gateway.clone(), stream: envelope.stream.clone(), lane: envelope.lane };
        let high = self.high.get(&lane).copied();
        let last = (envelope.epoch, envelope.last);
        if high.is_some_and(|high| last <= high) {
            return Admission::Repeat;
        }
        // `None` is below every identity.
        if let Some(prev) = envelope.prev.filter(|prev| Some(*prev) > high) {
            self.holes.push(Hole { lane: lane.clone(), high, prev });
        }
        let above = high.filter(|(epoch, _)| *epoch == envelope.epoch).map(|(_, offset)| offset);
        let new = above.map_or(envelope.first, |high| envelope.first.max(high + 1));
        self.taken.push((lane.clone(), new, envelope.last, envelope.count));
        self.high.insert(lane, last);
        Admission::Above(above)
    }

    /// Takes a row of the stream `gaps`; `false`: it is not one that explains anything.
    pub fn explain(&mut self, gateway: &str, row: &Row) -> bool {
        let explanation = read(gateway, row);
        let readable = explanation.is_some();
        self.explanations.extend(explanation);
        readable
    }

    #[must_use]
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Holes that no gap record accounts for, as far as gap records have come.
    pub fn unexplained(&self) -> impl Iterator<Item = &Hole> {
        self.holes.iter().filter(|hole| {
            !self.explanations.iter().any(|explanation| {
                explanation.lane == hole.lane && (explanation.from..=explanation.to).contains(&hole.prev)
            })
        })
    }

    /// How many readings of a stream the gap records account for: what several of them name counts once, and what has
    /// arrived all the same does not.
    #[must_use]
    pub fn explained(&self, stream: &str) -> u64 {
        let mut told: HashMap<&Lane, Vec<&Explanation>> = HashMap::new();
        for explanation in self.explanations.iter().filter(|explanation| explanation.lane.stream == stream) {
            told.entry(&explanation.lane).or_default().push(explanation);
        }
        let mut explained = 0;
        for (lane, mut told) in told {
            // What names all that another does comes first, and leaves nothing to that.
            told.sort_by_key(|explanation| (explanation.from.1, Reverse(explanation.to.1)));
            let mut next = 0;
            for explanation in told {
                let (from, end) = (explanation.from.1.max(next), explanation.to.1.saturating_add(1));
                let taken = self.taken.iter().filter(|(of, ..)| of == lane);
                let within = |first: u64, last: u64| end.min(last + 1).saturating_sub(from.max(first));
                let taken: u64 = taken.map(|(_, first, last, count)| within(*first, *last).min(*count)).sum();
                explained += explanation.count.min(end.saturating_sub(from)).saturating_sub(taken);
                next = next.max(end);
            }
        }
        explained
    }
}

fn read(gateway: &str, row: &Row) -> Option<Explanation> {
    let value = |name: &str| row.fields.iter().find(|(known, _)| &**known == name).map(|(_, value)| value);
    let number = |name| match value(name)? {
        Value::I64(number) => u64::try_from(*number).ok(),
        Value::U64(number) => Some(*number),
        _ => None,
    };
    let Value::Text(stream) = value("stream")? else { return None };
    Some(Explanation {
        lane: Lane { gateway: gateway.to_owned(), stream: stream.to_string(), lane: number("lane")? },
        from: (number("from_epoch")?, number("from")?),
        to: (number("to_epoch")?, number("to")?),
        count: number("count")?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegate_wire::{ClockState, Codec, Series};

    use super::Admission::Repeat;
    use super::*;

    /// A record of epoch 1 unless said otherwise.
    fn record(prev: Option<Identity>, epoch: u64, first: u64, last: u64) -> Envelope {
        Envelope {
            gateway: "g".to_owned(),
            stream: "readings".to_owned(),
            lane: 0,
            epoch,
            first,
            last,
            prev,
            count: last - first + 1,
            clock: ClockState::Synced,
            codec: Codec::None,
            size: 0,
        }
    }

    fn gap(from: Identity, to: Identity, count: u64) -> Row {
        let number = |n: u64| Value::from(n);
        let fields = [
            ("stream", Value::Text("readings".into())),
            ("lane", number(0)),
            ("from_epoch", number(from.0)),
            ("from", number(from.1)),
            ("to_epoch", number(to.0)),
            ("to", number(to.1)),
            ("count", number(count)),
            ("reason", Value::Text("shed".into())),
        ];
        let fields = fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect();
        Row { offset: 0, time: 0, received: None, series: Arc::new(Series::default()), fields }
    }

    fn play(records: &[Envelope]) -> (Consumer, Vec<Admission>) {
        let mut consumer = Consumer::default();
        let admissions = records.iter().map(|record| consumer.admit(record)).collect();
        (consumer, admissions)
    }

    const ALL: Admission = Admission::Above(None);

    #[test]
    fn records_in_a_row_are_taken_and_repeats_are_dropped() {
        let (first, second) = (record(None, 1, 0, 9), record(Some((1, 9)), 1, 10, 19));
        let (consumer, admissions) = play(&[first.clone(), first.clone(), second.clone(), first, second]);
        assert_eq!(admissions, [ALL, Repeat, Admission::Above(Some(9)), Repeat, Repeat]);
        assert!(consumer.holes().is_empty());
    }

    #[test]
    fn of_a_record_that_straddles_only_the_new_part_is_taken() {
        // After a crash the readings 5 to 9 came again, cut into another record.
        let (consumer, admissions) = play(&[record(None, 1, 0, 9), record(Some((1, 4)), 1, 5, 14)]);
        assert_eq!(admissions, [ALL, Admission::Above(Some(9))]);
        assert!(consumer.holes().is_empty());
    }

    #[test]
    fn what_lies_between_is_a_hole_until_a_gap_record_explains_it() {
        let (mut consumer, admissions) = play(&[record(None, 1, 0, 9), record(Some((1, 30)), 1, 31, 40)]);
        assert_eq!(admissions[1], Admission::Above(Some(9)), "what did come is taken");
        let [hole] = consumer.holes() else { panic!("{:?}", consumer.holes()) };
        assert_eq!((hole.high, hole.prev), (Some((1, 9)), (1, 30)));
        assert_eq!(consumer.unexplained().count(), 1);

        assert!(consumer.explain("g", &gap((1, 12), (1, 25), 14)));
        assert_eq!(consumer.unexplained().count(), 1, "it does not reach the end of the hole");
        assert!(consumer.explain("g", &gap((1, 26), (1, 30), 5)));
        assert_eq!(consumer.unexplained().count(), 0);
        assert_eq!(consumer.explained("readings"), 19);
    }

    #[test]
    fn what_is_told_twice_or_has_arrived_counts_for_no_other() {
        // The readings 10 to 19 arrived, but a power cut took the gateway's knowledge of that, and all it had up to 30.
        let (mut consumer, _) = play(&[record(None, 1, 0, 19), record(Some((1, 30)), 2, 31, 40)]);
        for to in [25, 30, 30] {
            consumer.explain("g", &gap((1, 10), (1, to), to - 9));
        }
        assert_eq!((consumer.unexplained().count(), consumer.explained("readings")), (0, 11));
    }

    #[test]
    fn where_offsets_are_not_dense_counts_are_what_counts() {
        // Of 10 to 19 four were readings, which arrived; and of 10 to 40 nine, of which a first gap record named three.
        let few = Envelope { count: 4, ..record(None, 1, 10, 19) };
        let (mut consumer, _) = play(&[few]);
        consumer.explain("g", &gap((1, 10), (1, 20), 3));
        consumer.explain("g", &gap((1, 10), (1, 40), 9));
        assert_eq!(consumer.explained("readings"), 5);
    }

    #[test]
    fn the_gap_record_of_another_gateway_explains_nothing() {
        let (mut consumer, _) = play(&[record(None, 1, 0, 9), record(Some((1, 30)), 1, 31, 40)]);
        consumer.explain("other", &gap((1, 10), (1, 30), 21));
        assert_eq!(consumer.unexplained().count(), 1);
    }

    #[test]
    fn a_gap_record_may_come_before_the_hole_it_explains() {
        let mut consumer = Consumer::default();
        consumer.admit(&record(None, 1, 0, 9));
        consumer.explain("g", &gap((1, 10), (1, 30), 21));
        consumer.admit(&record(Some((1, 30)), 1, 31, 40));
        assert_eq!((consumer.holes().len(), consumer.unexplained().count()), (1, 0));
    }

    #[test]
    fn a_new_epoch_goes_on_where_the_old_one_ended() {
        let (consumer, admissions) = play(&[
            record(None, 1, 0, 9),
            record(Some((1, 9)), 2, 10, 19),
            // From before the restart: old news, although nothing of epoch 1 ended there.
            record(Some((1, 4)), 1, 5, 12),
        ]);
        assert_eq!(admissions, [ALL, ALL, Admission::Repeat]);
        assert!(consumer.holes().is_empty());
    }

    #[test]
    fn a_restored_data_directory_is_no_old_news() {
        // The copy was made at offset 4, and started again with a later epoch.
        let (consumer, admissions) = play(&[record(None, 1, 0, 9), record(Some((1, 4)), 2, 5, 8)]);
        assert_eq!(admissions, [ALL, ALL]);
        assert!(consumer.holes().is_empty());
    }

    #[test]
    fn a_lane_that_begins_with_a_predecessor_has_a_hole_at_its_head() {
        let (consumer, admissions) = play(&[record(Some((1, 4)), 1, 5, 9)]);
        assert_eq!(admissions, [ALL]);
        assert_eq!(consumer.holes()[0].high, None);
    }

    #[test]
    fn lanes_and_streams_do_not_mix() {
        let other_lane = Envelope { lane: 1, ..record(None, 1, 3, 5) };
        let other_stream = Envelope { stream: "gaps".to_owned(), ..record(None, 1, 0, 0) };
        let (_, admissions) = play(&[record(None, 1, 0, 9), other_lane, other_stream]);
        assert_eq!(admissions, [ALL, ALL, ALL]);
    }

    #[test]
    fn a_row_that_says_nothing_explains_nothing() {
        let mut row = gap((1, 1), (1, 2), 2);
        row.fields.retain(|(name, _)| &**name != "to");
        assert!(!Consumer::default().explain("g", &row));
    }
}

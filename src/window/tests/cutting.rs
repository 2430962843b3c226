//! What goes into which window, and what comes out of it.

use super::*;

fn hop(slide: i64, size: i64) -> Spec {
    let mut spec = spec();
    spec.plan.shape = Shape::Hop { slide: slide * SECOND, size: size * SECOND };
    spec
}

fn session(gap: i64) -> Spec {
    let mut spec = spec();
    spec.plan.shape = Shape::Session { gap: gap * SECOND };
    spec
}

#[test]
fn a_reading_is_in_every_hop_that_holds_it() {
    tell(
        &hop(5, 10),
        "
        0  up plant
        7  a 7 x=1
        12 a 12 x=2
        15 a 15 x=4                    -> a [0, 10) n=1 sum=1
        22 a 22 x=8                    -> a [5, 15) n=2 sum=3
        40 end                         -> a [10, 20) n=2 sum=6 | a [15, 25) n=2 sum=12 | a [20, 30) n=1 sum=8
        ",
    );
}

#[test]
fn a_late_reading_still_counts_in_the_hops_that_are_open() {
    let counts = tell(
        &hop(5, 10),
        "
        0  up plant
        7  a 7 x=1
        15 a 15 x=1                    -> a [0, 10) n=1 sum=1
        16 a 8 x=1
        17 a 4 x=1                     -> late a 4
        20 a 20 x=1                    -> a [5, 15) n=2 sum=2
        ",
    );
    assert_eq!(counts.late, 1);
}

#[test]
fn hops_whose_size_is_no_multiple_of_their_slide() {
    tell(
        &hop(10, 15),
        "
        0  up plant
        1  a 1 x=1 ; a 6 x=2 ; a 12 x=4 ; a 17 x=8   -> a [-10, 5) n=1 sum=1
        2  a 22 x=16                   -> a [0, 15) n=3 sum=7
        9  end                         -> a [10, 25) n=3 sum=28 | a [20, 35) n=1 sum=16
        ",
    );
}

#[test]
fn what_lies_between_two_hops_is_in_none() {
    let counts = tell(
        &hop(10, 4),
        "
        0  up plant
        1  a 1 x=1 ; a 5 x=1
        2  a 9 x=1                     -> a [0, 4) n=1 sum=1
        3  a 10 x=1
        9  end                         -> a [10, 14) n=1 sum=1
        ",
    );
    assert_eq!(counts.late, 0);
}

#[test]
fn a_silence_inside_long_hops_closes_only_hops_with_readings() {
    tell(
        &hop(10, 20),
        "
        0  up plant
        1  a 1 x=1
        2  a 1001 x=1                  -> a [-10, 10) n=1 sum=1 | a [0, 20) n=1 sum=1
        ",
    );
}

#[test]
fn a_session_lasts_as_long_as_readings_follow_within_the_gap() {
    tell(
        &session(10),
        "
        0  up plant
        1  a 1 x=1
        6  a 6 x=1
        16 a 16 x=1
        30 a 30 x=1
        31 a 31 x=1                    -> a [1, 26) n=3 sum=3
        60 end                         -> a [30, 41) n=2 sum=2
        ",
    );
}

#[test]
fn a_reading_between_two_sessions_makes_them_one() {
    let mut patient = session(10);
    patient.watermark = 30 * SECOND;
    tell(
        &patient,
        "
        0  up plant
        1  a 1 x=1
        13 a 13 x=2
        30 a 30 x=4
        31 a 7 x=8
        60 a 55 x=16                   -> a [1, 23) n=3 sum=11
        99 end                         -> a [30, 40) n=1 sum=4 | a [55, 65) n=1 sum=16
        ",
    );
}

#[test]
fn a_session_that_is_open_takes_what_would_be_late_alone() {
    tell(
        &session(10),
        "
        0  up plant
        1  a 10 x=1
        2  a 20 x=2
        3  a 24 x=4
        4  a 3 x=8
        5  a 41 x=16                   -> a [3, 34) n=4 sum=15
        6  a 20 x=32                   -> late a 20
        ",
    );
}

#[test]
fn of_a_reading_in_samples_what_finds_no_open_session_is_handed_back_with_the_rest() {
    let mut spec = session(10);
    spec.plan.table = Table::Samples;
    spec.plan.keys.push(Expr::Ref(Ref::Metric));
    spec.plan.aggregates = vec![aggregate(Kind::Count, None)];
    spec.plan.select = vec![("n".into(), Expr::Ref(Ref::Aggregate(0)))];
    for late in [Late::Forward, Late::Drop] {
        spec.late = late;
        let told = if late == Late::Forward { "-> late a 15" } else { "" };
        let story = format!(
            "
            0  up plant
            1  a 20 x=1
            2  a 28 x=1
            3  a 36 x=1
            4  a 15 x=1 y=1           {told}
            5  end                    -> a [15, 46) n=4
            "
        );
        assert_eq!(tell(&spec, &story).late, 1, "{late:?}");
    }
}

#[test]
fn null_is_a_group_and_counts_for_nothing_in_aggregates() {
    let mut spec = spec();
    spec.plan.keys.push(Expr::Ref(Ref::Field("line".into())));
    spec.plan.aggregates.push(aggregate(Kind::Count, Some("x")));
    spec.plan.select.insert(0, ("line".into(), Expr::Ref(Ref::Key(1))));
    spec.plan.select.push(("known".into(), Expr::Ref(Ref::Aggregate(2))));
    tell(
        &spec,
        "
        0  up plant
        1  a 1 x=1 ; a 2 ; a 3 line=7 ; a 4 line=7.0 x=2 ; a 5 line=b
        9  end                         -> a [0, 10) n=2 sum=1 known=1 | a [0, 10) line=7 n=2 sum=2 known=1 | a [0, 10) line=b n=1 known=0
        ",
    );
}

#[test]
fn where_having_and_the_bounds_of_the_window() {
    let mut spec = spec();
    spec.plan.filter = Some(compare(Comparison::Greater, Ref::Field("x".into()), Value::I64(0)));
    spec.plan.having = Some(compare(Comparison::Greater, Ref::Aggregate(0), Value::I64(1)));
    spec.plan.select.push(("start".into(), Expr::Ref(Ref::WindowStart)));
    spec.plan.select.push(("end".into(), Expr::Ref(Ref::WindowEnd)));
    spec.plan.select.remove(0);
    let (start, end) = (MIDNIGHT, MIDNIGHT + 10 * SECOND);
    let counts = tell(
        &spec,
        &format!(
            "
            0  up plant
            1  a 1 x=1 ; a 2 x=-1 ; a 3 ; a 4 x=2 ; b 5 x=3
            16 a 16 x=0                -> a [0, 10) sum=3 start={start} end={end}
            17 a 1 x=0
            18 b 18
            "
        ),
    );
    assert_eq!(counts.late, 0, "what WHERE leaves out is not late");
}

#[test]
fn samples_are_a_row_a_field() {
    let mut spec = spec();
    spec.plan.table = Table::Samples;
    spec.plan.keys.push(Expr::Ref(Ref::Metric));
    spec.plan.aggregates[1].argument = Some(Expr::Ref(Ref::Value));
    spec.plan.select.insert(0, ("metric".into(), Expr::Ref(Ref::Key(1))));
    tell(
        &spec,
        "
        0  up plant
        1  a 1 hum=40 temp=1
        2  a 2 temp=2
        9  end                         -> a [0, 10) metric=hum n=1 sum=40 | a [0, 10) metric=temp n=2 sum=3
        ",
    );
}

#[test]
fn first_and_last_rate_and_time_average_follow_event_time() {
    let mut spec = spec();
    let kinds = [Kind::FirstValue, Kind::LastValue, Kind::Rate, Kind::TimeAvg];
    spec.plan.aggregates = kinds.map(|kind| aggregate(kind, Some("x"))).into();
    let names = ["first", "last", "rate", "held"];
    spec.plan.select = (0..).zip(names).map(|(n, name)| (name.into(), Expr::Ref(Ref::Aggregate(n)))).collect();
    tell(
        &spec,
        "
        0  up plant
        1  a 6 x=8 ; a 2 x=4 ; a 4 x=2 ; a 2 x=3
        9  end                         -> a [0, 10) first=4 last=8 rate=2.75 held=5.25
        ",
    );
}

#[test]
fn beyond_max_groups_nothing_new_is_opened_and_the_rest_goes_on() {
    for shape in [Shape::Tumble { size: 10 * SECOND }, Shape::Session { gap: 9 * SECOND }] {
        let mut spec = spec();
        spec.plan.shape = shape;
        spec.plan.keys.push(Expr::Ref(Ref::Field("k".into())));
        spec.max_groups = 2;
        let counts = tell(
            &spec,
            "
            0  up plant
            1  a 1 k=1 ; a 1 k=2 ; a 1 k=3     -> overflow a 1
            2  a 1 k=2 ; a 12 k=1              -> overflow a 12
            15 a 14 k=4                        -> overflow a 14
            16 a 15 k=3                -> a [0, 10) n=1 | a [0, 10) n=2 | overflow a 15
            17 a 15 k=3
            "
            .replace("[0, 10)", if matches!(shape, Shape::Session { .. }) { "[1, 10)" } else { "[0, 10)" })
            .as_str(),
        );
        assert_eq!(counts.group_overflow, 4);
    }
}

#[test]
fn devices_long_silent_are_forgotten_for_new_ones() {
    let mut spec = spec();
    spec.max_groups = 2;
    let counts = tell(
        &spec,
        "
        0   up plant
        1   a 1 x=1
        2   b 2 x=1
        3   c 3 x=1                    -> overflow c 3
        100 tick                       -> a [0, 10) n=1 sum=1 | b [0, 10) n=1 sum=1
        101 c 101 x=1
        102 b 102 x=1
        103 d 103 x=1                  -> overflow d 103
        900 tick                       -> b [100, 110) n=1 sum=1 | c [100, 110) n=1 sum=1
        ",
    );
    assert_eq!(counts.group_overflow, 2, "c at first, d while c and b were about");
}

#[test]
fn times_at_the_end_of_the_calendar_do_no_harm() {
    for spec in [spec(), of_all(), hop(7, 30), session(10)] {
        let mut log = Log::default();
        let mut windows = Windows::new(vec![spec]);
        for time in [i64::MIN, i64::MAX, 0, -1, i64::MIN, i64::MAX] {
            for synced in [true, false] {
                log.synced = synced;
                windows.apply(&log.stamped(0, vec![reading("plant", "a", Some(time), Vec::new())]));
            }
        }
        let rows = windows.finish().rows;
        assert!(!rows.is_empty());
        assert!(rows.iter().all(|row| row.start < row.end));
    }
}

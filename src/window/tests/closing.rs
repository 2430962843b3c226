//! When windows close, and what is late.

use super::*;

#[test]
fn a_window_closes_when_its_device_has_told_a_time_past_its_end() {
    tell(
        &spec(),
        "
        0  up plant
        1  a 1 x=5
        9  a 9 x=7
        12 a 12 x=1
        14 a 14 x=1
        15 a 15 x=1      -> a [0, 10) n=2 sum=12
        25 a 25 x=2      -> a [10, 20) n=3 sum=3
        ",
    );
}

#[test]
fn readings_may_come_out_of_order_within_the_watermark() {
    let counts = tell(
        &spec(),
        "
        0  up plant
        1  a 8 x=1
        2  a 14 x=1
        3  a 2 x=1
        4  a 15 x=1     -> a [0, 10) n=2 sum=2
        5  a 9 x=1      -> late a 9
        6  a 11 x=1
        ",
    );
    assert_eq!(counts.late, 1);
}

#[test]
fn a_late_reading_that_nobody_wants_is_only_counted() {
    let mut spec = spec();
    spec.late = Late::Drop;
    let counts = tell(
        &spec,
        "
        1 a 1 x=1
        2 a 30 x=1      -> a [0, 10) n=1 sum=1
        3 a 1 x=1
        ",
    );
    assert_eq!(counts.late, 1);
}

#[test]
fn a_slow_clock_makes_only_itself_late() {
    tell(
        &spec(),
        "
        0  up plant
        1  slow 1 x=1 ; fast 101 x=1
        2  fast 116 x=1                -> fast [100, 110) n=1 sum=1
        3  slow 3 x=1
        4  slow 16 x=1                 -> slow [0, 10) n=2 sum=2
        ",
    );
}

#[test]
fn devices_taken_together_wait_for_the_slowest() {
    tell(
        &of_all(),
        "
        0  up plant
        1  slow 1 x=1
        2  fast 2 x=1
        15 fast 25 x=1
        16 slow 16 x=1                 -> [0, 10) n=2 sum=2
        17 slow 26 x=1                 -> [10, 20) n=1 sum=1
        ",
    );
}

#[test]
fn by_source_any_device_of_it_moves_the_clock() {
    let mut by_source = spec();
    by_source.by = By::Source;
    tell(
        &by_source,
        "
        0  up plant
        1  a 1 x=1 ; b 1 x=2
        16 b 16 x=1                    -> a [0, 10) n=1 sum=1 | b [0, 10) n=1 sum=2
        17 a 2 x=1                     -> late a 2
        18 c@boiler 3 x=1              -> late c 3
        19 c@boiler 14 x=1
        26 a 26 x=1
        27 c@boiler 27 x=1             -> b [10, 20) n=1 sum=1 | c [10, 20) n=1 sum=1
        ",
    );
}

#[test]
fn a_silent_clock_holds_the_others_up_only_until_it_counts_as_idle() {
    tell(
        &of_all(),
        "
        0  up plant
        1  a 1 x=1
        2  b 2 x=1
        19 b 19 x=1
        20 tick
        21 tick                        -> [0, 10) n=2 sum=2
        26 b 26 x=1                    -> [10, 20) n=1 sum=1
        30 a 12 x=1                    -> late a 12
        31 a 24 x=1
        36 b 36 x=1
        37 a 36 x=1                    -> [20, 30) n=2 sum=2
        ",
    );
}

#[test]
fn when_all_have_fallen_silent_the_last_window_closes_by_the_time_that_passes() {
    // Silent at 21 + 20: from there the watermark goes on from 2 - 5.
    tell(
        &spec(),
        "
        0  up plant
        1  a 2 x=1
        21 tick
        33 tick
        34 tick                        -> a [0, 10) n=1 sum=1
        ",
    );
    tell(
        &of_all(),
        "
        0  up plant
        1  a 2 x=1
        2  b 4 x=1
        32 tick
        33 tick                        -> [0, 10) n=2 sum=2
        ",
    );
}

#[test]
fn one_long_silence_closes_all_that_was_open() {
    tell(
        &spec(),
        "
        0   up plant
        1   a 2 x=1 ; a 12 x=1 ; b 6 x=1
        500 tick                       -> a [0, 10) n=1 sum=1 | b [0, 10) n=1 sum=1 | a [10, 20) n=1 sum=1
        ",
    );
}

#[test]
fn while_nothing_is_connected_time_stands_still_and_the_backlog_is_not_late() {
    for spec in [spec(), of_all()] {
        let device = if spec.plan.device_key.is_some() { "a " } else { "" };
        tell(
            &spec,
            &format!(
                "
                0    up plant
                1    a 1 x=1
                2    down plant
                3    tick
                5000 tick
                5001 up plant
                5002 a 2 x=1
                5003 a 12 x=1
                5004 a 9 x=1
                5005 a 16 x=1              -> {device}[0, 10) n=3 sum=3
                5006 a 5000 x=1            -> {device}[10, 20) n=2 sum=2
                "
            ),
        );
    }
}

#[test]
fn a_devices_own_watermark_waits_for_its_own_source() {
    tell(
        &spec(),
        "
        0    up plant ; up boiler
        1    a 1 x=1 ; b@boiler 1 x=1
        2    down plant
        200  tick                      -> b [0, 10) n=1 sum=1
        201  up plant
        202  a 2 x=1
        203  a 16 x=1                  -> a [0, 10) n=2 sum=2
        ",
    );
}

#[test]
fn a_watermark_never_falls() {
    tell(
        &of_all(),
        "
        0  up plant
        1  a 21 x=1
        2  b 1 x=1                     -> late b 1
        3  b 11 x=1
        4  a 41 x=1
        5  b 41 x=1                    -> [10, 20) n=1 sum=1 | [20, 30) n=1 sum=1
        ",
    );
}

#[test]
fn a_time_too_far_ahead_does_not_move_the_clock() {
    for spec in [spec(), of_all()] {
        let device = if spec.plan.device_key.is_some() { "a " } else { "" };
        let counts = tell(
            &spec,
            &format!(
                "
                0  up plant
                1  a 1 x=1
                2  a 9999 x=1
                3  a 2 x=1
                16 a 16 x=1                -> {device}[0, 10) n=2 sum=2
                "
            ),
        );
        assert_eq!(counts.ahead, 1);
    }
}

#[test]
fn the_windows_of_a_clock_that_is_always_ahead_close_in_the_end() {
    for spec in [spec(), of_all()] {
        let device = if spec.plan.device_key.is_some() { "a " } else { "" };
        tell(
            &spec,
            &format!(
                "
                0     up plant
                1     a 7201 x=1
                2     a 7202 x=1
                7214  tick
                7215  tick                 -> {device}[7200, 7210) n=2 sum=2
                "
            ),
        );
    }
}

#[test]
fn a_reading_without_a_time_has_that_of_its_arrival() {
    tell(
        &spec(),
        "
        0  up plant
        1  a now x=1
        9  a now x=1
        15 a now x=1                   -> a [0, 10) n=2 sum=2
        ",
    );
}

#[test]
fn a_step_of_the_wall_clock_is_not_silence() {
    tell(
        &spec(),
        "
        0  up plant
        1  a 1 x=1
        2  step 100000
        3  a 2 x=1
        4  step -200000
        5  tick
        33 tick
        36 tick                        -> a [0, 10) n=2 sum=2
        ",
    );
}

#[test]
fn a_restart_is_no_time_and_loses_nothing() {
    tell(
        &spec(),
        "
        0    up plant
        1    a 1 x=1
        500  start
        501  up plant
        502  a 2 x=1
        900  boot second
        901  up plant
        902  tick
        919  tick
        921  a 3 x=1
        922  a 16 x=1                  -> a [0, 10) n=3 sum=3
        ",
    );
}

#[test]
fn an_end_of_stream_closes_all_and_what_was_closed_stays_closed() {
    for spec in [spec(), of_all()] {
        let device = if spec.plan.device_key.is_some() { "a " } else { "" };
        tell(
            &spec,
            &format!(
                "
                1  a 1 x=1
                2  a 11 x=1
                3  end                     -> {device}[0, 10) n=1 sum=1 | {device}[10, 20) n=1 sum=1
                4  a 12 x=1                -> late a 12
                5  a 21 x=1
                6  end                     -> {device}[20, 30) n=1 sum=1
                "
            ),
        );
    }
}

#[test]
fn readings_of_one_group_arrived_at_their_own_moments() {
    let mut log = Log::default();
    let mut windows = Windows::new(vec![of_all()]);
    windows.apply(&log.group("0 up plant"));
    windows.apply(&log.group("1 a 2 x=1"));
    // Committed together at 40; the first arrived at 22, when a had been silent for 21 seconds.
    let with_age = |event: &str, seconds: u32, log: &mut Log| match log.entry(event, 40) {
        Entry::Reading { reading, .. } => Entry::Reading { reading, age: seconds * 1_000_000 },
        other => other,
    };
    let entries = vec![with_age("b 17 x=1", 18, &mut log), with_age("a 8 x=1", 1, &mut log)];
    let folded = windows.apply(&log.stamped(40 * SECOND, entries));
    assert_eq!(show(&folded), "[0, 10) n=1 sum=1 | late a 8");
}

#[test]
fn ticks_are_wanted_only_while_something_is_open() {
    let mut log = Log::default();
    let mut windows = Windows::new(vec![spec()]);
    windows.apply(&log.group("0 up plant"));
    assert!(!windows.is_open());
    windows.apply(&log.group("1 a 1 x=1"));
    assert!(windows.is_open());
    let stat = &windows.stats()[0];
    assert_eq!((stat.open, stat.keys, stat.clocks, stat.watermark), (1, 1, 1, Some(MIDNIGHT - 4 * SECOND)));
    assert_eq!(show(&windows.finish()), "a [0, 10) n=1 sum=1");
    assert!(!windows.is_open());
}

//! Meters that refuse, are silent, answer late, or go away.

use std::time::Duration;

use serde_json::json;
use tidegate::source::{Item, State};

use super::rig::Meters;
use crate::support::source::Rig;

/// A unit with a register at each of these addresses of its input registers.
fn unit(unit: u8, addresses: &[u16]) -> String {
    let register = |address: &u16| {
        format!("[[source.unit.register]]\nfield = \"f{address}\"\ntable = \"input\"\naddress = {address}\n")
    };
    let registers: String = addresses.iter().map(register).collect();
    format!("[[source.unit]]\nunit = {unit}\ndevice = \"meter-{unit}\"\npoll = \"50ms\"\n{registers}")
}

fn tcp(address: impl std::fmt::Display, more: &str) -> String {
    format!("transport = \"tcp\"\naddress = \"{address}\"\ntimeout = \"200ms\"\n{more}")
}

#[tokio::test]
async fn an_exception_is_counted_and_costs_only_the_fields_of_its_request() {
    let meters = Meters::default();
    meters.set(1, 4, 0, &[7]);
    let (address, _server) = meters.tcp(None).await;
    let mut rig = Rig::modbus("modbus-exception", &tcp(address, &unit(1, &[0, 50])), 100);
    for _ in 0..3 {
        assert_eq!(rig.polled().await, ("meter-1".to_owned(), json!({"f0": 7})));
    }
    assert!(rig.count("faults", "exception", 1) >= 2);
    rig.is("connected", |state| *state == State::Connected).await;
}

#[tokio::test]
async fn a_value_that_is_not_finite_is_left_out_and_counted() {
    let meters = Meters::default();
    meters.set(1, 4, 0, &[7, 0x7FC0, 0]);
    let (address, _server) = meters.tcp(None).await;
    let more = "[[source.unit.register]]\nfield = \"nan\"\ntable = \"input\"\naddress = 1\ntype = \"f32\"\n";
    let mut rig = Rig::modbus("modbus-nan", &tcp(address, &format!("{}{more}", unit(1, &[0]))), 100);
    assert_eq!(rig.polled().await.1, json!({"f0": 7}));
    rig.count_reaches("faults", "not_finite", 1, 1).await;
}

/// Over a line, where there is one request at a time.
#[tokio::test]
async fn a_dead_unit_is_named_and_does_not_slow_the_others_and_is_read_when_it_comes_back() {
    let meters = Meters::default();
    (1..=3).for_each(|unit| meters.set(unit, 4, 0, &[u16::from(unit)]));
    meters.0.lock().unwrap().dead.insert(2);
    let units: String = (1..=3).map(|n| unit(n, &[0])).collect();
    let keys = format!("transport = \"rtu\"\nport = \"DIR/line\"\ntimeout = \"100ms\"\n{units}");
    let mut rig = Rig::modbus("modbus-dead", &keys, 1_000);
    let _line = meters.rtu(&rig.dir.path.join("line"));
    let state = rig.is("partly connected", |state| matches!(state, State::Partly { .. })).await;
    assert!(matches!(&state, State::Partly { why } if why.contains("no answer from unit 2 (meter-2)")), "{state:?}");
    let (asked, alive) = (meters.asked_of(2), [meters.asked_of(1), meters.asked_of(3)]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = meters.asked_of(2) - asked;
    assert!((1..=7).contains(&asked), "asked {asked} times more, ever more rarely");
    for (unit, before) in [1, 3].into_iter().zip(alive) {
        let polls = meters.asked_of(unit) - before;
        assert!(polls >= 45, "unit {unit} was polled {polls} times in 3 s, of 60");
    }
    meters.0.lock().unwrap().dead.clear();
    rig.is("connected", |state| *state == State::Connected).await;
    while rig.polled().await.0 != "meter-2" {}
    assert!(rig.count("faults", "timeout", 2) >= 2);
}

/// On a line an answer does not say what it answers.
#[tokio::test]
async fn an_answer_that_comes_too_late_is_never_taken_for_another() {
    let meters = Meters::default();
    meters.set(1, 4, 0, &[100]);
    meters.set(1, 4, 50, &[150]);
    meters.set(2, 4, 0, &[200]);
    let late = |unit, millis| meters.0.lock().unwrap().late.insert(unit, Duration::from_millis(millis));
    let keys = format!(
        "transport = \"rtu\"\nport = \"DIR/line\"\ntimeout = \"100ms\"\n{}{}",
        unit(1, &[0, 50]),
        unit(2, &[0])
    );
    let mut rig = Rig::modbus("modbus-late", &keys, 1_000);
    let _line = meters.rtu(&rig.dir.path.join("line"));
    for round in 0..20 {
        late(1, if round % 2 == 0 { 130 } else { 0 });
        for _ in 0..4 {
            let (device, fields) = rig.polled().await;
            for (field, value) in fields.as_object().unwrap() {
                let expected = if device == "meter-1" { 100 } else { 200 } + if field == "f50" { 50 } else { 0 };
                assert_eq!(*value, expected, "{device} {fields}");
            }
        }
    }
    assert!(rig.count("faults", "timeout", 1) > 0);
}

#[tokio::test]
async fn a_device_that_goes_away_is_connected_again_and_the_log_knows() {
    let meters = Meters::default();
    meters.set(1, 4, 0, &[7]);
    let (address, server) = meters.tcp(None).await;
    let mut rig = Rig::modbus("modbus-away", &tcp(address, &unit(1, &[0])), 1_000);
    rig.polled().await;
    server.abort();
    let _ = server.await;
    let state = rig.is("down", |state| matches!(state, State::Down { .. })).await;
    assert!(matches!(&state, State::Down { why } if why.contains("check the")), "{state:?}");
    let (_, _server) = meters.tcp(Some(address)).await;
    rig.is("connected", State::is_connected).await;
    let (mut went, mut came) = (false, false);
    while !came {
        match rig.next().await {
            Item::Down(_) => went = true,
            Item::Up(_) => came = went,
            Item::Delivery { .. } => {}
        }
    }
    rig.polled().await;
}

#[tokio::test]
async fn a_line_that_fails_in_mid_turn_costs_only_what_was_not_read_and_no_turn_of_another_unit() {
    let meters = Meters::default();
    meters.set(1, 4, 0, &[7]);
    meters.set(2, 4, 0, &[8]);
    meters.0.lock().unwrap().hangs_up.insert(50);
    let (address, _server) = meters.tcp(None).await;
    let units = unit(1, &[0, 50]) + &unit(2, &[0]);
    let mut rig = Rig::modbus("modbus-hangs-up", &tcp(address, &units), 1_000);
    assert_eq!(rig.polled().await, ("meter-1".to_owned(), json!({"f0": 7})));
    assert_eq!(rig.polled().await, ("meter-2".to_owned(), json!({"f0": 8})));
    rig.count_reaches("faults", "line", 1, 2).await;
    meters.set(1, 4, 50, &[9]);
    meters.0.lock().unwrap().hangs_up.clear();
    while rig.polled().await.1 != json!({"f0": 7, "f50": 9}) {}
}

#[tokio::test]
async fn a_line_that_is_unplugged_is_opened_again() {
    let meters = Meters::default();
    meters.set(1, 4, 0, &[7]);
    let keys = format!("transport = \"rtu\"\nport = \"DIR/line\"\ntimeout = \"100ms\"\n{}", unit(1, &[0]));
    let mut rig = Rig::modbus("modbus-unplug", &keys, 1_000);
    rig.is("down", |state| matches!(state, State::Down { why } if why.contains("there is no"))).await;
    for _ in 0..3 {
        let line = meters.rtu(&rig.dir.path.join("line"));
        rig.is("connected", State::is_connected).await;
        rig.polled().await;
        line.abort();
        let _ = line.await;
        rig.is("down", |state| matches!(state, State::Down { .. })).await;
        while rig.items.try_recv().is_ok() {}
    }
}

#[tokio::test]
async fn polls_are_skipped_and_counted_while_the_inbox_has_no_room() {
    let meters = Meters::default();
    meters.set(1, 4, 0, &[7]);
    let (address, _server) = meters.tcp(None).await;
    let mut rig = Rig::modbus("modbus-full", &tcp(address, &unit(1, &[0])), 3);
    rig.count_reaches("polls", "skipped", 1, 5).await;
    assert_eq!(rig.count("polls", "read", 1), 2, "the inbox holds these, and that the source is up");
    let asked = meters.asked().len();
    rig.polled().await;
    rig.polled().await;
    rig.polled().await;
    assert!(meters.asked().len() > asked);
}

//! Registers to readings.

use serde_json::json;
use tidegate::simulate::modbus::slave::Asked;

use super::rig::Meters;
use crate::support::source::Rig;

const REGISTERS: &str = "
  [[source.unit]]
  unit = 3
  device = \"meter-3\"
  poll = \"50ms\"
    [[source.unit.register]]
    field = \"serial\"
    address = \"40101\"
    type = \"text(6)\"
    [[source.unit.register]]
    field = \"energy\"
    table = \"input\"
    address = 4
    type = \"u64\"
    [[source.unit.register]]
    field = \"voltage\"
    table = \"input\"
    address = 0
    type = \"f32\"
    order = \"cdab\"
    [[source.unit.register]]
    field = \"temp\"
    address = \"30003\"
    type = \"i16\"
    scale = 0.1
    offset = 1.0
    [[source.unit.register]]
    field = \"alarm\"
    address = \"30004\"
    bit = 3
    [[source.unit.register]]
    field = \"state\"
    address = \"30004\"
    [[source.unit.register]]
    field = \"pump\"
    table = \"coil\"
    address = 17
    [[source.unit.register]]
    field = \"door\"
    table = \"discrete\"
    address = 9
";

fn meters() -> Meters {
    let meters = Meters::default();
    meters.set(3, 4, 0, &[0x199A, 0x4366, 0xFFF6, 0x000B, 0, 0, 1, 2]);
    meters.set(3, 3, 100, &[0x5348, 0x4C59, 0x3700]);
    meters.set(3, 1, 17, &[1]);
    meters.set(3, 2, 9, &[0]);
    meters
}

/// What all of it says, however it came.
async fn reads(mut rig: Rig, meters: Meters) {
    let expected = json!({
        "voltage": 230.1, "temp": 0.0, "alarm": true, "state": 11, "energy": 65_538, "serial": "SHLY7", "pump": true,
        "door": false
    });
    for _ in 0..3 {
        assert_eq!(rig.polled().await, ("meter-3".to_owned(), expected.clone()));
    }
    let asked = |function, first, count| Asked { unit: 3, function, first, count };
    assert_eq!(
        meters.asked()[..4],
        [asked(1, 17, 1), asked(2, 9, 1), asked(4, 0, 8), asked(3, 100, 3)],
        "eight fields in four requests"
    );
    let polls = rig.count("polls", "read", 3);
    assert!((3..=6).contains(&polls), "{polls}");
}

#[tokio::test]
async fn registers_of_every_kind_come_as_one_reading_in_few_requests_over_tcp() {
    let meters = meters();
    let (address, _server) = meters.tcp(None).await;
    reads(
        Rig::modbus("modbus-tcp", &format!("transport = \"tcp\"\naddress = \"{address}\"\n{REGISTERS}"), 100),
        meters,
    )
    .await;
}

#[tokio::test]
async fn registers_of_every_kind_come_as_one_reading_in_few_requests_over_a_line() {
    let meters = meters();
    let rig = Rig::modbus("modbus-rtu", &format!("transport = \"rtu\"\nport = \"DIR/line\"\n{REGISTERS}"), 100);
    let _line = meters.rtu(&rig.dir.path.join("line"));
    reads(rig, meters).await;
}

#[tokio::test]
async fn a_hundred_and_fifty_registers_side_by_side_take_two_requests() {
    let meters = Meters::default();
    meters.set(1, 4, 0, &(0..150).collect::<Vec<_>>());
    let (address, _server) = meters.tcp(None).await;
    let registers: String = (0..150)
        .map(|n| format!("[[source.unit.register]]\nfield = \"f{n}\"\ntable = \"input\"\naddress = {n}\n"))
        .collect();
    let keys =
        format!("transport = \"tcp\"\naddress = \"{address}\"\n[[source.unit]]\nunit = 1\npoll = \"60s\"\n{registers}");
    let mut rig = Rig::modbus("modbus-many", &keys, 100);
    let (device, fields) = rig.polled().await;
    assert_eq!(device, "m-1", "named after the source and the unit");
    assert!((0..150).all(|n| fields[format!("f{n}")] == n));
    let counts: Vec<_> = meters.asked().iter().map(|asked| (asked.first, asked.count)).collect();
    assert_eq!(counts, [(0, 125), (125, 25)]);
}

#[tokio::test]
async fn polls_keep_their_beat() {
    let meters = meters();
    let (address, _server) = meters.tcp(None).await;
    let keys = format!("transport = \"tcp\"\naddress = \"{address}\"\n{}", REGISTERS.replace("50ms", "40ms"));
    let mut rig = Rig::modbus("modbus-beat", &keys, 1_000);
    let start = std::time::Instant::now();
    rig.polled().await;
    for _ in 0..50 {
        rig.polled().await;
    }
    let (took, missed) = (start.elapsed().as_millis() as u64, rig.count("polls", "missed", 3));
    let beats = took / 40;
    assert!((50..=52).contains(&(beats - missed.min(beats))), "50 polls in {took} ms, {missed} beats missed");
}

//! Meters that are not ours: pymodbus, over TCP and over a wire that socat makes.

use std::path::Path;
use std::process::{Child, Command};

use serde_json::json;

use crate::firmware::micropython::Wire;
use crate::firmware::tools;
use crate::support::TempDir;
use crate::support::gateway::free_address;
use crate::support::source::Rig;

struct Meters(Child);

impl Meters {
    /// `None` where pymodbus is not there.
    fn start(transport: &str, port: &str) -> Option<Self> {
        let python = std::env::var("TIDEGATE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let known = Command::new(&python).args(["-c", "import pymodbus, serial"]).output();
        if !known.is_ok_and(|known| known.status.success()) {
            assert!(std::env::var_os("CI").is_none(), "pymodbus is missing");
            eprintln!("SKIPPED: no pymodbus; `bash tests/run` installs it");
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modbus/meters.py");
        Some(Self(Command::new(python).arg(script).args([transport, port]).spawn().unwrap()))
    }
}

impl Drop for Meters {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// All that unit 1 holds, and of unit 2 a register that it has and one that it refuses.
fn units() -> String {
    let register = |field: String, table: &str, address: u16| {
        format!("[[source.unit.register]]\nfield = \"{field}\"\ntable = \"{table}\"\naddress = {address}\n")
    };
    let words: String = (0..300).map(|n| register(format!("r{n}"), "holding", n)).collect();
    let coils: String = (0..40).map(|n| register(format!("c{n}"), "coil", n)).collect();
    let two = register("has".to_owned(), "holding", 107) + &register("lacks".to_owned(), "holding", 7);
    format!(
        "timeout = \"2s\"\n[[source.unit]]\nunit = 1\ndevice = \"one\"\npoll = \"200ms\"\n{words}{coils}\
         [[source.unit]]\nunit = 2\ndevice = \"two\"\npoll = \"200ms\"\n{two}"
    )
}

async fn all_is_read(mut rig: Rig) {
    let (mut one, mut two) = (0, 0);
    while one < 3 || two < 3 {
        let (device, fields) = rig.polled().await;
        if device == "two" {
            assert_eq!(fields, json!({"has": 7}));
            two += 1;
            continue;
        }
        let fields = fields.as_object().unwrap();
        assert_eq!(fields.len(), 340);
        (0..300).for_each(|n| assert_eq!(fields[&format!("r{n}")], (n * 257 + 3) % 65_536));
        (0..40).for_each(|n| assert_eq!(fields[&format!("c{n}")], n % 3 == 0));
        one += 1;
    }
    rig.count_reaches("faults", "exception", 2, 3).await;
    assert_eq!(rig.count("faults", "exception", 1), 0);
    // 125 registers at the most in a request: three for the words, one for the coils.
    let asked = rig.requests(1);
    assert!((4 * one..4 * (one + 3)).contains(&asked), "{asked} requests for {one} readings");
}

#[tokio::test]
async fn three_hundred_registers_and_an_exception_over_tcp() {
    let port = free_address().port();
    let Some(_meters) = Meters::start("tcp", &port.to_string()) else { return };
    let keys = format!("transport = \"tcp\"\naddress = \"127.0.0.1:{port}\"\n{}", units());
    all_is_read(Rig::modbus("pymodbus-tcp", &keys, 10)).await;
}

#[tokio::test]
async fn three_hundred_registers_and_an_exception_over_a_wire() {
    if !tools::there(&["socat"]) {
        return;
    }
    let dir = TempDir::new("pymodbus-wire");
    let wire = Wire::new(&dir);
    let Some(_meters) = Meters::start("rtu", wire.ends[0].to_str().unwrap()) else { return };
    let keys = format!("transport = \"rtu\"\nport = \"{}\"\nbaud = 115200\n{}", wire.ends[1].display(), units());
    all_is_read(Rig::modbus("pymodbus-rtu", &keys, 10)).await;
}

use std::path::Path;
use std::time::Duration;

use super::*;

const LEAST: &str = r#"
[[source]]
type = "mqtt"
name = "plant"
url = "mqtt://broker"
  [[source.subscribe]]
  filter = "sensors/+/t"
[kinesis]
stream = "telemetry"
region = "eu-west-1"
"#;

fn read(text: &str) -> Result<(Config, Vec<Note>), Vec<Fault>> {
    parse(text, Path::new("t.toml"), &Environment::from([("REGION", "eu-north-1")]))
}

/// The faults of the least configuration with one line added to a section, as `LINE:COLUMN: what; remedy`.
fn faults(section: &str, line: &str) -> Vec<String> {
    let text = match section {
        "source" => LEAST.replacen("name = \"plant\"\n", &format!("name = \"plant\"\n{line}\n"), 1),
        "kinesis" => format!("{LEAST}{line}\n"),
        _ => format!("{LEAST}[{section}]\n{line}\n"),
    };
    let faults = read(&text).map(|_| ()).expect_err("it is faulty");
    faults.iter().map(|fault| fault.to_string().trim_start_matches("t.toml:").to_owned()).collect()
}

#[test]
fn the_least_configuration_has_every_default() {
    let (config, notes) = read(LEAST).unwrap();
    let Source::Mqtt(mqtt) = &config.sources[0] else { panic!("{:?}", config.sources) };
    assert_eq!((mqtt.host.as_str(), mqtt.port, mqtt.in_flight), ("broker", 1883, 1000));
    assert_eq!((mqtt.protocol, mqtt.session_expiry), (Protocol::V5, Duration::from_hours(168)));
    assert_eq!((config.batch.max_bytes, config.batch.max_age), (256 << 10, Duration::from_secs(5)));
    assert_eq!((config.kinesis.max_record, config.kinesis.max_request), (1 << 20, 5 << 20));
    assert_eq!(config.queue.commit_linger, Duration::from_millis(250));
    assert_eq!(config.http.listen.unwrap().to_string(), "127.0.0.1:9470");
    assert!(notes.is_empty());
}

#[test]
fn every_fault_is_named_in_one_run_with_its_place() {
    let text = r#"
[gateway]
dta_dir = "/tmp/x"
[[source]]
type = "mqtt"
name = "plant"
url = "mqtts://broker"
ca_file = "/nowhere/ca.pem"
in_flight = "many"
  [[source.subscribe]]
  filter = "a/#/b"
[[source]]
type = "mqtt"
name = "plant"
url = "ws://broker"
  [[source.subscribe]]
  filter = "a/+"
[batch]
max_age = "5 parsecs"
[kinesis]
region = "eu-west-1"
"#;
    let faults = read(text).unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| (fault.at.line, fault.at.column)).collect();
    assert_eq!(found, [(3, 1), (8, 11), (9, 13), (11, 12), (14, 8), (15, 7), (19, 11), (20, 2)], "{faults:#?}");
    assert_eq!(faults[0].remedy, "did you mean `data_dir`?");
    assert!(faults[1].what.contains("/nowhere/ca.pem, which cannot be read"));
    assert!(faults[4].what.contains("two sources are called \"plant\""));
    assert!(faults[7].what.contains("`kinesis.stream` is missing"));
}

#[test]
fn text_that_is_not_toml_is_named_by_place() {
    let lines = |text: &str| read(text).unwrap_err().iter().map(|fault| fault.at.line).collect::<Vec<_>>();
    assert_eq!(lines("[gateway]\nid = 1 2\n[queue]\nx = = 1\n"), [2, 4]);
}

#[test]
fn each_fault_says_what_would_be_right() {
    for (section, line, expected) in [
        (
            "batch",
            "max_age = 5",
            "12:11: `batch.max_age` is a whole number; a duration is written \"5s\", \"250ms\" or \"7d\"",
        ),
        (
            "batch",
            "format = \"kpl\"",
            "12:10: `batch.format` = \"kpl\" is not known in this version; write \"columns\"",
        ),
        (
            "batch",
            "max_bytes = \"2MiB\"",
            "12:13: `batch.max_bytes` = 2.0 MiB is out of bounds; it may be 1.0 KiB to 1023.0 KiB",
        ),
        ("batch", "level = 99", "12:9: `batch.level` = 99 is out of bounds; it may be 1 to 22"),
        ("route", "match = \"\"", "11:2: `route` is not in this version of tidegate; leave it out"),
        (
            "http",
            "listen = \"0.0.0.0:80\"",
            "12:10: `http.listen` = \"0.0.0.0:80\" can be reached from elsewhere without a token; set token_file, or insecure_no_token = true, or listen on 127.0.0.1",
        ),
        ("kinesis", "lane = 2", "11:1: `kinesis.lane` is an unknown key; did you mean `lanes`?"),
        (
            "kinesis",
            "endpoint_url = \"${NOWHERE}\"",
            "11:16: the environment has no NOWHERE; set it, or write the value here",
        ),
        (
            "source",
            "cert_file = \"t.toml\"",
            "5:13: `source.cert_file` without `ca_file`; name the broker's CA, or the system's: /etc/ssl/certs/ca-certificates.crt",
        ),
        (
            "source.filter",
            "drop = [\"a\"]\nkeep = [\"b\"]",
            "12:8: `source.filter.drop` beside `keep`; keep one of them: what `keep` does not name is dropped",
        ),
        (
            "source.filter",
            "deadband = { a = -1 }",
            "12:14: the deadband of \"a\" is -1; write 0 for every change, or how far a value may move unreported",
        ),
        (
            "source.filter",
            "deadband = { a.b = 1 }",
            "12:14: `source.filter.deadband.a` is a section; write a number; a name with a dot is put in quotes",
        ),
        (
            "source.filter",
            "rename = { a = \"c\", b = \"c\" }",
            "12:21: two fields are renamed to \"c\", the second is \"b\"; give each a name of its own",
        ),
        (
            "source.filter",
            "on_change = [\"a\"]\ndeadband = { a = 1 }",
            "12:14: \"a\" has a deadband too; keep one of them",
        ),
        (
            "source.filter",
            "on_change = \"a\"",
            "12:13: `source.filter.on_change` is text; write on_change = [\"…\", \"…\"]",
        ),
        ("source", "password = \"x\"", "5:12: a password without `source.username`; add username = \"…\""),
        (
            "source",
            "ca_file = \"t.toml\"",
            "5:11: `source.ca_file` names t.toml, which cannot be read: No such file or directory (os error 2); correct the path, or make the file readable for this user",
        ),
    ] {
        let found = faults(section, line);
        assert!(found.iter().any(|fault| fault == expected), "{line}: {found:#?}\nexpected {expected}");
    }
}

#[test]
fn the_environment_stands_in_and_overrides_and_files_join() {
    let text = LEAST.replace("eu-west-1", "${REGION}");
    assert_eq!(read(&text).unwrap().0.kinesis.region, "eu-north-1");

    let dir = std::env::temp_dir().join(format!("tidegate-config-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("conf.d")).unwrap();
    std::fs::write(dir.join("a.toml"), LEAST).unwrap();
    std::fs::write(dir.join("conf.d/b.toml"), "[kinesis]\nlanes = 4\n[[source]]\ntype=\"mqtt\"\nname=\"two\"\nurl=\"mqtt://b\"\n[[source.subscribe]]\nfilter=\"x\"\n").unwrap();
    let env = Environment::from([
        ("TIDEGATE__KINESIS__STREAM", "other"),
        ("TIDEGATE__KINESIS__MAX_RECORD", "2MiB"),
        ("TIDEGATE__KINESIS__BACKOFF__BASE", "1s"),
        ("TIDEGATE__HTTP__INSECURE_NO_TOKEN", "true"),
        ("TIDEGATE__HTTP__LISTEN", "0.0.0.0:1"),
        ("TIDEGATE_ID", "17"),
        ("TIDEGATE_OF_OTHERS", "x"),
    ]);
    let (config, _) = load(&dir.join("a.toml"), &env).unwrap();
    assert_eq!(
        (config.kinesis.stream.as_str(), config.kinesis.lanes, config.kinesis.max_record),
        ("other", 4, 2 << 20)
    );
    assert_eq!((config.sources.len(), config.gateway.id.as_deref()), (2, Some("17")));

    assert_eq!(config.kinesis.backoff.base, Duration::from_secs(1));

    std::fs::write(dir.join("conf.d/c.toml"), "[kinesis]\nlanes = 5\nlane = 5\n").unwrap();
    let env = Environment::from([("TIDEGATE__KINESIS__STRAEM", "x"), ("TIDEGATE__SOURCE__URL", "mqtt://c")]);
    let faults = load(&dir.join("a.toml"), &env).unwrap_err();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let expected = [
        "c.toml:2:1: `lanes` is set twice, the first time at",
        "c.toml:3:1: `kinesis.lane` is an unknown key; did you mean `lanes`?",
        "environment TIDEGATE__KINESIS__STRAEM:1:1: `kinesis.straem` is an unknown key; did you mean `stream`?",
        "environment TIDEGATE__SOURCE__URL:1:1: `source` is a list, or no section; write it in the file",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for expected in expected {
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:#?}");
    }

    std::fs::remove_dir_all(dir.join("conf.d")).unwrap();
    std::fs::write(dir.join("conf.d"), "").unwrap();
    let faults = load(&dir.join("a.toml"), &env).unwrap_err();
    assert!(faults[0].what.contains("this directory cannot be read"), "{faults:?}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn secrets_are_never_shown() {
    let text = LEAST.replace("name = \"plant\"", "name = \"plant\"\nusername = \"u\"\npassword = \"hunter2\"");
    let config = read(&text).unwrap().0;
    assert!(!format!("{config:?}").contains("hunter2"));
    for line in ["ca_file = \"t.toml\"", ""] {
        let text = LEAST.replace("mqtt://broker\"", &format!("mqtt://u:hunter2@broker\"\n{line}"));
        let faults = read(&text).unwrap_err();
        assert!(faults.iter().any(|fault| fault.what.contains("has a login in it")), "{faults:?}");
        assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
    }
}

#[test]
fn a_password_is_the_first_line_of_its_file_and_keeps_its_spaces() {
    let dir = std::env::temp_dir().join(format!("tidegate-password-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("password"), " a b \r\n").unwrap();
    let keys = "name = \"plant\"\nusername = \"u\"\npassword_file = \"password\"";
    std::fs::write(dir.join("a.toml"), LEAST.replace("name = \"plant\"", keys)).unwrap();
    let source = load(&dir.join("a.toml"), &Environment::default()).unwrap().0.sources.remove(0);
    let Source::Mqtt(mqtt) = source else { panic!("{source:?}") };
    assert_eq!(mqtt.password.unwrap().0, b" a b ");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn faults_of_subscriptions_point_at_the_key_that_is_wrong_and_none_hides_another() {
    let text = r#"
[[source]]
name = "plant"
url = "mqtt://broker"
in_flight = 0
  [[source.subscribe]]
  filter = "a/#/b"
  topic = "a/{device}/b"
  [[source.subscribe]]
  filter = "a/+"
  topic = "b/{device}"
  [[source.subscribe]]
  filter = "a/+"
  [[source.subscribe]]
  filter = "$share/g+/a"
[kinesis]
stream = "telemetry"
region = "eu-west-1"
"#;
    let faults = read(text).unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| (fault.at.line, fault.at.column)).collect();
    assert_eq!(found, [(2, 1), (5, 13), (7, 12), (11, 11), (13, 12), (15, 12)], "{faults:#?}");
    assert!(faults[4].what.contains("is subscribed to twice, first at"), "{faults:#?}");
}

#[test]
fn csv_needs_columns_that_hold_its_time_and_its_device() {
    let with = |lines: &str| read(&LEAST.replace("/t\"\n", &format!("/t\"\nformat = \"csv\"\n{lines}\n")));
    let (config, notes) = with("columns = [\"ts\", \"\", \"temp\"]\ntime = \"ts\"").unwrap();
    let Source::Mqtt(mqtt) = &config.sources[0] else { panic!("{:?}", config.sources) };
    assert_eq!(mqtt.subscriptions[0].payload.columns, ["ts", "", "temp"]);
    assert!(notes.is_empty(), "{notes:?}");
    for (lines, place, expected) in [
        ("", (6, 3), "`columns` is missing"),
        ("columns = \"a\"", (9, 11), "columns` is text"),
        ("columns = [\"a\", 7]", (9, 17), "columns` holds a whole number"),
        ("columns = [\"\"]", (9, 11), "no column has a name"),
        ("columns = [\"a\", \"b\", \"a\"]", (9, 22), "two columns are called \"a\""),
        ("columns = [\"a\"]\ntime = \"ts\"", (10, 8), "`time` = \"ts\" is not among the columns"),
        ("columns = [\"a\"]\ndevice_field = \"id\"", (10, 16), "`device_field` = \"id\" is not among the columns"),
    ] {
        let faults = with(lines).unwrap_err();
        assert_eq!(faults.len(), 1, "{lines}: {faults:?}");
        assert!(faults[0].what.contains(expected), "{lines}: {faults:?}");
        assert_eq!((faults[0].at.line, faults[0].at.column), place, "{lines}: {faults:?}");
    }
}

#[test]
fn keys_that_do_nothing_are_noted() {
    for (line, expected) in [
        ("time_unit = \"ms\"", "time_unit without time"),
        ("format = \"raw\"\ntime = \"ts\"", "a raw payload has no fields"),
        ("format = \"senml-cbor\"\ndevice_field = \"id\"", "senml has its own words"),
        ("format = \"influx\"\ntime = \"ts\"", "a line of influx has its own place for the time"),
        ("format = \"sparkplug\"\ntime = \"ts\"", "sparkplug has its own places"),
        ("request_rebirth = true", "request_rebirth is for format"),
        ("columns = [\"a\"]", "columns are for format = \"csv\""),
        ("qos = 2", "asked for as 1"),
    ] {
        let text = LEAST.replace("/t\"\n", &format!("/t\"\n{line}\n"));
        let notes = read(&text).unwrap().1;
        assert!(notes.len() == 1 && notes[0].what.contains(expected), "{line}: {notes:?}");
    }
    let text = LEAST.replace("name = \"plant\"", "name = \"plant\"\nprotocol = \"3.1.1\"\nsession_expiry = \"1d\"");
    assert!(read(&text).unwrap().1[0].what.contains("session_expiry is for protocol"));
}

/// The least configuration with a source of these lines instead of its own.
fn with_source(lines: &str) -> String {
    format!("[[source]]\n{lines}\n[kinesis]\nstream = \"telemetry\"\nregion = \"eu-west-1\"\n")
}

#[test]
fn a_serial_source_has_every_default_and_takes_every_setting() {
    let serial = |lines: &str| {
        let source = read(&with_source(lines)).unwrap().0.sources.remove(0);
        let Source::Serial(serial) = source else { panic!("{source:?}") };
        serial
    };
    let least = serial("type = \"serial\"\nname = \"boiler\"\nport = \"/dev/ttyUSB0\"");
    let line =
        Line { baud: 115_200, data_bits: 8, parity: Parity::None, stop_bits: 1, flow_control: FlowControl::None };
    assert_eq!((least.line, least.framing, least.max_frame, least.device), (line, Framing::Lines, 4_096, None));
    let full = serial(
        "type = \"serial\"\nname = \"boiler\"\nport = \"/dev/serial/by-id/usb-*\"\nbaud = 9600\ndata_bits = 7\n\
         parity = \"even\"\nstop_bits = 2\nflow_control = \"hardware\"\nframing = \"cobs\"\nmax_frame = 100\n\
         format = \"raw\"\ndevice = \"boiler-1\"",
    );
    let line =
        Line { baud: 9_600, data_bits: 7, parity: Parity::Even, stop_bits: 2, flow_control: FlowControl::Hardware };
    assert_eq!((full.line, full.framing, full.max_frame), (line, Framing::Cobs, 100));
    assert_eq!((full.device.as_deref(), full.payload.format), (Some("boiler-1"), Format::Raw));
}

#[test]
fn every_fault_of_a_serial_source_is_named() {
    let text = with_source(
        "type = \"serial\"\nname = \"a b\"\nport = \"/dev/tty[\"\nbaud = 7\nparity = \"mark\"\nframing = \"cobs\"\n\
         flow_control = \"software\"\nspeed = 1\n[[source]]\ntype = \"serial\"\nname = \"x\"\nport = \"/dev/tty[\"",
    );
    let faults = read(&text).unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| (fault.at.line, fault.at.column)).collect();
    assert_eq!(found, [(3, 8), (4, 8), (5, 8), (6, 10), (8, 16), (9, 1), (13, 8), (13, 8)], "{faults:#?}");
    let all = faults.iter().map(ToString::to_string).collect::<String>();
    for expected in [
        "is not a pattern",
        "`source.baud` = 7 is out of bounds; it may be 50 to 12000000",
        "write \"none\" or \"odd\" or \"even\"",
        "takes two byte values out of the frames",
        "two sources use the port",
    ] {
        assert!(all.contains(expected), "{expected}: {faults:#?}");
    }
}

#[test]
fn a_format_that_a_port_cannot_bring_is_refused() {
    for (keys, expected) in [
        ("format = \"sparkplug\"\nframing = \"cobs\"", "sparkplug needs topics"),
        ("format = \"cbor\"", "\"cbor\" is binary: a line would end in the middle of it; write framing = \"cobs\""),
    ] {
        let text = with_source(&format!("type = \"serial\"\nname = \"boiler\"\nport = \"/dev/ttyUSB0\"\n{keys}"));
        let faults = read(&text).unwrap_err();
        assert!(matches!(&faults[..], [fault] if fault.to_string().contains(expected)), "{faults:#?}");
    }
}

#[test]
fn a_modbus_source_has_every_default_and_reads_addresses_as_manuals_print_them() {
    let text = with_source(
        "type = \"modbus\"\nname = \"meters\"\ntransport = \"rtu\"\nport = \"/dev/ttyUSB1\"\n[[source.unit]]\nunit = 7\n\
         [[source.unit.register]]\nfield = \"a\"\naddress = \"30001\"\n\
         [[source.unit.register]]\nfield = \"b\"\naddress = \"465536\"\nbit = 3\n\
         [[source.unit.register]]\nfield = \"c\"\ntable = \"discrete\"\naddress = 9\n\
         [[source.unit.register]]\nfield = \"d\"\naddress = \"00002\"\n\
         [[source.unit.register]]\nfield = \"e\"\ntable = \"holding\"\naddress = 0\ntype = \"text(7)\"\norder = \"badc\"\n\
         [[source.unit.register]]\nfield = \"f\"\ntable = \"input\"\naddress = 1\ntype = \"f32\"\nscale = 2\noffset = -0.5\n",
    );
    let source = read(&text).unwrap().0.sources.remove(0);
    let Source::Modbus(modbus) = source else { panic!("{source:?}") };
    let millis = Duration::from_millis;
    assert_eq!((modbus.timeout, modbus.gap), (millis(500), millis(5)));
    let Transport::Rtu { line, .. } = &modbus.transport else { panic!() };
    assert_eq!(line.baud, 9_600);
    let [unit] = &modbus.units[..] else { panic!() };
    assert_eq!((unit.unit, unit.device.as_str(), unit.poll), (7, "meters-7", Duration::from_secs(1)));
    let registers: Vec<_> = unit.registers.iter().map(|it| (it.table, it.address, it.kind)).collect();
    let expected = [
        (Table::Input, 0, Kind::U16),
        (Table::Holding, 65_535, Kind::Bit(3)),
        (Table::Discrete, 9, Kind::Bool),
        (Table::Coil, 1, Kind::Bool),
        (Table::Holding, 0, Kind::Text(7)),
        (Table::Input, 1, Kind::F32),
    ];
    assert_eq!(registers, expected);
    assert_eq!((unit.registers[5].scale, unit.registers[5].offset), (Some(2.0), Some(-0.5)));
    let address = |address: &str| {
        let text = text.replace("\"rtu\"\nport = \"/dev/ttyUSB1\"", &format!("\"tcp\"\naddress = \"{address}\""));
        read(&text).map(|(mut config, _)| match config.sources.remove(0) {
            Source::Modbus(Modbus { transport: Transport::Tcp { host, port }, .. }) => (host, port),
            source => panic!("{source:?}"),
        })
    };
    assert_eq!(address("10.0.0.5").unwrap(), ("10.0.0.5".to_owned(), 502));
    assert_eq!(address("[::1]:1502").unwrap(), ("::1".to_owned(), 1_502));
    assert!(address("10.0.0.5:x").unwrap_err()[0].to_string().contains("write HOST:PORT"));
}

#[test]
fn every_fault_of_a_modbus_source_is_named() {
    let register = |keys: &str| {
        let text = with_source(&format!(
            "type = \"modbus\"\nname = \"m\"\ntransport = \"tcp\"\naddress = \"h\"\n[[source.unit]]\nunit = 1\n\
             [[source.unit.register]]\nfield = \"a\"\n{keys}\n"
        ));
        let faults = read(&text).expect_err(keys);
        assert_eq!(faults.len(), 1, "{keys}: {faults:#?}");
        faults[0].to_string()
    };
    for (keys, expected) in [
        ("address = 70000\ntable = \"input\"", "= 70000 is out of bounds"),
        ("address = 7", "= 7 without a table"),
        ("address = \"50001\"", "= \"50001\" is not an address"),
        ("address = \"40000\"", "= \"40000\" is not an address"),
        ("address = \"30001\"\ntable = \"coil\"", "is of another table"),
        ("table = \"input\"", "`source.unit.register.address` is missing"),
        ("address = \"30001\"\ntype = \"text(0)\"", "has no length from 1 to 250"),
        ("address = \"30001\"\ntype = \"float\"", "write \"u16\" or \"i16\""),
        ("address = \"30001\"\ntype = \"u16\"\nbit = 3", "is of a register, and a bool"),
        ("address = \"30001\"\nbit = 16", "it may be 0 to 15"),
        ("address = \"00001\"\ntype = \"u16\"", "are bits"),
        ("address = \"30001\"\nbit = 3\nscale = 2", "are for numbers"),
        ("address = \"30001\"\nscale = \"2\"", "write a number that is finite"),
        ("address = \"30001\"\nscale = inf", "write a number that is finite"),
        ("address = \"30001\"\ntype = \"text(4)\"\norder = \"cdab\"", "from its first register on"),
        ("address = \"365536\"\ntype = \"u32\"", "reaches beyond address 65535"),
    ] {
        let fault = register(keys);
        assert!(fault.contains(expected), "{keys}: {fault}\nexpected {expected}");
    }
    let text = with_source(
        "type = \"modbus\"\nname = \"m\"\ntransport = \"udp\"\nport = \"/dev/x\"\n[[source.unit]]\npoll = \"1us\"\n\
         [[source.unit.register]]\nfield = \"a\"\naddress = \"30001\"\n[[source.unit.register]]\nfield = \"a\"\n\
         address = \"30002\"\n[[source.unit]]\nunit = 248",
    );
    let faults = read(&text).unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| (fault.at.line, fault.at.column)).collect();
    assert_eq!(found, [(4, 13), (6, 1), (7, 8), (12, 9), (14, 1), (15, 8)], "{faults:#?}");
}

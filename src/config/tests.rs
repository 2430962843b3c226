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
    let Source::Mqtt(mqtt) = &config.sources[0];
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
    let Source::Mqtt(mqtt) = load(&dir.join("a.toml"), &Environment::default()).unwrap().0.sources.remove(0);
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
    let Source::Mqtt(mqtt) = &config.sources[0];
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

//! What people read when something is wrong: one clear sentence with the remedy, and no backtrace.

use std::net::TcpListener;
use std::process::Output;

use tidegate::simulate::broker::Broker;

use crate::support::TempDir;
use crate::support::gateway::{TestGateway, free_address, tidegate};

/// What was said, after a look that it is fit for people.
fn sentence(stderr: &str) -> String {
    let lines: Vec<_> = stderr.lines().filter(|line| line.starts_with("tidegate: ")).collect();
    let [line] = lines[..] else { panic!("not one sentence: {stderr}") };
    for unfit in ["panicked", "backtrace", "Error {", "Os {"] {
        assert!(!stderr.contains(unfit), "{stderr}");
    }
    line.to_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Starts a gateway that cannot run, and returns what it says of that.
fn refusal(gateway: &mut TestGateway) -> String {
    gateway.spawn();
    let ended = gateway.wait();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    sentence(&ended.stderr)
}

fn gateway(name: &str) -> TestGateway {
    TestGateway::new(name, free_address().port(), "http://127.0.0.1:9", "")
}

#[test]
fn check_names_every_fault_with_line_and_column() {
    let dir = TempDir::new("check");
    let file = dir.path.join("bad.toml");
    let text = r#"[gateway]
data_dri = "/var/lib/tidegate"
[[source]]
type = "mqtt"
name = "plant"
url = "mqtts://127.0.0.1"
ca_file = "/nowhere/ca.pem"
in_flight = "many"
[[source.subscribe]]
filter = "a/b"
[[source]]
type = "mqtt"
name = "plant"
url = "mqtt://127.0.0.1"
[[source.subscribe]]
filter = "a/b"
[batch]
max_age = "five seconds"
[kinesis]
region = "eu-west-1"
"#;
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let checked = tidegate(&["check", "-c", path]);
    assert_eq!(checked.status.code(), Some(2));
    let said = err(&checked);
    let expected = [
        "2:1: `gateway.data_dri` is an unknown key; did you mean `data_dir`?",
        "7:11: `source.ca_file` names /nowhere/ca.pem, which cannot be read",
        "8:13: `source.in_flight` is text; ",
        "13:8: two sources are called \"plant\"",
        "18:11: `batch.max_age` = \"five seconds\" is not a duration",
        "19:2: `kinesis.stream` is missing",
    ];
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("{path}:{expected}")), "{line}\nexpected {expected}");
        assert!(line.contains("; "), "{line} has no remedy");
    }
    for command in [&["run", "-c", path][..], &["queue", "stat", "-c", path], &["status", "-c", path]] {
        assert_eq!(tidegate(command).status.code(), Some(2), "{command:?}");
    }
}

#[test]
fn what_init_writes_is_accepted_by_check() {
    let dir = TempDir::new("init");
    for link in ["lan", "cellular", "metered"] {
        let file = dir.path.join(format!("{link}.toml"));
        std::fs::write(&file, tidegate(&["init", "--link", link]).stdout).unwrap();
        let checked = tidegate(&["check", "-c", file.to_str().unwrap(), "--json"]);
        assert!(checked.status.success(), "{link}: {}", err(&checked));
        let told: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!(told["ok"], true);
    }
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let mut gateway = gateway("port");
    let _taken = TcpListener::bind(gateway.http).unwrap();
    let said = refusal(&mut gateway);
    assert!(said.contains(&format!("cannot listen on {}", gateway.http)), "{said}");
    assert!(said.contains("stop what uses that port, or set `http.listen`"), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named_with_the_remedy() {
    let mut gateway = gateway("unwritable");
    // A file where the directory should be refuses root as well.
    std::fs::write(gateway.data_dir(), "").unwrap();
    let said = refusal(&mut gateway);
    let dir = gateway.data_dir();
    assert!(said.contains(&format!("cannot write to {}", dir.display())), "{said}");
    assert!(said.contains("make it writable for this user, or set `gateway.data_dir`"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_on_one_data_directory_is_refused_and_the_first_goes_on() {
    let mut first = gateway("first");
    first.spawn();
    first.alive().await;
    let config = std::fs::read_to_string(first.config()).unwrap();
    let other = free_address().to_string();
    let second = first.dir.path.join("second.toml");
    std::fs::write(&second, config.replace(&first.http.to_string(), &other)).unwrap();
    let ended = tidegate(&["run", "-c", second.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(1));
    let said = sentence(&err(&ended));
    assert!(said.contains(&format!("is in use by another tidegate (process {})", first.pid())), "{said}");
    assert!(said.contains("stop it, or give this one its own `gateway.data_dir`"), "{said}");
    assert_eq!(first.get("/healthz").await.unwrap().0, 200);
}

#[test]
fn a_newer_data_directory_is_refused_and_left_alone() {
    let mut gateway = gateway("newer");
    std::fs::create_dir(gateway.data_dir()).unwrap();
    let version = gateway.data_dir().join("VERSION");
    std::fs::write(&version, "99\n").unwrap();
    let said = refusal(&mut gateway);
    assert!(said.contains("format 99") && said.contains("use a newer one"), "{said}");
    assert_eq!(std::fs::read_to_string(version).unwrap(), "99\n");
}

#[test]
fn commands_say_how_they_are_used() {
    let bad = tidegate(&["queue", "stat"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(sentence(&err(&bad)).contains("give -c FILE or --data-dir DIR"));
    assert_eq!(tidegate(&["nonsense"]).status.code(), Some(2));
    for command in ["run", "simulate", "check", "init", "status", "queue", "dead", "decode", "sql"] {
        let help = String::from_utf8(tidegate(&[command, "--help"]).stdout).unwrap();
        assert!(help.contains("Example"), "{command} has no example: {help}");
        assert!(help.contains(&format!("tidegate {command}")), "{command}: {help}");
    }
    let nobody = tidegate(&["status", "--http", &free_address().to_string()]);
    assert!(sentence(&err(&nobody)).contains("no gateway listens at http://127.0.0.1:"));
}

#[tokio::test]
async fn the_allocator_is_told_to_give_memory_back_unless_one_has_told_it_otherwise() {
    let broker = Broker::start().await.unwrap();
    let mut gateway = TestGateway::new("allocator", broker.address().port(), "http://127.0.0.1:9", "");
    gateway.env.push(("MALLOC_ARENA_MAX", "3".into()));
    gateway.start().await;
    let pid = gateway.pid();
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let told: Vec<_> = environment.split('\0').filter(|setting| setting.starts_with("MALLOC_")).collect();
    assert_eq!(told, ["MALLOC_ARENA_MAX=3", "MALLOC_MMAP_THRESHOLD_=131072"]);
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "tidegate\n");
    gateway.stop();
}

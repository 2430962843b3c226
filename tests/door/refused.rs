//! Brokers that no package has: what they answer is written here byte by byte.

use std::io::{Read, Write};
use std::net::TcpListener;

use tidegate::simulate::stream::Faults;

use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{QUICK, Scene};

/// Listens, and answers each packet of a connection with the next of these, then closes it.
fn answering(answers: &'static [&'static [u8]]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // It ends with the process: the connection it waits for may never come.
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            for answer in answers {
                // A client that is gone already needs no answer.
                if connection.read(&mut [0; 1024]).is_ok_and(|length| length > 0) {
                    let _ = connection.write_all(answer);
                }
            }
        }
    });
    port
}

/// Name, protocol, the broker's answers, what is said, and the remedy in it.
type Case = (&'static str, &'static str, &'static [&'static [u8]], &'static str, &'static str);

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_of_a_broker_that_refuses_is_named_with_its_remedy() {
    const CASES: [Case; 10] = [
        ("old", "5", &[&[0x20, 2, 0, 1]], "without an answer", "protocol = \"3.1.1\""),
        ("v5", "5", &[&[0x20, 3, 0, 0x84, 0]], "does not speak this version of MQTT", "write protocol = \"3.1.1\""),
        ("v311", "3.1.1", &[&[0x20, 2, 0, 1]], "does not speak this version of MQTT", "write protocol = \"5\""),
        (
            "login",
            "5",
            &[&[0x20, 3, 0, 0x86, 0]],
            "refuses this user name and password",
            "check username and password_file",
        ),
        (
            "login4",
            "3.1.1",
            &[&[0x20, 2, 0, 4]],
            "refuses this user name and password",
            "check username and password_file",
        ),
        ("id", "3.1.1", &[&[0x20, 2, 0, 2]], "does not accept this client_id", "set another"),
        ("busy", "5", &[&[0x20, 3, 0, 0x89, 0]], "refuses the connection for now", "server busy"),
        (
            "taken",
            "5",
            &[&[0x20, 3, 0, 0, 0], &[0xE0, 2, 0x8E, 0]],
            "another client has connected as \"tidegate-door-refused-taken\"",
            "give each its own client_id",
        ),
        ("silent", "5", &[&[]], "closed the connection without an answer", "protocol = \"3.1.1\""),
        (
            "web",
            "5",
            &[b"HTTP/1.1 400 Bad Request\r\n\r\n"],
            "closed the connection without an answer",
            "check the port",
        ),
    ];
    let mut sources = String::new();
    for (name, protocol, answer, ..) in CASES {
        let port = answering(answer);
        sources += &format!(
            "[[source]]\ntype = \"mqtt\"\nname = \"{name}\"\nurl = \"mqtt://127.0.0.1:{port}\"\nprotocol = \"{protocol}\"\n\
             [[source.subscribe]]\nfilter = \"a\"\n"
        );
    }
    sources += "[[source]]\ntype = \"mqtt\"\nname = \"nowhere\"\nurl = \"mqtt://no.such.host.invalid\"\n\
                [[source.subscribe]]\nfilter = \"a\"\n";
    let mut scene = Scene::with_sources("door-refused", Mosquitto::start(""), &sources, Faults::default(), QUICK).await;
    scene.gateway.spawn();
    scene.gateway.alive().await;
    for (name, _, _, what, remedy) in CASES {
        let why = scene.source_is(name, &["down"], what).await;
        assert!(why.contains(remedy), "{name}: {why}");
    }
    let why = scene.source_is("nowhere", &["down"], "no address for the host").await;
    assert!(why.contains("check the url"), "{why}");
}

/// A broker may grant less than was asked for: `QoS` 0, where nothing is acknowledged, or nothing at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_grants_less_than_was_asked_for_is_named() {
    let stingy = Mosquitto::start("max_qos 0\n");
    // CONNACK; then SUBACK for packet 1, refused: first as MQTT 5 has it, then 3.1.1.
    let never = answering(&[&[0x20, 3, 0, 0, 0], &[0x90, 4, 0, 1, 0, 0x87], &[]]);
    let never_311 = answering(&[&[0x20, 2, 0, 0], &[0x90, 3, 0, 1, 0x80], &[]]);
    let source = |name: &str, port: u16, keys: &str| {
        format!(
            "[[source]]\ntype = \"mqtt\"\nname = \"{name}\"\nurl = \"mqtt://127.0.0.1:{port}\"\n{keys}\n\
             [[source.subscribe]]\nfilter = \"s/+\"\n"
        )
    };
    let sources = [
        source("stingy", stingy.port, ""),
        source("never", never, ""),
        source("never-311", never_311, "protocol = \"3.1.1\""),
    ];
    let mut scene = Scene::with_sources("door-granted", stingy, &sources.concat(), Faults::default(), QUICK).await;
    scene.gateway.spawn();
    scene.gateway.alive().await;
    scene.source_is("stingy", &["partly"], "grants only QoS 0 for s/+").await;
    for name in ["never", "never-311"] {
        scene.source_is(name, &["partly"], "refuses to subscribe to s/+").await;
    }
}

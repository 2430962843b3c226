//! Who is let in, and what a person reads where somebody is not.

use std::process::Command;

use serde_json::json;
use tidegate::simulate::stream::Faults;

use super::PROTOCOLS;
use crate::support::TempDir;
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{QUICK, Scene};

fn run(program: &str, words: &str, dir: &TempDir) {
    let ended = Command::new(program).args(words.split(' ')).current_dir(&dir.path).output();
    let ended = ended.unwrap_or_else(|error| panic!("{program} is installed by `bash tests/run`: {error}"));
    assert!(ended.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&ended.stderr));
}

/// A directory with a CA of our own, a certificate for the broker and one for the gateway, a CA that nobody knows, and
/// the password of `edge`.
fn authority() -> TempDir {
    let dir = TempDir::new("ca");
    let ca = |name: &str| {
        let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        run("openssl", &format!("{words} -subj /CN={name} -keyout {name}.key -out {name}.pem"), &dir);
    };
    ca("ca");
    ca("stranger");
    std::fs::write(dir.path.join("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for name in ["broker", "client"] {
        let words = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        run("openssl", &format!("{words} -subj /CN={name} -keyout {name}.key -out {name}.csr"), &dir);
        let words = "x509 -req -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile san";
        run("openssl", &format!("{words} -in {name}.csr -out {name}.pem"), &dir);
    }
    run("mosquitto_passwd", "-b -c passwords edge hunter2", &dir);
    std::fs::write(dir.path.join("right"), "hunter2\n").unwrap();
    std::fs::write(dir.path.join("wrong"), "hunter3\n").unwrap();
    dir
}

/// A broker's settings, a source's keys, and what is said; nothing: it is let in.
struct Case {
    name: &'static str,
    broker: &'static str,
    url: &'static str,
    source: &'static str,
    /// How the publisher gets in.
    publisher: &'static str,
    refused: Option<(&'static str, &'static str)>,
}

const TLS: &str = "cafile DIR/ca.pem\ncertfile DIR/broker.pem\nkeyfile DIR/broker.key\n";
const MUTUAL: &str = "cafile DIR/ca.pem\ncertfile DIR/broker.pem\nkeyfile DIR/broker.key\nrequire_certificate true\n";
const PASSWORD: &str = "allow_anonymous false\npassword_file DIR/passwords\n";

const CASES: [Case; 9] = [
    Case { name: "plain", broker: "", url: "mqtt", source: "", publisher: "", refused: None },
    Case {
        name: "password",
        broker: PASSWORD,
        url: "mqtt",
        source: "username = \"edge\"\npassword_file = \"DIR/right\"",
        publisher: "-u edge -P hunter2",
        refused: None,
    },
    Case {
        name: "wrong-password",
        broker: PASSWORD,
        url: "mqtt",
        source: "username = \"edge\"\npassword_file = \"DIR/wrong\"",
        publisher: "",
        refused: Some(("the broker does not let this client in", "check its username, password_file and access list")),
    },
    Case {
        name: "tls",
        broker: TLS,
        url: "mqtts",
        source: "ca_file = \"DIR/ca.pem\"",
        publisher: "--cafile DIR/ca.pem",
        refused: None,
    },
    Case {
        name: "mutual",
        broker: MUTUAL,
        url: "mqtts",
        source: "ca_file = \"DIR/ca.pem\"\ncert_file = \"DIR/client.pem\"\nkey_file = \"DIR/client.key\"",
        publisher: "--cafile DIR/ca.pem --cert DIR/client.pem --key DIR/client.key",
        refused: None,
    },
    Case {
        name: "stranger",
        broker: TLS,
        url: "mqtts",
        source: "ca_file = \"DIR/stranger.pem\"",
        publisher: "",
        refused: Some(("the broker's certificate is not from a CA in ca_file", "name the CA that signed it")),
    },
    Case {
        name: "no-client-certificate",
        broker: MUTUAL,
        url: "mqtts",
        source: "ca_file = \"DIR/ca.pem\"",
        publisher: "",
        refused: Some(("the broker wants a client certificate", "set cert_file and key_file")),
    },
    Case {
        name: "plain-to-tls",
        broker: TLS,
        url: "mqtt",
        source: "",
        publisher: "",
        refused: Some(("closed the connection without an answer", "mqtts://")),
    },
    Case {
        name: "tls-to-plain",
        broker: "",
        url: "mqtts",
        source: "ca_file = \"DIR/ca.pem\"",
        publisher: "",
        refused: Some(("without an answer", "mqtt:// if it wants no TLS")),
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_logging_in_works_and_each_refusal_is_one_sentence_with_its_remedy() {
    let authority = authority();
    let dir = authority.path.to_str().unwrap();
    for case in CASES {
        let broker = Mosquitto::start(&case.broker.replace("DIR", dir));
        let source = |protocol: &str| {
            format!(
                "[[source]]\ntype = \"mqtt\"\nname = \"{protocol}\"\nurl = \"{}://127.0.0.1:{}\"\n\
                 protocol = \"{protocol}\"\n{}\n[[source.subscribe]]\nfilter = \"s/+\"\n",
                case.url,
                broker.port,
                case.source.replace("DIR", dir)
            )
        };
        let sources = PROTOCOLS.map(source).concat();
        let name = format!("door-login-{}", case.name);
        let mut scene = Scene::with_sources(&name, broker, &sources, Faults::default(), QUICK).await;
        let Some((what, remedy)) = case.refused else {
            scene.gateway.start().await;
            for protocol in PROTOCOLS {
                scene.source_is(protocol, &["connected"], "").await;
            }
            let words = case.publisher.replace("DIR", dir);
            let words: Vec<_> = words.split(' ').filter(|word| !word.is_empty()).collect();
            scene.broker.publish("s/a", b"1", &words);
            let readings = scene.readings(2).await;
            assert_eq!(readings, vec![("s/a".to_owned(), json!({ "value": 1 })); 2], "{name}");
            continue;
        };
        scene.gateway.spawn();
        scene.gateway.alive().await;
        for protocol in PROTOCOLS {
            let why = scene.source_is(protocol, &["down"], what).await;
            assert!(why.contains(remedy) && why.len() < 300 && !why.contains('\n'), "{name}: {why}");
            assert!(!why.contains("Error") && !why.contains("{ "), "{name} is fit for people: {why}");
        }
        let (code, ready) = scene.gateway.get("/readyz").await.unwrap();
        assert!(code == 503 && ready.contains(what) && ready.contains(remedy), "{name}: {ready}");
        let log = scene.gateway.log();
        let said = log.lines().filter(|line| line.contains("not connected") && line.contains(what)).count();
        assert!(said == 2, "{name}: a line for each source, and not for each try: {log}");
        for unfit in ["panicked", "backtrace", "hunter"] {
            assert!(!log.contains(unfit), "{name}: {log}");
        }
    }
}

/// The gateway goes on trying, and other sources go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_source_is_tried_again_and_holds_up_no_other() {
    let authority = authority();
    let dir = authority.path.to_str().unwrap();
    std::fs::write(authority.path.join("passwords"), "").unwrap();
    let closed = Mosquitto::start(&PASSWORD.replace("DIR", dir));
    let open = Mosquitto::start("");
    let source = |name: &str, port: u16, keys: &str| {
        format!(
            "[[source]]\ntype = \"mqtt\"\nname = \"{name}\"\nurl = \"mqtt://127.0.0.1:{port}\"\n{keys}\n\
             [[source.subscribe]]\nfilter = \"s/+\"\n"
        )
    };
    let keys = format!("username = \"edge\"\npassword_file = \"{dir}/right\"");
    let sources = [source("closed", closed.port, &keys), source("open", open.port, "")].concat();
    let mut scene = Scene::with_sources("door-other", open, &sources, Faults::default(), QUICK).await;
    scene.gateway.start().await;
    scene.source_is("closed", &["down"], "does not let this client in").await;
    scene.broker.publish("s/a", b"1", &[]);
    scene.readings(1).await;
    run("mosquitto_passwd", "-b -c passwords edge hunter2", &authority);
    closed.reload();
    scene.source_is("closed", &["connected"], "").await;
    closed.publish("s/b", b"2", &["-u", "edge", "-P", "hunter2"]);
    scene.readings(2).await;
}

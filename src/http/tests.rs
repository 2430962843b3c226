//! Over a real socket, asked by the client that the commands use.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::status::tests::status;
use super::*;
use crate::cli::ask;

pub(crate) struct Server {
    pub(crate) at: SocketAddr,
    pub(crate) status: watch::Sender<Status>,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(token: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(status());
        let metrics = Metrics::new();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        let token = token.map(|token| Secret(token.into()));
        let task = tokio::spawn(serve(listener, token, metrics.clone(), receiver, looks(), shutdown));
        Self { at, status: sender, metrics, stop, task }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (code, body) = ask::get(self.at, path, None).await.unwrap();
        (code, String::from_utf8(body).unwrap())
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (code, body) = self.get(path).await;
        (code, serde_json::from_str(&body).unwrap())
    }
}

/// Looks that say what they were asked.
fn looks() -> Looks {
    let list = |wanted: Wanted| async move {
        match wanted.from {
            Some(13) => Err(Unanswered("the card is gone".into())),
            from => Ok(json!({ "from": from, "n": wanted.n })),
        }
    };
    Looks {
        queue_stat: look(|()| async { Ok(json!("stat")) }),
        queue_peek: look(list),
        dead_list: look(list),
        dead_purge: look(|before| async move { Ok(json!({ "before": before })) }),
        windows_close: look(|()| async { Ok(json!("closed")) }),
    }
}

#[tokio::test]
async fn each_path_answers_with_what_it_promises() {
    let server = Server::start(None).await;
    server.metrics.commits.inc();
    assert_eq!(server.get("/healthz").await, (200, "alive\n".into()));
    let (code, metrics) = server.get("/metrics").await;
    assert!(code == 200 && metrics.contains("\ntidegate_commits_total 1\n"));
    assert_eq!(server.json("/status").await, (200, serde_json::to_value(status()).unwrap()));
    assert_eq!(server.get("/").await, (200, status().to_string()));
    assert_eq!(server.json("/nowhere").await, (404, json!({ "error": "there is nothing at /nowhere" })));
}

#[tokio::test]
async fn ready_follows_the_status_and_says_why_not() {
    let server = Server::start(None).await;
    assert_eq!(server.json("/readyz").await, (200, json!({ "ready": true, "why": [] })));
    server.status.send_modify(|status| status.storage.writable = false);
    let why = json!(["the storage is not writable"]);
    assert_eq!(server.json("/readyz").await, (503, json!({ "ready": false, "why": why })));
    assert_eq!(server.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn looks_are_passed_on_with_their_question() {
    let server = Server::start(None).await;
    let table = [
        ("/queue/stat", 200, json!("stat")),
        ("/queue/peek?n=3", 200, json!({ "from": null, "n": 3 })),
        ("/queue/peek?from=7", 200, json!({ "from": 7, "n": 20 })),
        ("/dead?from=7&n=1000000", 200, json!({ "from": 7, "n": 1000 })),
        ("/dead?from=13", 500, json!({ "error": "the card is gone" })),
    ];
    for (path, code, body) in table {
        assert_eq!(server.json(path).await, (code, body), "{path}");
    }
    assert_eq!(server.get("/queue/peek?n=some").await.0, 400);
    assert_eq!(server.get("/dead?from=-1").await.0, 400);
}

#[tokio::test]
async fn only_a_post_that_no_web_page_sent_purges() {
    let server = Server::start(None).await;
    assert_eq!(server.get("/dead/purge?before=9").await.0, 405);
    let (code, body) = ask::post(server.at, "/dead/purge?before=9", None).await.unwrap();
    assert_eq!((code, &*body), (200, &br#"{"before":9}"#[..]));

    let mut page = TcpStream::connect(server.at).await.unwrap();
    let request =
        "POST /dead/purge?before=9 HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n";
    page.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    page.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
}

#[tokio::test]
async fn the_token_guards_everything_but_health() {
    let server = Server::start(Some("open sesame")).await;
    let ask = |path, token: Option<&str>| {
        let token = token.map(|token| Secret(token.into()));
        let at = server.at;
        async move { ask::get(at, path, token.as_ref()).await.unwrap().0 }
    };
    assert_eq!(ask("/healthz", None).await, 200);
    for path in ["/", "/status", "/metrics", "/readyz", "/queue/stat", "/dead", "/nowhere"] {
        assert_eq!(ask(path, None).await, 401, "{path}");
        assert_ne!(ask(path, Some("open sesame")).await, 401, "{path}");
    }
    for wrong in ["", "open", "open sesame!", "Open sesame"] {
        assert_eq!(ask("/status", Some(wrong)).await, 401, "{wrong}");
    }
    assert_eq!(ask::post(server.at, "/dead/purge?before=9", None).await.unwrap().0, 401);
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let server = Server::start(None).await;
    let mut silent = TcpStream::connect(server.at).await.unwrap();
    silent.write_all(b"GET /status HTTP/1.1\r\n").await.unwrap();
    assert_eq!(server.get("/healthz").await.0, 200);
    server.stop.send(()).unwrap();
    server.task.await.unwrap().unwrap();
}

//! One question to a running gateway, over plain HTTP on the machine it runs on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::Secret;

/// The longest a whole question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Status code and body.
pub async fn get(address: SocketAddr, path: &str, token: Option<&Secret>) -> anyhow::Result<(u16, Vec<u8>)> {
    ask(Method::GET, address, path, token).await
}

/// Status code and body.
pub async fn post(address: SocketAddr, path: &str, token: Option<&Secret>) -> anyhow::Result<(u16, Vec<u8>)> {
    ask(Method::POST, address, path, token).await
}

/// The body of a good answer; of any other the gateway's own sentence.
pub fn answer((code, body): (u16, Vec<u8>)) -> anyhow::Result<Vec<u8>> {
    if code == 200 {
        return Ok(body);
    }
    let told = serde_json::from_slice::<serde_json::Value>(&body).ok();
    match told.as_ref().and_then(|told| told["error"].as_str()) {
        _ if code == 401 => anyhow::bail!("the gateway wants its token, which -c FILE finds in its configuration"),
        Some(sentence) => anyhow::bail!("{sentence}"),
        None => anyhow::bail!("HTTP {code}: {}", String::from_utf8_lossy(&body).trim()),
    }
}

/// Reads an address as people write it: `127.0.0.1:9470`, `localhost:9470`, `http://localhost:9470/`.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let host = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let found = host.to_socket_addrs().map_err(|error| format!("{error}; write HOST:PORT"))?.next();
    found.ok_or_else(|| format!("{host} has no address"))
}

async fn ask(method: Method, at: SocketAddr, path: &str, token: Option<&Secret>) -> anyhow::Result<(u16, Vec<u8>)> {
    let at = reachable(at);
    tokio::time::timeout(PATIENCE, exchange(method, at, path, token)).await.unwrap_or_else(|_| {
        anyhow::bail!("the gateway at http://{at} did not answer {path} within {} s", PATIENCE.as_secs())
    })
}

async fn exchange(
    method: Method,
    at: SocketAddr,
    path: &str,
    token: Option<&Secret>,
) -> anyhow::Result<(u16, Vec<u8>)> {
    let stream = TcpStream::connect(at).await.with_context(|| {
        format!(
            "no gateway listens at http://{at}; start one with `tidegate run`, or give the address of its [http] listen"
        )
    })?;
    let no_http = || format!("what listens at http://{at} does not speak HTTP; is it the [http] listen of a gateway?");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, at.to_string());
    if let Some(token) = token {
        let bearer = [b"Bearer ", &token.0[..]].concat();
        let bearer = header::HeaderValue::from_bytes(&bearer).context("the token cannot be sent in a header")?;
        request = request.header(header::AUTHORIZATION, bearer);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let answer = async move {
        let reply = sender.send_request(request).await.with_context(no_http)?;
        let code = reply.status().as_u16();
        let body = Limited::new(reply.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer of http://{at}{path} broke off: {error}"))?;
        anyhow::Ok((code, body.to_bytes().to_vec()))
    };
    // The connection is driven beside the question and ends with it.
    tokio::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        _ = connection => answer.await,
    }
}

/// A gateway that listens everywhere is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match listen {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    if listen.ip().is_unspecified() { SocketAddr::new(loopback, listen.port()) } else { listen }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn where_nothing_listens_the_remedy_is_named() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = format!("{:#}", get(free, "/status", None).await.unwrap_err());
        assert!(error.starts_with(&format!("no gateway listens at http://{free}; start one")), "{error}");
        assert!(error.ends_with("Connection refused (os error 111)"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_gateway_is_said_to_be_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let other = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 mail.example.org ESMTP\r\n").await.unwrap();
            stream
        });
        let error = format!("{:#}", get(at, "/status", None).await.unwrap_err());
        assert!(error.contains("does not speak HTTP"), "{error}");
        drop(other.await.unwrap());
    }

    #[test]
    fn a_refusal_is_told_in_the_gateways_own_words() {
        let said = |code, body: &str| answer((code, body.into())).map_err(|error| error.to_string());
        assert_eq!(said(200, "{}"), Ok(b"{}".to_vec()));
        assert_eq!(said(500, r#"{"error":"the card is gone"}"#), Err("the card is gone".into()));
        assert_eq!(said(400, "bad n\n"), Err("HTTP 400: bad n".into()));
        assert!(said(401, r#"{"error":"x"}"#).unwrap_err().contains("-c FILE"));
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for text in ["127.0.0.1:9470", "http://127.0.0.1:9470", "http://127.0.0.1:9470/"] {
            assert_eq!(address(text), Ok(([127, 0, 0, 1], 9470).into()));
        }
        assert!(address("127.0.0.1").unwrap_err().ends_with("write HOST:PORT"));
    }

    #[test]
    fn a_gateway_that_listens_everywhere_is_asked_on_loopback() {
        for (listen, expected) in
            [("0.0.0.0:9470", "127.0.0.1:9470"), ("[::]:9470", "[::1]:9470"), ("10.0.0.5:1", "10.0.0.5:1")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), expected.parse().unwrap());
        }
    }
}

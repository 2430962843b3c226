//! The road over TLS: who answers is believed with a certificate of an authority that this machine trusts, and nobody
//! else is.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tidegate::simulate::stream::Faults;

use crate::firmware::{micropython, tools};
use crate::support::gateway::{PATIENCE, free_address};
use crate::support::mosquitto::Mosquitto;
use crate::support::scene::{PATIENT_BROKER, QUICK, Scene};

/// `socat`: what comes in over TLS goes on to an address in the clear.
struct Terminator(Child);

impl Terminator {
    fn start(port: u16, to: &str, certificate: PathBuf) -> Self {
        let (cert, key) = (certificate.display(), certificate.with_extension("key"));
        let from =
            format!("OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,verify=0,cert={cert},key={}", key.display());
        let child = Command::new("socat").args([&from, &format!("TCP:{to}")]).stderr(Stdio::null()).spawn().unwrap();
        Self(child)
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_https_gets_readings_once_its_certificate_is_trusted_and_none_before() {
    if !tools::there(&["socat", "openssl"]) {
        return;
    }
    let mut scene = Scene::new("https", Mosquitto::start(PATIENT_BROKER), Faults::default(), QUICK).await;
    let authorities = micropython::certificates();
    let (port, url) = (free_address().port(), scene.stream.url());
    let plain = url.strip_prefix("http://").unwrap();
    let _tls = Terminator::start(port, plain, authorities.path.join("broker.pem"));
    scene.gateway.edit(|text| text.replace(&url, &format!("https://localhost:{port}")));

    scene.gateway.env = vec![("SSL_CERT_FILE", authorities.path.join("stranger.pem"))];
    scene.gateway.start().await;
    scene.publish(Duration::from_secs(1)).await.unwrap();
    let until = Instant::now() + PATIENCE;
    while !scene.gateway.get("/status").await.unwrap().1.contains("certificate") {
        assert!(Instant::now() < until, "{:?}", scene.gateway.get("/status").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(scene.stream.records(0).len(), 0);
    assert_eq!(scene.gateway.stop().status.code(), Some(0));

    scene.gateway.env = vec![("SSL_CERT_FILE", authorities.path.join("ca.pem"))];
    scene.gateway.start().await;
    scene.all_arrives().await;
    assert_eq!(scene.gateway.stop().status.code(), Some(0));
}

//! `type = "mqtt"`: a broker, and what is subscribed to there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::name;
use super::payload::payload;
use crate::config::mean::{KIB, MIB};
use crate::config::read::{Placed, Section};
use crate::config::{Mqtt, Protocol, Secret, Subscription, Tls};
use crate::decode::{Decoder, Pattern};

const SECOND: Duration = Duration::from_secs(1);

pub fn mqtt(section: Section<'_>) -> Option<Mqtt> {
    let name = name(&section, "plant");
    let url = section.needed("url", "mqtt://127.0.0.1:1883");
    let place = url.as_ref().and_then(|url| broker(&section, url));
    let secure = place.as_ref().is_some_and(|(_, _, secure)| *secure);
    let tls = tls(&section, secure, url.as_ref());
    once_each(&section);
    let protocol = section.choice("protocol", &[("5", Protocol::V5), ("3.1.1", Protocol::V311)], Protocol::V5);
    let week = Duration::from_hours(168);
    let max_packet = section.size("max_packet", 4 * KIB..=256 * MIB, 16 * MIB);
    let (username, password) = login(&section);
    let subscriptions: Vec<_> = section
        .sections("subscribe")
        .into_iter()
        .filter_map(|inner| subscription(inner, name.as_ref().map_or("", |name| &name.value)))
        .collect();
    if subscriptions.is_empty() && section.sections("subscribe").is_empty() {
        let remedy = "add [[source.subscribe]] with a filter";
        section.fault(&section.at, "this source subscribes to nothing", remedy);
    }
    if let (Protocol::V311, Some(expiry)) = (protocol, section.text("session_expiry")) {
        let what = "session_expiry is for protocol = \"5\": with 3.1.1 the broker says how long a session lasts";
        section.reading.note(&expiry.at, what);
    }
    let mqtt = Mqtt {
        client_id: section.text("client_id").map(|id| id.value),
        session_expiry: section.duration("session_expiry", SECOND..=u32::MAX * SECOND, week),
        keep_alive: section.duration("keep_alive", SECOND..=65_535 * SECOND, 30 * SECOND),
        in_flight: section.number("in_flight", 1..=65_535, 1000) as u16,
        max_payload: section.size("max_payload", 1..=max_packet, MIB.min(max_packet)) as usize,
        max_packet: max_packet as u32,
        username,
        password,
        protocol,
        tls,
        subscriptions,
        host: String::new(),
        port: 0,
        name: String::new(),
    };
    section.finish();
    let (host, port, _) = place?;
    Some(Mqtt { host, port, name: name?.value, ..mqtt })
}

/// A filter that stands twice would be read by the first of its subscriptions only.
fn once_each(section: &Section<'_>) {
    let mut filters = BTreeMap::new();
    for filter in section.sections("subscribe").iter().filter_map(|inner| inner.text("filter")) {
        if let Some(first) = filters.insert(filter.value.clone(), filter.at.clone()) {
            let what = format!("the filter \"{}\" is subscribed to twice, first at {first}", filter.value);
            section.fault(&filter.at, what, "keep one of them");
        }
    }
}

/// A URL without the login that somebody wrote into it.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        (_, None) => url.to_owned(),
    }
}

const SHAPE: &str = "write mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS";

/// Host, port, and whether the connection is encrypted.
fn broker(section: &Section<'_>, url: &Placed<String>) -> Option<(String, u16, bool)> {
    let fault = |what: &str, remedy: &str| {
        section.fault(&url.at, format!("`source.url` = \"{}\" {what}", shown(&url.value)), remedy);
        None
    };
    let Some((scheme, rest)) = url.value.split_once("://") else { return fault("is not a URL", SHAPE) };
    let secure = match scheme {
        "mqtt" | "tcp" => false,
        "mqtts" | "ssl" | "tls" => true,
        "ws" | "wss" => return fault("is MQTT over WebSocket, which is not supported", SHAPE),
        _ => return fault("is not an MQTT URL", SHAPE),
    };
    let rest = rest.trim_end_matches('/');
    if rest.contains('@') {
        return fault("has a login in it", "use username and password_file");
    }
    if rest.contains('/') {
        return fault("has a path", SHAPE);
    }
    let default = if secure { 8883 } else { 1883 };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) => {
            (host, Some(port))
        }
        _ => (rest, None),
    };
    let port = match port.map(str::parse) {
        None => default,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return fault("has no port from 1 to 65535", SHAPE),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() { fault("names no host", SHAPE) } else { Some((host.to_owned(), port, secure)) }
}

fn tls(section: &Section<'_>, secure: bool, url: Option<&Placed<String>>) -> Option<Tls> {
    let pem = |key: &'static str, label: &str| {
        let file = section.file(key)?;
        if String::from_utf8_lossy(&file.value).contains(label) {
            return Some(file);
        }
        let what = format!("`source.{key}` names a file that is not in PEM format");
        section.fault(&file.at, what, format!("it should hold -----BEGIN …{label}-----"));
        None
    };
    let ca = pem("ca_file", "CERTIFICATE");
    let cert = pem("cert_file", "CERTIFICATE");
    let key = pem("key_file", "PRIVATE KEY");
    match (section.text("cert_file"), section.text("key_file")) {
        (Some(cert), None) => section.fault(&cert.at, "`source.cert_file` without `key_file`", "mutual TLS needs both"),
        (None, Some(key)) => section.fault(&key.at, "`source.key_file` without `cert_file`", "mutual TLS needs both"),
        _ => {}
    }
    if let (false, Some(url), Some(file)) = (secure, url, section.text("ca_file").or(section.text("cert_file"))) {
        let what = format!("certificates for \"{}\", which is not encrypted", shown(&url.value));
        section.fault(&file.at, what, "write mqtts:// in the url, or leave the certificates out");
    }
    if let (Some(cert), None) = (section.text("cert_file"), section.text("ca_file")) {
        let remedy = "name the broker's CA, or the system's: /etc/ssl/certs/ca-certificates.crt";
        section.fault(&cert.at, "`source.cert_file` without `ca_file`", remedy);
    }
    let client = cert.zip(key).map(|(cert, key)| (cert.value, Secret(key.value)));
    secure.then(|| Tls { ca: ca.map(|ca| ca.value), client })
}

fn login(section: &Section<'_>) -> (Option<String>, Option<Secret>) {
    let username = section.text("username").map(|name| name.value);
    let direct = section.text("password");
    let file = section.file("password_file");
    if let (Some(direct), Some(_)) = (&direct, section.text("password_file")) {
        section.fault(&direct.at, "`source.password` and `password_file`", "keep one of them");
    }
    let at = direct.as_ref().map(|text| &text.at).or(file.as_ref().map(|file| &file.at));
    if let (Some(at), None) = (at, &username) {
        section.fault(at, "a password without `source.username`", "add username = \"…\"");
    }
    let direct = direct.map(|text| text.value.into_bytes());
    (username, direct.or(file.map(|file| first_line(&file.value).to_vec())).map(Secret))
}

/// What an editor or `echo` put behind the password is not part of it.
fn first_line(file: &[u8]) -> &[u8] {
    file.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default()
}

fn subscription(section: Section<'_>, source: &str) -> Option<Subscription> {
    let filter = section.needed("filter", "sensors/+/telemetry");
    let qos = section.number("qos", 0..=2, 1);
    if qos == 2 {
        section.reading.note(&section.at, "qos = 2 is asked for as 1: what arrives twice is recognised, not prevented");
    }
    let payload = payload(&section);
    let topic = section.text("topic");
    let retained = section.choice("retained", &[("keep", true), ("ignore", false)], true);
    let drop_repeats = section.flag("drop_repeats", false);
    let filter = filter.and_then(|filter| {
        let at = match &topic {
            Some(topic) if Pattern::filter(&filter.value).is_ok() => topic.at.clone(),
            _ => filter.at.clone(),
        };
        let subscription = Subscription {
            filter: filter.value.clone(),
            topic: topic.as_ref().map(|topic| topic.value.clone()),
            qos: qos.min(1) as u8,
            retained,
            payload,
            drop_repeats,
        };
        match Decoder::new(source.into(), &subscription) {
            Ok(_) => Some(subscription),
            Err(error) => {
                section.fault(&at, error.to_string(), "see `filter` and `topic` in `tidegate init`");
                None
            }
        }
    });
    section.finish();
    filter
}

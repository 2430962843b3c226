//! How a connection is set up, and what a person should do when it is refused.

use std::sync::Arc;

use rumqttc as v5;
use rumqttc_v4 as v4;

use super::client::{Client, Connection};
use super::session;
use crate::config::{Mqtt, Protocol, Tls};

/// PUBACKs that leave in one write; without it each is a write of its own.
const WRITTEN_TOGETHER: usize = 100;
/// What we publish (asking for a rebirth) is little; the library's own limit of 65,535 holds 14 MB of empty places ready.
const PUBLISHED_AT_ONCE: u16 = 16;

/// Why a connection ended or did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sentence for a person, with what would put it right where that is known.
    Because(String),
    /// The broker closed the connection without a word.
    Closed,
    NothingListens,
    /// What came is not what the standard allows.
    Garbled(String),
    /// Another client of the same id has connected.
    TakenOver,
    /// A packet above `max_packet`, which the broker would send again at once: the next try waits long.
    Oversize,
    /// We asked for it.
    Done,
}

/// A client that has not connected yet.
pub fn client(mqtt: &Mqtt, client_id: &str) -> Result<(Client, Connection), String> {
    // Room for a PUBACK for every message in flight, and for SUBSCRIBE and the like.
    let capacity = usize::from(mqtt.in_flight) + 64;
    let seconds = mqtt.keep_alive.as_secs().clamp(1, 65_535) as u16;
    match mqtt.protocol {
        Protocol::V5 => {
            let mut options = v5::MqttOptions::new(client_id, (mqtt.host.clone(), mqtt.port));
            options
                .set_keep_alive(seconds)
                .set_clean_start(false)
                .set_broker_session_resume_policy(v5::BrokerSessionResumePolicy::AllowBrokerOnly)
                .set_ack_mode(v5::AckMode::Manual)
                .set_session_expiry_interval(Some(mqtt.session_expiry.as_secs().try_into().unwrap_or(u32::MAX)))
                .set_receive_maximum(Some(mqtt.in_flight))
                .set_outgoing_inflight_upper_limit(PUBLISHED_AT_ONCE)
                .set_max_packet_size(Some(mqtt.max_packet))
                .set_max_request_batch(WRITTEN_TOGETHER)
                .set_session_store(session::Empty::of(client_id, PUBLISHED_AT_ONCE));
            if let Some(user) = &mqtt.username {
                let password = mqtt.password.as_ref().map(|secret| secret.0.clone()).unwrap_or_default();
                options.set_credentials(user, password);
            }
            if let Some(tls) = &mqtt.tls {
                options.set_transport(v5::Transport::Tls(tls_configuration(tls)?));
            }
            let mut network = v5::NetworkOptions::new();
            network.set_tcp_nodelay(true);
            options.set_network_options(network);
            let (client, events) =
                v5::AsyncClient::builder(options).capacity(capacity).try_build().map_err(|error| error.to_string())?;
            Ok((Client::V5(client), Connection::V5(Box::new(events))))
        }
        Protocol::V311 => {
            let mut options = v4::MqttOptions::new(client_id, (mqtt.host.clone(), mqtt.port));
            options
                .set_keep_alive(seconds)
                .set_clean_session(false)
                .set_ack_mode(v4::AckMode::Manual)
                .set_max_packet_size(mqtt.max_packet as usize, mqtt.max_packet as usize)
                .set_max_request_batch(WRITTEN_TOGETHER);
            if let Some(user) = &mqtt.username {
                let password = mqtt.password.as_ref().map(|secret| secret.0.clone()).unwrap_or_default();
                options.set_credentials(user, password);
            }
            if let Some(tls) = &mqtt.tls {
                options.set_transport(v4::Transport::Tls(tls_configuration(tls)?));
            }
            let (client, mut events) =
                v4::AsyncClient::builder(options).capacity(capacity).try_build().map_err(|error| error.to_string())?;
            events.network_options.set_tcp_nodelay(true);
            Ok((Client::V311(client), Connection::V311(Box::new(events))))
        }
    }
}

fn tls_configuration(tls: &Tls) -> Result<v5::TlsConfiguration, String> {
    let client_auth = tls.client.as_ref().map(|(cert, key)| (cert.clone(), key.0.clone()));
    match &tls.ca {
        Some(ca) => Ok(v5::TlsConfiguration::Simple { ca: ca.clone(), alpn: None, client_auth }),
        // `check` sees to it that a client certificate comes with a `ca_file`.
        None => v5::TlsConfiguration::try_default_rustls().map_err(|error| format!("no system roots for TLS: {error}")),
    }
}

impl Refusal {
    /// What to tell a person: what happened, and what would put it right.
    #[must_use]
    pub fn sentence(&self, mqtt: &Mqtt, client_id: &str, connected: bool) -> String {
        let Mqtt { host, port, .. } = mqtt;
        match self {
            Self::Because(why) => why.clone(),
            Self::Closed if connected => "the broker closed the connection".to_owned(),
            Self::Closed => {
                let (scheme, other) = match (&mqtt.tls, mqtt.protocol) {
                    (None, Protocol::V5) => ("mqtts:// if it wants TLS", "3.1.1"),
                    (None, Protocol::V311) => ("mqtts:// if it wants TLS", "5"),
                    (Some(_), Protocol::V5) => ("mqtt:// if it wants no TLS, cert_file if it wants one", "3.1.1"),
                    (Some(_), Protocol::V311) => ("mqtt:// if it wants no TLS, cert_file if it wants one", "5"),
                };
                format!(
                    "{host}:{port} closed the connection without an answer; check the port, {scheme}, or protocol = \"{other}\""
                )
            }
            Self::NothingListens => format!("nothing listens at {host}:{port}; start the broker, or correct the url"),
            Self::Garbled(what) => {
                format!("what answers at {host}:{port} is not an MQTT broker: {what}; check host and port in the url")
            }
            Self::TakenOver => format!(
                "another client has connected as \"{client_id}\" and taken the session over; give each its own client_id"
            ),
            Self::Oversize => format!(
                "the broker sends a packet larger than max_packet = {}; raise it, or use protocol = \"5\", where the \
                 broker discards such packets",
                bytesize::ByteSize(mqtt.max_packet.into())
            ),
            Self::Done => "disconnected".to_owned(),
        }
    }

    pub(super) fn from_v5(error: &v5::ConnectionError) -> Self {
        use v5::mqttbytes::Error as Packet;
        use v5::{ConnectReturnCode as Code, ConnectionError, DisconnectReasonCode, StateError};
        match error {
            ConnectionError::ConnectionRefused(code)
            | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => match code {
                Code::BadUserNamePassword => Self::password(),
                Code::NotAuthorized | Code::Banned => Self::rights(),
                Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => Self::version("3.1.1"),
                Code::ClientIdentifierNotValid | Code::BadClientId => Self::client_id(),
                other => Self::not_now(&format!("{other:?}")),
            },
            // Brokers that know no MQTT 5 answer as 3.1.1 has it.
            ConnectionError::MqttState(StateError::Deserialization(Packet::InvalidConnectReturnCode(1))) => {
                Self::version("3.1.1")
            }
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
                match reason_code {
                    DisconnectReasonCode::SessionTakenOver => Self::TakenOver,
                    other => Self::Because(match reason_string {
                        Some(why) => format!("the broker disconnected: {}: {why}", words(&format!("{other:?}"))),
                        None => format!("the broker disconnected: {}", words(&format!("{other:?}"))),
                    }),
                }
            }
            ConnectionError::MqttState(
                StateError::Deserialization(Packet::PayloadSizeLimitExceeded { .. })
                | StateError::IncomingPacketTooLarge { .. },
            ) => Self::Oversize,
            ConnectionError::RequestsDone => Self::Done,
            ConnectionError::Tls(error) => Self::tls(error),
            ConnectionError::Io(error)
            | ConnectionError::MqttState(StateError::Io(error) | StateError::Deserialization(Packet::Io(error))) => {
                Self::io(error)
            }
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::Closed,
            ConnectionError::Timeout(_) | ConnectionError::MqttState(StateError::AwaitPingResp) => Self::no_answer(),
            ConnectionError::MqttState(StateError::Deserialization(error)) => Self::Garbled(error.to_string()),
            ConnectionError::NotConnAck(_) => Self::Garbled("its first packet is no CONNACK".to_owned()),
            other => Self::Because(other.to_string()),
        }
    }

    pub(super) fn from_v311(error: &v4::ConnectionError) -> Self {
        use v4::mqttbytes::Error as Packet;
        use v4::{ConnectReturnCode as Code, ConnectionError, StateError};
        match error {
            ConnectionError::ConnectionRefused(code) => match code {
                Code::BadUserNamePassword => Self::password(),
                Code::NotAuthorized => Self::rights(),
                Code::RefusedProtocolVersion => Self::version("5"),
                Code::BadClientId => Self::client_id(),
                other => Self::not_now(&format!("{other:?}")),
            },
            ConnectionError::MqttState(StateError::Deserialization(Packet::PayloadSizeLimitExceeded(_))) => {
                Self::Oversize
            }
            ConnectionError::RequestsDone => Self::Done,
            ConnectionError::Tls(error) => Self::tls(error),
            ConnectionError::Io(error)
            | ConnectionError::MqttState(StateError::Io(error) | StateError::Deserialization(Packet::Io(error))) => {
                Self::io(error)
            }
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::Closed,
            ConnectionError::NetworkTimeout
            | ConnectionError::FlushTimeout
            | ConnectionError::MqttState(StateError::AwaitPingResp) => Self::no_answer(),
            ConnectionError::MqttState(StateError::Deserialization(error)) => Self::Garbled(error.to_string()),
            ConnectionError::NotConnAck(_) => Self::Garbled("its first packet is no CONNACK".to_owned()),
            other => Self::Because(other.to_string()),
        }
    }

    fn because(why: &str) -> Self {
        Self::Because(why.to_owned())
    }

    fn password() -> Self {
        Self::because("the broker refuses this user name and password; check username and password_file")
    }

    fn rights() -> Self {
        Self::because("the broker does not let this client in; check its username, password_file and access list")
    }

    fn version(other: &str) -> Self {
        Self::Because(format!("the broker does not speak this version of MQTT; write protocol = \"{other}\""))
    }

    fn client_id() -> Self {
        Self::because("the broker does not accept this client_id; set another")
    }

    fn no_answer() -> Self {
        Self::because("the broker does not answer; check the network and the url")
    }

    fn not_now(code: &str) -> Self {
        Self::Because(format!("the broker refuses the connection for now: {}", words(code)))
    }

    fn tls(error: &v5::TlsError) -> Self {
        match error {
            v5::TlsError::Io(error) => Self::io(error),
            other => Self::handshake(other),
        }
    }

    /// The errors that people meet have their sentence; the library's words say the rest.
    fn handshake(error: &impl std::error::Error) -> Self {
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let inner_text = inner.to_string();
            if !why.contains(&inner_text) {
                why = format!("{why}: {inner_text}");
            }
            source = inner.source();
        }
        let known = [
            ("UnknownIssuer", "the broker's certificate is not from a CA in ca_file; name the CA that signed it"),
            ("CertificateRequired", "the broker wants a client certificate; set cert_file and key_file"),
            ("not valid for name", "the broker's certificate is not for the host in the url; write the name it is for"),
            ("NotValidForName", "the broker's certificate is not for the host in the url; write the name it is for"),
            ("expired", "the broker's certificate has expired; renew it, or set this machine's clock"),
            ("not yet valid", "the broker's certificate is not valid yet; set this machine's clock"),
            ("InvalidContentType", "what answers there does not speak TLS; write mqtt://, or the port that does"),
        ];
        match known.iter().find(|(word, _)| why.contains(word)) {
            Some((_, sentence)) => Self::because(sentence),
            None => {
                Self::Because(format!("TLS fails: {why}; check ca_file, cert_file, key_file and the host in the url"))
            }
        }
    }

    fn io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::NothingListens,
            ErrorKind::InvalidData => Self::handshake(error),
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::UnexpectedEof
            | ErrorKind::BrokenPipe => Self::Closed,
            // Half a packet, and then the end.
            ErrorKind::Other if error.to_string().contains("bytes remaining") => Self::Closed,
            _ if error.to_string().contains("lookup") => {
                Self::Because(format!("no address for the host: {error}; check the url and the name server"))
            }
            _ => Self::Because(format!("the broker cannot be reached: {error}; check the network and the url")),
        }
    }
}

/// `ServerBusy` as a person writes it.
fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// The id a client goes by.
#[must_use]
pub fn client_id(mqtt: &Mqtt, gateway: &str) -> Arc<str> {
    match &mqtt.client_id {
        Some(id) => id.as_str().into(),
        None => format!("tidegate-{gateway}-{}", mqtt.name).into(),
    }
}

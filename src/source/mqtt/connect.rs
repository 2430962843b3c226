//! How a connection is set up, and what a person should do when it is refused.

use std::sync::Arc;

use rumqttc as v5;
use rumqttc_v4 as v4;

use super::client::{Client, Connection};
use crate::config::{Mqtt, Protocol, Tls};

/// Why a connection ended or did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Tried again soon.
    Lost(String),
    /// Tried again too, but a person has to put something right first.
    Rejected(String),
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
                .set_max_packet_size(Some(mqtt.max_packet));
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
                .set_max_packet_size(mqtt.max_packet as usize, mqtt.max_packet as usize);
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
    /// What to tell a person.
    #[must_use]
    pub fn sentence(&self, mqtt: &Mqtt, client_id: &str) -> String {
        match self {
            Self::Lost(why) | Self::Rejected(why) => why.clone(),
            Self::TakenOver => format!(
                "another client has connected as \"{client_id}\" and taken the session over: give each its own client_id"
            ),
            Self::Oversize => format!(
                "the broker sends a packet larger than max_packet = {}: raise it, or use protocol = \"5\", where the \
                 broker discards such packets",
                bytesize::ByteSize(mqtt.max_packet.into())
            ),
            Self::Done => "disconnected".to_owned(),
        }
    }

    pub(super) fn from_v5(error: &v5::ConnectionError) -> Self {
        use v5::{ConnectReturnCode as Code, ConnectionError, DisconnectReasonCode, StateError};
        match error {
            ConnectionError::ConnectionRefused(code)
            | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => match code {
                Code::BadUserNamePassword => Self::password(),
                Code::NotAuthorized | Code::Banned => Self::rights(),
                Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => Self::version("3.1.1"),
                Code::ClientIdentifierNotValid | Code::BadClientId => Self::client_id(),
                other => Self::Lost(format!("the broker refuses the connection for now: {other:?}")),
            },
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
                match reason_code {
                    DisconnectReasonCode::SessionTakenOver => Self::TakenOver,
                    other => Self::Lost(format!(
                        "the broker disconnected: {other:?} {}",
                        reason_string.as_deref().unwrap_or("")
                    )),
                }
            }
            ConnectionError::MqttState(
                StateError::Deserialization(v5::mqttbytes::Error::PayloadSizeLimitExceeded { .. })
                | StateError::IncomingPacketTooLarge { .. },
            ) => Self::Oversize,
            ConnectionError::RequestsDone => Self::Done,
            ConnectionError::Tls(error) => Self::tls(error),
            ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => Self::io(error),
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::closed(),
            ConnectionError::Timeout(_) => Self::Lost("the broker does not answer".to_owned()),
            other => Self::Lost(other.to_string()),
        }
    }

    pub(super) fn from_v311(error: &v4::ConnectionError) -> Self {
        use v4::{ConnectReturnCode as Code, ConnectionError, StateError};
        match error {
            ConnectionError::ConnectionRefused(code) => match code {
                Code::BadUserNamePassword => Self::password(),
                Code::NotAuthorized => Self::rights(),
                Code::RefusedProtocolVersion => Self::version("5"),
                Code::BadClientId => Self::client_id(),
                other => Self::Lost(format!("the broker refuses the connection for now: {other:?}")),
            },
            ConnectionError::MqttState(StateError::Deserialization(
                v4::mqttbytes::Error::PayloadSizeLimitExceeded(_),
            )) => Self::Oversize,
            ConnectionError::RequestsDone => Self::Done,
            ConnectionError::Tls(error) => Self::tls(error),
            ConnectionError::Io(error) | ConnectionError::MqttState(StateError::Io(error)) => Self::io(error),
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::closed(),
            ConnectionError::NetworkTimeout => Self::Lost("the broker does not answer".to_owned()),
            other => Self::Lost(other.to_string()),
        }
    }

    fn password() -> Self {
        Self::Rejected("the broker refuses this user name and password: check username and password_file".to_owned())
    }

    fn rights() -> Self {
        Self::Rejected(
            "the broker does not let this client in: check its username, password_file and access list".to_owned(),
        )
    }

    fn version(other: &str) -> Self {
        Self::Rejected(format!("the broker does not speak this version of MQTT: write protocol = \"{other}\""))
    }

    fn client_id() -> Self {
        Self::Rejected("the broker does not accept this client_id: set another".to_owned())
    }

    fn tls(error: &impl std::error::Error) -> Self {
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let inner_text = inner.to_string();
            if !why.contains(&inner_text) {
                why = format!("{why}: {inner_text}");
            }
            source = inner.source();
        }
        Self::Rejected(format!("TLS fails: {why}; check ca_file, cert_file, key_file and the host in the url"))
    }

    fn io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Self::Lost("nothing listens at the broker's address".to_owned()),
            std::io::ErrorKind::InvalidData => Self::tls(error),
            std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::UnexpectedEof
            | std::io::ErrorKind::BrokenPipe => Self::closed(),
            _ => Self::Lost(error.to_string()),
        }
    }

    fn closed() -> Self {
        Self::Lost("the broker closed the connection".to_owned())
    }
}

/// The id a client goes by.
#[must_use]
pub fn client_id(mqtt: &Mqtt, gateway: &str) -> Arc<str> {
    match &mqtt.client_id {
        Some(id) => id.as_str().into(),
        None => format!("tidegate-{gateway}-{}", mqtt.name).into(),
    }
}

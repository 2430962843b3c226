//! What the library is told of our side of an MQTT 5 session: that there is nothing in it.
//!
//! A process that has just started and finds its session at the broker has no state of its own. The library then takes
//! no SUBSCRIBE and no UNSUBSCRIBE any more, and says so to nobody: a packet id it draws could be that of a message the
//! earlier process had on its way. We never publish, so no id is taken, and an empty state is the true one.

use std::future::{Future, ready};
use std::pin::Pin;

use rumqttc::{PersistedAckMode, PersistedSession, SessionStore, SessionStoreError, SessionStoreKey};

/// A store from which an empty session is read, and where nothing is kept.
#[derive(Debug)]
pub struct Empty(PersistedSession);

impl Empty {
    /// Of a client that may publish so many messages at once.
    #[must_use]
    pub fn of(client_id: &str, at_once: u16) -> Self {
        Self(PersistedSession {
            format_version: 1,
            client_id: client_id.to_owned(),
            clean_start: false,
            session_expiry_interval: None,
            outgoing_inflight_upper_limit: Some(at_once),
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        })
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for Empty {
    fn load<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, Option<PersistedSession>> {
        Box::pin(ready(Ok(Some(self.0.clone()))))
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Answer<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, ()> {
        Box::pin(ready(Ok(())))
    }
}

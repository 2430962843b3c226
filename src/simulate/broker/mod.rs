//! A lean MQTT 5 broker inside the process, on the packet types of the client library.
//!
//! `QoS` 0 and 1, filters with `+` and `#`, persistent sessions with redelivery, `receive_maximum`, take-over of a
//! client id. Not there because simulate has no use for it: retained messages, wills, `QoS` 2, MQTT 3.1.1 (refused as
//! the standard asks), passwords, keep-alive (a silent client is left alone).
//!
//! ```text
//!   sensor ──▶ connection ──▶ Router ──▶ Session ──▶ connection ──▶ gateway
//!     ▲            │                        │
//!   PUBACK ◀───────┴── held back while ─────┘ is full
//! ```
//!
//! Invariants:
//! - what was `PUBACKed` to a publisher is in the session of every subscriber, for the life of the process;
//! - memory is bounded: a full session holds its publishers back, by not reading from them.

mod connection;
mod session;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rumqttc::mqttbytes::QoS;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use session::{Message, Session};

/// A running broker; dropping it ends it.
pub struct Broker {
    address: SocketAddr,
    router: Arc<Router>,
    _tasks: JoinSet<()>,
}

impl Broker {
    /// Listens on a free port of the loopback interface.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Arc::new(Router::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, router.clone()));
        Ok(Self { address, router, _tasks: tasks })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Messages that some subscriber has not acknowledged yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.router.slots().iter().map(|slot| slot.session().pending()).sum()
    }
}

async fn accept(listener: TcpListener, router: Arc<Router>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // An accept that failed is the client's to try again.
                if let Ok((stream, _)) = accepted {
                    let router = router.clone();
                    connections.spawn(async move {
                        if let Err(error) = connection::serve(stream, router).await {
                            tracing::debug!(%error, "a client of the simulated broker is gone");
                        }
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Who gets what.
#[derive(Default)]
struct Router {
    slots: RwLock<Vec<Arc<Slot>>>,
    /// Some queue has room again, or is gone.
    room: Notify,
}

/// A session and the bell beside it. The lock is never held across an await.
struct Slot {
    client: String,
    session: Mutex<Session>,
    /// Which connection the session belongs to; an older one has been taken over.
    owner: Mutex<u64>,
    /// There is something to send, or another connection took over.
    work: Notify,
}

impl Slot {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self) -> MutexGuard<'_, u64> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client found when it connected.
struct Attached {
    slot: Arc<Slot>,
    /// The number of this connection among the session's.
    connection: u64,
    session_present: bool,
}

impl Router {
    fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds or makes the client's session and makes this connection its owner.
    fn attach(&self, client: &str, clean_start: bool, receive_maximum: u16) -> Attached {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let known = slots.iter().find(|slot| slot.client == client).cloned();
        let session_present = known.is_some() && !clean_start;
        let slot = known.unwrap_or_else(|| {
            let slot = Arc::new(Slot {
                client: client.to_owned(),
                session: Mutex::default(),
                owner: Mutex::default(),
                work: Notify::new(),
            });
            slots.push(slot.clone());
            slot
        });
        let connection = {
            let mut owner = slot.owner();
            *owner += 1;
            *owner
        };
        {
            let mut session = slot.session();
            if clean_start {
                *session = Session::default();
            }
            session.resume(receive_maximum);
        }
        self.room.notify_waiters();
        slot.work.notify_one();
        Attached { slot, connection, session_present }
    }

    /// The connection has ended; without a session expiry the session ends with it.
    fn detach(&self, slot: &Arc<Slot>, connection: u64, keep: bool) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if *slot.owner() != connection {
            return;
        }
        slot.session().disconnect();
        if !keep {
            slots.retain(|other| !Arc::ptr_eq(other, slot));
            self.room.notify_waiters();
        }
    }

    /// Puts a message into every session that wants it, or, if one of them is full, into none: then `false`.
    /// A client's own session never holds it back, since it could not acknowledge while it waits.
    fn try_publish(&self, message: &Message, from: &Arc<Slot>) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let topic = String::from_utf8_lossy(&message.topic);
        let holds_back = |slot: &Arc<Slot>| {
            let session = slot.session();
            session.is_full() && !Arc::ptr_eq(slot, from) && session.wants(&topic).is_some()
        };
        if slots.iter().any(holds_back) {
            return false;
        }
        for slot in slots.iter() {
            let mut session = slot.session();
            if let Some(qos) = session.wants(&topic) {
                session.push(Message { qos: lesser(message.qos, qos), ..message.clone() });
                drop(session);
                slot.work.notify_one();
            }
        }
        true
    }

    /// Waits until there is room.
    async fn publish(&self, message: &Message, from: &Arc<Slot>) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Listening comes before looking, so that no bell is missed in between.
            room.as_mut().enable();
            if self.try_publish(message, from) {
                return;
            }
            room.await;
        }
    }
}

fn lesser(one: QoS, other: QoS) -> QoS {
    if one == QoS::AtMostOnce { one } else { other }
}

#[cfg(test)]
mod tests;

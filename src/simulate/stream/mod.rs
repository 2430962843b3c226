//! A Kinesis stream inside the process: real HTTP on a free port, so that the real SDK talks to it.
//!
//! It takes `PutRecords` and answers `ListShards` and `DescribeStreamSummary`, with AWS's limits and errors, keeps
//! what it stored for the check, and fails in the ways a real stream and a real link do.
//!
//! ```text
//!   SDK ── link (counts, cuts, outages) ── api (limits, faults) ── shards ── Vec<Record>
//! ```
//!
//! Invariants:
//! - a record is kept if and only if the reply named its sequence number, or was cut off before it could;
//! - within a shard sequence numbers rise in the order the records were taken.

mod api;
mod faults;
mod link;
mod sabotage;
mod shard;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use faults::Dice;
pub use faults::{Faults, Outage};
use link::{Line, Listening};
use sabotage::Saboteur;
pub use sabotage::{Deed, Sabotage};
use shard::Shard;

use crate::reading::Micros;

#[derive(Clone, Debug)]
pub struct Settings {
    pub stream: String,
    pub shards: u32,
    pub faults: Faults,
}

/// What the stream has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub shard: u32,
    pub sequence: u64,
    pub partition_key: String,
    pub data: Bytes,
    pub arrived: Micros,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `PutRecords` that arrived, whatever became of them.
    pub requests: u64,
    /// Records stored, and their bytes with their keys.
    pub records: u64,
    pub bytes: u64,
    /// Records refused for throughput.
    pub throttled: u64,
    /// Requests answered with 500.
    pub failed: u64,
    /// Requests whose connection was cut after the records were stored.
    pub cut: u64,
    /// Bytes in both directions, headers and refused requests included.
    pub link_bytes: u64,
}

/// A running stream; dropping it ends it.
pub struct Stream {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Stream {
    /// Listens on a free port of the loopback interface. Outages count from here.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let line = Arc::new(Line::new(settings.faults.outages.clone(), Instant::now()));
        let shared = Arc::new(Shared::new(settings, line.clone()));
        let service = api::router(shared.clone()).into_make_service_with_connect_info::<link::Cut>();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Axum's server returns only when it is told to shut down, which nobody does.
            let _ = axum::serve(Listening::new(listener, line), service).await;
        });
        Ok(Self { address, shared, _tasks: tasks })
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was stored, from the `from`-th record on, in the order of arrival.
    #[must_use]
    pub fn records(&self, from: usize) -> Vec<Record> {
        self.shared.state().records.get(from..).unwrap_or_default().to_vec()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let link_bytes = self.shared.line.bytes.load(Ordering::Relaxed);
        Counts { link_bytes, ..self.shared.state().counts }
    }

    /// Whether the link is down now.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.shared.line.is_out()
    }
}

struct Shared {
    stream: String,
    line: Arc<Line>,
    state: Mutex<State>,
}

struct State {
    shards: Vec<Shard>,
    records: Vec<Record>,
    counts: Counts,
    throttle: Dice,
    failure: Dice,
    cut: Dice,
    saboteur: Saboteur,
}

impl Shared {
    fn new(settings: Settings, line: Arc<Line>) -> Self {
        let Settings { stream, shards, faults } = settings;
        let state = State {
            shards: (0..shards.max(1)).map(|_| Shard::default()).collect(),
            records: Vec::new(),
            counts: Counts::default(),
            throttle: Dice::new(faults.seed, faults.throttle),
            failure: Dice::new(faults.seed.wrapping_add(1), faults.failure),
            cut: Dice::new(faults.seed.wrapping_add(2), faults.cut),
            saboteur: Saboteur::new(faults.sabotage),
        };
        Self { stream, line, state: Mutex::new(state) }
    }

    /// Never held across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;

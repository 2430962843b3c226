//! Delivery, set up on its own thread: three streams out of the logs, with lanes, limits and the sink of the configuration.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::batch::Limits;
use crate::clock::Clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::queue::{self, Cursors, Queue, Request, ShedBefore};
use crate::sink::RoadState;
use crate::sink::delivery::{Delivery, DeliveryError};
use crate::sink::kinesis::Kinesis;
use crate::sink::losses::Losses;
use crate::sink::stream::Stream;
use crate::sink::streams::Streams;

/// What the thread of delivery sets up for itself.
pub struct Road {
    pub config: Config,
    pub queue: Arc<Queue>,
    pub gateway: Arc<str>,
    pub requests: mpsc::Sender<Request>,
    /// How far the windows have committed; `None` without windows.
    pub folded: Option<watch::Receiver<u64>>,
    pub shed_asked: watch::Receiver<ShedBefore>,
    pub state: watch::Sender<RoadState>,
    pub metrics: Arc<Metrics>,
}

impl Road {
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), DeliveryError> {
        let Self { config, queue, gateway, requests, folded, shed_asked, state, metrics } = self;
        let Config { batch, kinesis, link, .. } = config;
        let mut cursors = Cursors::load(&*queue.store)?;
        let mut stream = |name: &'static str, log: &queue::Log, lanes, received| {
            let cursors = cursors.streams.remove(name).unwrap_or_default();
            Stream::new(name, gateway.clone(), log.clone(), &cursors, lanes, received)
        };
        let streams = Streams {
            gaps: stream("gaps", &queue.notes, 1, batch.received)?,
            rows: stream("rows", &queue.rows, 1, false)?,
            readings: stream("readings", &queue.readings, kinesis.lanes, batch.received)?,
            folded,
        };
        let limits = Limits {
            target: batch.max_bytes,
            max_record: kinesis.max_record,
            compression: batch.compression,
            level: batch.level,
        };
        let losses =
            Losses { gateway: gateway.clone(), writer: requests, state: state.clone(), metrics: metrics.clone() };
        let delivery = Delivery {
            sink: Kinesis::new(&kinesis, &link, metrics.clone()).await,
            store: queue.store.clone(),
            gateway,
            streams,
            losses,
            shed_before: shed_asked,
            limits,
            max_age: batch.max_age,
            max_request: kinesis.max_request,
            backoff: kinesis.backoff,
            state,
            clock: Clock::System,
            metrics,
        };
        delivery.run(stop).await
    }
}

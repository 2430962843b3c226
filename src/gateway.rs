//! The wiring, and the order in which things stop; the only module that knows everyone.
//!
//! ```text
//! start:  lock ▶ port ▶ queue ▶ writer ▶ fold ▶ delivery ▶ http ▶ sources
//! stop:   sources (receipts out, PUBACKs sent) ▶ fold ▶ writer (the rest committed) ▶ delivery (cursors) ▶ http
//! ```
//!
//! Writer, fold and delivery have a thread each: they block, on fsync, on reading, on compressing.
//! Stopping saves nothing that was not safe already: a crash is the same, only less polite.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::{self, Clock};
use crate::config::{self, Config};
use crate::fold::{Fold, FoldError, Tells};
use crate::http;
use crate::metrics::Metrics;
use crate::queue::files::host_name;
use crate::queue::retention::Retention;
use crate::queue::writer::{Options, StoreState};
use crate::queue::{self, Lock, OpenError, Queue, Request, ShedBefore, SledStore, Store, StoreError, Writer};
use crate::sink::RoadState;
use crate::sink::delivery::DeliveryError;
use crate::sink::losses::Losses;
use crate::source::{Inbox, SourceError};

mod looks;
mod road;
mod sources;
mod status;
mod thread;
mod windows;

use road::Road;
use sources::Sources;
use thread::{Ended, OnThread, on_thread};

/// The inbox holds this many bytes of payloads at the most.
const INBOX_BYTES: usize = 64 << 20;
/// Why a gateway did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    Queue(#[from] OpenError),
    #[error("cannot listen on {address}: {source}; stop what uses that port, or set `http.listen` (\"off\" for none)")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(
        "a write to {dir} failed: {source}; nothing unwritten was acknowledged, and the next start goes on from the disk"
    )]
    Write { dir: PathBuf, source: StoreError },
    #[error("delivery stopped: {0}")]
    Delivery(#[from] DeliveryError),
    #[error("source {name}: {source}")]
    Source { name: String, source: SourceError },
    #[error("the windows stopped: {0}")]
    Fold(#[from] FoldError),
    #[error("a part of the gateway ended without a word; this is a fault of tidegate, please report it")]
    Lost,
}

impl From<StoreError> for GatewayError {
    fn from(error: StoreError) -> Self {
        Self::Queue(error.into())
    }
}

/// Runs until `shutdown` resolves, or until something fails that no retry mends.
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send) -> Result<(), GatewayError> {
    let clock = Clock::System;
    let dir = config.gateway.data_dir.clone();
    let _lock = Lock::take(&dir)?;
    let listener = listen(&config.http).await?;
    let metrics = Metrics::new();

    let store: Arc<dyn Store> = Arc::new(SledStore::open(&dir)?);
    let generation_bytes = queue::generation_bytes(config.queue.max_bytes);
    let (mut queue, appenders) = Queue::open(store.clone(), clock.now(), generation_bytes)?;
    let restored = std::mem::take(&mut queue.restored);
    let queue = Arc::new(queue);
    let id = gateway_id(&config.gateway, &queue);
    tracing::info!(gateway = &*id, epoch = queue.identity.epoch, data_dir = %dir.display(), "started");

    let in_flight = config.sources.iter().map(sources::in_flight);
    let (inbox, items) = Inbox::new(in_flight.clone().sum::<usize>() + 64, INBOX_BYTES, clock.clone());
    let (requests, asked) = mpsc::channel(16);
    let (shed_before, shed_asked) = watch::channel(ShedBefore::default());
    let (open, open_windows) = watch::channel(false);
    // The writer holds the only sender: once it is gone, the storage is not writable.
    let (store_state, store_seen) = watch::channel(StoreState::default());
    let writer = Writer {
        store: store.clone(),
        appenders,
        inbox: items,
        requests: asked,
        open_windows,
        shed_before,
        state: store_state,
        retention: Retention::new(store.clone(), config.queue.max_bytes, config.queue.min_free, generation_bytes),
        options: Options {
            linger: config.queue.commit_linger,
            when_full: config.queue.when_full,
            max_dead: config.queue.max_dead,
            tick: windows::tick(&config.windows),
            in_flight: in_flight.min().unwrap_or(1),
        },
        clock: clock.clone(),
        boot: clock::boot_id().into(),
        mark: queue.mark,
        metrics: metrics.clone(),
    };
    let writer = on_thread("writer", move || writer.run());

    let (stop_delivery, delivery_stops) = watch::channel(false);
    let road_state = watch::Sender::new(RoadState::default());
    let (folded, how_far) = watch::channel(0);
    let (stats, windows_seen) = watch::channel(Vec::new());
    let losses =
        Losses { gateway: id.clone(), writer: requests.clone(), state: road_state.clone(), metrics: metrics.clone() };
    let tells = Tells { folded, open, stats };
    let fold = Fold::take_up(windows::options(&config), &queue, restored, losses, shed_asked.clone(), tells)?;
    let fold_stops = delivery_stops.clone();
    let fold = on_thread("fold", move || fold.run(fold_stops));
    let road = Road {
        config: config.clone(),
        queue: queue.clone(),
        gateway: id.clone(),
        requests: requests.clone(),
        folded: (!config.windows.is_empty()).then(|| how_far.clone()),
        shed_asked,
        state: road_state.clone(),
        metrics: metrics.clone(),
    };
    let delivery = on_thread("delivery", move || road.run(delivery_stops));

    let (stop_sources, sources_stop) = watch::channel(false);
    let (sources, states) = sources::start(&config, &id, &inbox, &metrics, &sources_stop);
    drop(inbox);

    let (stop_http, http_stops) = oneshot::channel::<()>();
    let board = status::Board {
        config: config.clone(),
        id,
        queue: queue.clone(),
        sources: states,
        store: store_seen,
        road: road_state.subscribe(),
        folded: how_far,
        windows: windows_seen,
        metrics: metrics.clone(),
        clock,
    };
    let http = listener.map(|listener| {
        let looks = looks::looks(&queue, &requests.downgrade());
        tokio::spawn(http::serve(listener, config.http.token.clone(), metrics.clone(), board.watch(), looks, async {
            let _ = http_stops.await;
        }))
    });
    let mut running =
        Running { writer, fold, delivery, sources, stop_sources, stop_delivery, requests, http, stop_http, dir };
    let failed = running.until(shutdown).await;
    running.stop(failed, config.gateway.shutdown_timeout).await
}

/// The parts of a gateway that runs.
struct Running {
    writer: OnThread<Result<(), StoreError>>,
    fold: OnThread<Result<(), FoldError>>,
    delivery: OnThread<Result<(), DeliveryError>>,
    sources: Sources,
    stop_sources: watch::Sender<bool>,
    stop_delivery: watch::Sender<bool>,
    requests: mpsc::Sender<Request>,
    http: Option<JoinHandle<std::io::Result<()>>>,
    stop_http: oneshot::Sender<()>,
    dir: PathBuf,
}

impl Running {
    /// Waits until it is asked to stop (`None`), or until a part has ended by itself.
    async fn until(&mut self, shutdown: impl Future<Output = ()> + Send) -> Option<Result<(), GatewayError>> {
        tokio::select! {
            () = shutdown => None,
            ended = &mut self.writer => Some(written(ended, &self.dir)),
            ended = &mut self.fold => Some(ended_as(ended)),
            ended = &mut self.delivery => Some(ended_as(ended)),
            Some(ended) = self.sources.join_next() => Some(ended.unwrap_or(Err(GatewayError::Lost))),
        }
    }

    async fn stop(self, failed: Option<Result<(), GatewayError>>, patience: Duration) -> Result<(), GatewayError> {
        let Self { writer, fold, delivery, mut sources, stop_sources, stop_delivery, requests, http, stop_http, dir } =
            self;
        stop_sources.send_replace(true);
        let deadline = tokio::time::Instant::now() + patience;
        let _ = tokio::time::timeout_at(deadline, async { while sources.join_next().await.is_some() {} }).await;
        sources.abort_all();
        drop(requests);
        stop_delivery.send_replace(true);
        match failed {
            // The others end when the writer does; the writer knows why.
            Some(Err(
                GatewayError::Fold(FoldError::WriterGone)
                | GatewayError::Delivery(DeliveryError::WriterGone)
                | GatewayError::Source { source: SourceError::QueueStopped, .. },
            )) => {
                return written(writer.await, &dir).and(Err(GatewayError::Lost));
            }
            Some(failed) => return failed.and(Err(GatewayError::Lost)),
            None => {}
        }
        // What is on the road may be left there: it goes again at the next start.
        if let Ok(ended) = tokio::time::timeout_at(deadline, delivery).await {
            ended_as(ended)?;
        }
        if let Ok(ended) = tokio::time::timeout_at(deadline, fold).await {
            ended_as(ended)?;
        }
        let _ = stop_http.send(());
        if let Some(http) = http {
            let _ = tokio::time::timeout(Duration::from_millis(200), http).await;
        }
        if let Ok(ended) = tokio::time::timeout_at(deadline, writer).await {
            written(ended, &dir)?;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn listen(http: &config::Http) -> Result<Option<TcpListener>, GatewayError> {
    let Some(address) = http.listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|source| GatewayError::Listen { address, source })?;
    Ok(Some(listener))
}

fn gateway_id(gateway: &config::Gateway, queue: &Queue) -> Arc<str> {
    match &gateway.id {
        Some(id) => id.as_str().into(),
        None => format!("{}-{}", host_name(), queue.identity.suffix).into(),
    }
}

fn written(ended: Ended<Result<(), StoreError>>, dir: &std::path::Path) -> Result<(), GatewayError> {
    let Ok(Ok(result)) = ended else { return Err(GatewayError::Lost) };
    result.map_err(|source| GatewayError::Write { dir: dir.to_owned(), source })
}

fn ended_as<E>(ended: Ended<Result<(), E>>) -> Result<(), GatewayError>
where
    GatewayError: From<E>,
{
    let Ok(Ok(result)) = ended else { return Err(GatewayError::Lost) };
    Ok(result?)
}

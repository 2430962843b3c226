//! What will never be delivered is written down before any cursor moves behind it: a gap record in the stream `gaps`,
//! and of a record that was refused, the record itself as a dead letter.

use std::sync::Arc;

use tidegate_wire::{Series, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::RoadState;
use super::delivery::DeliveryError;
use crate::batch::Record;
use crate::batch::lane::Removed;
use crate::metrics::Metrics;
use crate::queue::{Letter, Request};
use crate::reading::Reading;
use crate::source::Reason;

/// Entries of a lane that will never be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub stream: &'static str,
    pub lane: u32,
    pub removed: Removed,
    pub reason: &'static str,
}

/// The way to the writer, who alone adds to a log.
pub struct Losses {
    pub gateway: Arc<str>,
    pub writer: mpsc::Sender<Request>,
    pub state: watch::Sender<RoadState>,
    pub metrics: Arc<Metrics>,
}

impl Losses {
    /// Makes a record a dead letter, and its entries a gap.
    pub async fn bury(&self, record: &Record, reason: Reason, detail: String) -> Result<(), DeliveryError> {
        tracing::error!(
            stream = record.stream,
            lane = record.lane,
            readings = record.count,
            detail,
            "a record is given up"
        );
        let letter = Letter {
            source: "tidegate".into(),
            origin: record.key.clone(),
            reason: reason.label().into(),
            detail,
            payload: record.data.clone(),
            length: record.data.len() as u64,
            sha256: None,
        };
        let (done, written) = oneshot::channel();
        self.ask(Request::Letters(vec![letter], done), written).await?;
        let (from, to) = ((record.epoch, record.first), (record.epoch, record.last));
        let removed = Removed { from, to, count: record.count };
        self.write_gaps(&[Gap { stream: record.stream, lane: record.lane, removed, reason: "dead-lettered" }]).await
    }

    /// Returns once they are on stable storage.
    pub async fn write_gaps(&self, gaps: &[Gap]) -> Result<(), DeliveryError> {
        if gaps.is_empty() {
            return Ok(());
        }
        for gap in gaps {
            self.metrics.gaps.with_label_values(&[gap.reason]).inc();
        }
        self.state.send_modify(|state| state.gaps += gaps.len() as u64);
        let readings = gaps.iter().map(|gap| gap_reading(&self.gateway, gap)).collect();
        let (done, written) = oneshot::channel();
        self.ask(Request::Gaps(readings, done), written).await
    }

    async fn ask(&self, request: Request, answer: oneshot::Receiver<()>) -> Result<(), DeliveryError> {
        self.writer.send(request).await.map_err(|_| DeliveryError::WriterGone)?;
        answer.await.map_err(|_| DeliveryError::WriterGone)
    }
}

/// The record of a gap, as the stream `gaps` carries it.
fn gap_reading(gateway: &Arc<str>, gap: &Gap) -> Reading {
    let Removed { from, to, count } = gap.removed;
    let number = |n: u64| Value::from(n);
    let fields = [
        ("stream", Value::Text(gap.stream.into())),
        ("lane", number(gap.lane.into())),
        ("from_epoch", number(from.0)),
        ("from", number(from.1)),
        ("to_epoch", number(to.0)),
        ("to", number(to.1)),
        ("count", number(count)),
        ("reason", Value::Text(gap.reason.into())),
    ];
    let series = Series { source: "tidegate".into(), device: gateway.clone(), tags: Vec::new(), window: None };
    let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Reading { time: None, series: Arc::new(series), fields }
}

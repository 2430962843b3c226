//! Serial lines: one task a source, which opens its port whenever that is there.
//!
//! ```text
//!   port ──▶ input: lines, frames ──▶ link ──▶ decoder ──▶ inbox
//!     ▲                                                      │
//!     └──── ACKs ◀── link ◀── receipts, in order of arrival ◀┘
//! ```
//!
//! Invariants:
//! - an ACK leaves only for what is on stable storage, by the opening of the port that it came by;
//! - writing never holds up reading: ACKs that the sensor does not read go after a bound, and it sends again;
//! - frames are held back by not reading: what the sensor has no ACK for it keeps. So are lines with flow control;
//!   without it nothing would hold the sensor, so what finds no room is dropped, and counted;
//! - no payload loops: one that is too large or cannot be read is a dead letter, acknowledged in its turn.

mod acks;
mod door;
mod input;
mod lines;
mod link;
mod name;
mod pending;

use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};
use tokio_serial::SerialStream;

use self::door::Door;
use self::input::Input;
use super::standing::Standing;
use super::{Inbox, SourceError, StateSender, port};
use crate::backoff;
use crate::config::{self, Backoff};
use crate::metrics::Metrics;

/// Frames taken and not yet acknowledged.
pub const IN_FLIGHT: usize = 256;
/// A device that appears is in use soon, and looking for it costs next to nothing.
const REOPEN: Backoff = Backoff { base: Duration::from_millis(100), max: Duration::from_secs(2) };
/// A port that closes sooner than this was hardly there.
const SHORT: Duration = Duration::from_secs(2);
/// How long the last ACKs may take once the gateway stops.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs one source until `stop` resolves.
pub async fn run(
    serial: config::Serial,
    data_dir: &Path,
    inbox: Inbox,
    state: StateSender,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) -> Result<(), SourceError> {
    let mut standing = Standing::new(&serial.name, inbox, metrics, state);
    let mut stop = pin!(stop);
    let mut failed = 0;
    loop {
        let opened = Instant::now();
        let why = match port::open(&serial.port, &serial.line) {
            Ok((stream, path)) => {
                standing.up(&path)?;
                let door = Door::new(&serial, &path, data_dir, &mut standing);
                let mut wire = Wire { stream, input: Input::new(&serial), door };
                let Some(gone) = wire.serve(&mut stop).await? else { return Ok(()) };
                match gone {
                    Gone::Unplugged => format!("{path} was unplugged; plug the device in again"),
                    Gone::Failed(error) => format!("{path} failed: {error}; check the device and its cable"),
                }
            }
            Err(error) => error.to_string(),
        };
        failed = if opened.elapsed() >= SHORT { 1 } else { failed + 1 };
        standing.down(why)?;
        tokio::select! {
            slept = standing.inlet.sleep_until(Instant::now() + backoff::pause(REOPEN, failed)) => slept?,
            () = &mut stop => return Ok(()),
        }
    }
}

/// Why a port is no longer there.
enum Gone {
    Unplugged,
    Failed(io::Error),
}

/// A port that is open.
struct Wire<'a> {
    stream: SerialStream,
    input: Input,
    door: Door<'a>,
}

enum Moved {
    Read(usize),
    Wrote(usize),
}

impl Wire<'_> {
    /// Until the port is gone; `None`: the gateway stops.
    async fn serve(&mut self, stop: &mut (impl Future<Output = ()> + Unpin)) -> Result<Option<Gone>, SourceError> {
        loop {
            self.door.acknowledge()?;
            while self.door.has_room()
                && let Some(piece) = self.input.next()
            {
                self.door.take(piece)?;
            }
            let room = if self.door.has_room() { self.input.room() } else { None };
            let moved = tokio::select! {
                moved = move_bytes(&mut self.stream, room, self.door.acks.bytes()) => moved,
                stored = self.door.pending.progress() => {
                    stored?.iter().for_each(|ticket| self.door.is_stored(ticket));
                    continue;
                }
                () = &mut *stop => {
                    self.goodbye().await?;
                    return Ok(None);
                }
            };
            match moved {
                // What the end of a terminal's life looks like on Linux.
                Ok(Moved::Read(0)) => return Ok(Some(Gone::Unplugged)),
                Ok(Moved::Read(bytes)) => self.input.filled(bytes),
                Ok(Moved::Wrote(bytes)) => self.door.wrote(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Ok(Some(Gone::Failed(error))),
            }
        }
    }

    /// The gateway stops: what was taken is stored and acknowledged, and no more is read.
    async fn goodbye(&mut self) -> Result<(), SourceError> {
        let last = async {
            loop {
                self.door.acknowledge()?;
                if self.door.pending.is_empty() && self.door.acks.is_empty() {
                    return Ok(());
                }
                tokio::select! {
                    stored = self.door.pending.progress() => {
                        stored?.iter().for_each(|ticket| self.door.is_stored(ticket));
                    }
                    moved = move_bytes(&mut self.stream, None, self.door.acks.bytes()) => match moved {
                        Ok(Moved::Wrote(bytes)) => self.door.wrote(bytes),
                        // Too late only means that the sensor sends again.
                        Ok(Moved::Read(_)) | Err(_) => return Ok(()),
                    },
                }
            }
        };
        timeout(GOODBYE, last).await.unwrap_or(Ok(()))
    }
}

/// Writes some bytes or reads some, whichever is possible first; never while neither is.
async fn move_bytes(stream: &mut SerialStream, mut room: Option<&mut [u8]>, bytes: &[u8]) -> io::Result<Moved> {
    poll_fn(|context| {
        if !bytes.is_empty()
            && let Poll::Ready(wrote) = Pin::new(&mut *stream).poll_write(context, bytes)
        {
            return Poll::Ready(wrote.map(Moved::Wrote));
        }
        if let Some(room) = room.as_deref_mut() {
            let mut buffer = ReadBuf::new(room);
            if let Poll::Ready(read) = Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                return Poll::Ready(read.map(|()| Moved::Read(buffer.filled().len())));
            }
        }
        Poll::Pending
    })
    .await
}

//! The link to the stream: it counts every byte, and it breaks.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::faults::Outage;

/// What all connections share.
pub struct Line {
    outages: Vec<Outage>,
    start: Instant,
    /// In both directions.
    pub bytes: AtomicU64,
}

impl Line {
    pub fn new(outages: Vec<Outage>, start: Instant) -> Self {
        Self { outages, start, bytes: AtomicU64::new(0) }
    }

    pub fn is_out(&self) -> bool {
        let elapsed = self.start.elapsed();
        self.outages.iter().any(|outage| outage.holds_at(elapsed))
    }
}

/// Accepts connections; during an outage it drops them at once, which the client sees as cut off.
pub struct Listening {
    listener: TcpListener,
    line: Arc<Line>,
}

impl Listening {
    pub fn new(listener: TcpListener, line: Arc<Line>) -> Self {
        Self { listener, line }
    }
}

impl Listener for Listening {
    type Io = Link;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Link, SocketAddr) {
        loop {
            // Axum's own accept goes on after errors of a single connection.
            let (stream, from) = Listener::accept(&mut self.listener).await;
            if !self.line.is_out() {
                // Without it replies of several parts wait for the other side's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                return (Link { stream, line: self.line.clone(), cut: Cut::default() }, from);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The scissors of one connection: whoever answers a request can cut it.
#[derive(Clone, Debug, Default)]
pub struct Cut(Arc<AtomicBool>);

impl Cut {
    pub fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Listening>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Listening>) -> Self {
        stream.io().cut.clone()
    }
}

/// One connection. Once it is broken, or an outage has begun, every read and write fails.
pub struct Link {
    stream: TcpStream,
    line: Arc<Line>,
    cut: Cut,
}

impl Link {
    fn whole(&self) -> io::Result<()> {
        if self.line.is_out() {
            // It does not heal when the outage is over.
            self.cut.cut();
        }
        if self.cut.0.load(Ordering::Relaxed) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    fn count(&self, bytes: usize) {
        self.line.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer)?;
        self.count(buffer.filled().len() - before);
        self.whole()?;
        read.map(Ok)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.whole()?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes)?;
        if let Poll::Ready(bytes) = written {
            self.count(bytes);
        }
        written.map(Ok)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

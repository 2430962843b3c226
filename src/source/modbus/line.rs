//! The line to the units: a serial port or a TCP connection, and one request with its answer.
//!
//! An answer on a serial line does not say what it answers. One that comes after its time-out would be taken for that to
//! the next request to the same unit; so what has come before a request leaves is thrown away ([`Fresh`]).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{self, Client};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{Error, ExceptionCode, Request as Call, Response};

use super::plan::Request;
use crate::config::{Table, Transport};
use crate::source::port;

/// The shortest time that a TCP connection is given to come about.
const CONNECT: Duration = Duration::from_secs(5);

pub struct Line {
    context: client::Context,
    timeout: Duration,
}

/// What a request brought; bits are words of 0 and 1.
pub enum Answer {
    Words(Vec<u16>),
    Exception(ExceptionCode),
    /// The answer to something else.
    Garbled,
    Silence,
}

impl Line {
    /// Opens the line; says where it goes, or why it does not, in a sentence.
    pub async fn open(transport: &Transport, answer: Duration) -> Result<(Self, String), String> {
        let (context, place) = match transport {
            Transport::Rtu { port, line } => {
                let (stream, path) = port::open(port, line).map_err(|error| error.to_string())?;
                (client::rtu::attach(Fresh::new(stream)), path)
            }
            Transport::Tcp { host, port } => {
                let place = format!("{host}:{port}");
                let why =
                    |error: String| format!("{place} cannot be reached: {error}; check the address and the device");
                let stream = timeout(CONNECT.max(answer), TcpStream::connect((host.as_str(), *port)));
                let stream = stream.await.map_err(|_| why("no answer".to_owned()))?.map_err(|e| why(e.to_string()))?;
                stream.set_nodelay(true).map_err(|error| why(error.to_string()))?;
                (client::tcp::attach(Fresh::new(stream)), place)
            }
        };
        Ok((Self { context, timeout: answer }, place))
    }

    /// One request to a unit and what it brings; an error ends the line.
    pub async fn ask(&mut self, unit: u8, request: &Request) -> io::Result<Answer> {
        let Request { table, first, count, .. } = *request;
        let call = match table {
            Table::Coil => Call::ReadCoils(first, count),
            Table::Discrete => Call::ReadDiscreteInputs(first, count),
            Table::Input => Call::ReadInputRegisters(first, count),
            Table::Holding => Call::ReadHoldingRegisters(first, count),
        };
        self.context.set_slave(Slave(unit));
        let Ok(answer) = timeout(self.timeout, self.context.call(call)).await else { return Ok(Answer::Silence) };
        let words = match answer {
            Ok(Ok(Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits))) => {
                // They come by the byte.
                bits.into_iter().take(count.into()).map(u16::from).collect()
            }
            Ok(Ok(Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words))) => words,
            Ok(Ok(_)) | Err(Error::Protocol(_)) => return Ok(Answer::Garbled),
            Ok(Err(exception)) => return Ok(Answer::Exception(exception)),
            Err(Error::Transport(error)) => return Err(error),
        };
        Ok(if words.len() == usize::from(count) { Answer::Words(words) } else { Answer::Garbled })
    }
}

/// A stream on which nothing that came before a request is taken for its answer.
#[derive(Debug)]
struct Fresh<T> {
    stream: T,
    /// A request is on its way out: what came before it is gone.
    is_asking: bool,
}

impl<T: AsyncRead + Unpin> Fresh<T> {
    fn new(stream: T) -> Self {
        Self { stream, is_asking: false }
    }

    fn throw_away(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut stale = [0; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut stale);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(read) => read?,
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Fresh<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_asking = false;
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Fresh<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.is_asking, true) {
            this.throw_away(context)?;
        }
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

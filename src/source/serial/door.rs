//! What becomes of a line or a frame: readings, a dead letter, an ACK, or a number in a counter.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_wire::frame::{Frame, Hello, Kind};

use super::IN_FLIGHT;
use super::acks::Acks;
use super::input::Piece;
use super::link::{Link, Taken, Ticket};
use super::name::Name;
use super::pending::Pending;
use crate::config::{self, FlowControl, Framing};
use crate::decode::Decoder;
use crate::metrics::Metrics;
use crate::source::filter::Filter;
use crate::source::standing::Standing;
use crate::source::{Delivery, Reason, Rejected, SourceError};

pub struct Door<'a> {
    pub acks: Acks,
    pub pending: Pending<'a>,
    link: Link,
    decoder: Decoder,
    /// What is worth reporting.
    exceptions: Filter,
    name: Arc<str>,
    port: Arc<str>,
    device: Name,
    max_frame: usize,
    /// Whether the sensor waits while nothing is read, and loses nothing by it.
    waits: bool,
    metrics: Arc<Metrics>,
}

impl<'a> Door<'a> {
    pub fn new(serial: &config::Serial, path: &str, data_dir: &Path, standing: &'a mut Standing) -> Self {
        let name = standing.name.clone();
        let device = Name::read(data_dir, &name, serial.device.as_deref());
        Self {
            acks: Acks::default(),
            pending: Pending::new(&mut standing.inlet),
            link: Link::default(),
            decoder: Decoder::for_port(name.clone(), device.device(), &serial.payload),
            exceptions: Filter::new(serial.filter.clone()),
            port: path.into(),
            device,
            max_frame: serial.max_frame,
            waits: serial.framing == Framing::Cobs || serial.line.flow_control != FlowControl::None,
            metrics: standing.metrics.clone(),
            name,
        }
    }

    /// Whether one more may be taken.
    pub fn has_room(&self) -> bool {
        !self.pending.is_held() && self.pending.len() < IN_FLIGHT
    }

    pub fn take(&mut self, piece: Piece<'_>) -> Result<(), SourceError> {
        match piece {
            Piece::Line(line) => self.line(line),
            Piece::Frame(frame) => self.frame(frame),
            Piece::Faulty(fault) => {
                self.faulty(fault);
                Ok(())
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), SourceError> {
        self.metrics.source_frames.with_label_values(&[&*self.name]).inc();
        let mut delivery = self.decoder.decode_at(&self.port, &Bytes::copy_from_slice(line), self.pending.arrival());
        self.filter(&mut delivery);
        if delivery.is_empty() {
            return Ok(());
        }
        let readings = delivery.readings.len() as u64;
        self.pending.put(delivery, None)?;
        if !self.waits && self.pending.let_go() {
            self.exceptions.forget();
            self.metrics.readings.with_label_values(&[&*self.name, "dropped"]).inc_by(readings.max(1));
        }
        Ok(())
    }

    fn frame(&mut self, frame: Frame<'_>) -> Result<(), SourceError> {
        self.metrics.source_frames.with_label_values(&[&*self.name]).inc();
        match frame.kind {
            Kind::Data => self.data(frame.seq, frame.payload)?,
            Kind::Hello => match Hello::read(frame.payload) {
                Some(hello) => self.hello(frame.seq, &hello),
                None => self.faulty("hello"),
            },
            // Our own to send: the line echoes, or two gateways are wired to each other.
            Kind::Ack => self.faulty("kind"),
        }
        Ok(())
    }

    fn data(&mut self, seq: u16, payload: &[u8]) -> Result<(), SourceError> {
        let ticket = match self.link.data(seq, payload) {
            Taken::New(ticket) => ticket,
            taken => {
                self.metrics.door_repeats.with_label_values(&[&*self.name]).inc();
                self.metrics.readings.with_label_values(&[&*self.name, "repeat"]).inc();
                if taken == Taken::Stored {
                    self.push_ack(seq);
                }
                return Ok(());
            }
        };
        let mut delivery = if payload.len() > self.max_frame {
            self.faulty("oversize");
            self.oversize(payload)
        } else {
            self.decoder.decode_at(&self.port, &Bytes::copy_from_slice(payload), self.pending.arrival())
        };
        self.filter(&mut delivery);
        if delivery.is_empty() {
            self.pending.put_empty(ticket);
            return Ok(());
        }
        self.pending.put(delivery, Some(ticket))
    }

    fn filter(&mut self, delivery: &mut Delivery) {
        let filtered = self.exceptions.apply(&mut delivery.readings, self.pending.now());
        self.metrics.readings.with_label_values(&[&*self.name, "filtered"]).inc_by(filtered);
    }

    fn hello(&mut self, seq: u16, hello: &Hello<'_>) {
        tracing::info!(source = &*self.name, device = hello.device, boot_nonce = hello.boot_nonce, "a sensor started");
        self.link.hello();
        if !self.pending.is_empty() {
            // What comes again under another seq must not be acknowledged for what is not stored yet.
            self.exceptions.forget();
        }
        self.acks.forget();
        let kept = self.device.tell(hello.device);
        self.decoder.set_device(self.device.device().unwrap_or(&self.name));
        match kept {
            Ok(()) => self.push_ack(seq),
            // It says HELLO again, as long as it hears nothing.
            Err(error) => {
                tracing::warn!(source = &*self.name, %error, "the sensor's name cannot be kept for the next start");
            }
        }
    }

    fn oversize(&self, payload: &[u8]) -> Delivery {
        let rejected = Rejected {
            source: self.name.clone(),
            origin: self.port.clone(),
            reason: Reason::Oversize,
            detail: format!("a payload of {} bytes, and max_frame is {}", payload.len(), self.max_frame),
            payload: Bytes::copy_from_slice(payload),
            cut: None,
        };
        Delivery { readings: Vec::new(), rejects: vec![rejected], weight: payload.len() }
    }

    /// Hands out the ACKs of all that is stored.
    pub fn acknowledge(&mut self) -> Result<(), SourceError> {
        while let Some(ticket) = self.pending.stored()? {
            self.is_stored(&ticket);
        }
        Ok(())
    }

    pub fn is_stored(&mut self, ticket: &Ticket) {
        if let Some(seq) = self.link.stored(ticket) {
            self.push_ack(seq);
        }
    }

    fn push_ack(&mut self, seq: u16) {
        if !self.acks.push(seq) {
            self.metrics.source_acks.with_label_values(&[&*self.name, "dropped"]).inc();
        }
    }

    /// So many bytes of ACKs are out.
    pub fn wrote(&mut self, bytes: usize) {
        let sent = self.acks.wrote(bytes);
        self.metrics.source_acks.with_label_values(&[&*self.name, "sent"]).inc_by(sent);
    }

    fn faulty(&self, fault: &str) {
        self.metrics.source_frame_faults.with_label_values(&[&*self.name, fault]).inc();
    }
}

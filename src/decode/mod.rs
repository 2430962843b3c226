//! Bytes and where they came from to readings, or a named reason why not.
//!
//! ```text
//!  topic or port ─▶ places: device, tags ───────┐
//!                                               ▼
//!  payload ─▶ a format ─▶ gather: fields, ──▶ Delivery { readings, rejects }
//!                          time, device
//! ```
//!
//! | payload of `json`, `cbor` | becomes |
//! | --- | --- |
//! | object | one reading; nested names join with `.`, places in arrays are `.0`, null says nothing |
//! | array of objects | a reading each; a bad element is rejected alone, with its own bytes |
//! | bare value | the field `value` |
//!
//! What the other formats become stands at the head of each.
//!
//! Invariants:
//! - pure: no async, clock, I/O or logging; the same bytes give the same readings for ever. Two formats need more than
//!   bytes: SenML may count from the moment of arrival, which is told, and Sparkplug refers to births that came before;
//! - every payload leaves at least one reading or one reject: nothing vanishes;
//! - work and memory are bounded by the payload's length and the limits below.

mod cbor;
mod csv;
mod gather;
mod groups;
mod influx;
mod json;
mod payload;
mod places;
mod raw;
mod senml;
mod sparkplug;
mod time;
mod topic;

use std::sync::Arc;

use bytes::Bytes;

pub use self::payload::{Format, Payload, TimeUnit};
pub use self::sparkplug::rebirth;
pub use self::topic::{Pattern, TemplateError};

use self::gather::{Gather, Told};
use self::places::{PlaceId, Places};
use self::sparkplug::Births;
use crate::reading::{Micros, Reading, Series, held_bytes};
use crate::source::{Delivery, Reason, Rejected};

/// Levels of objects and arrays in one reading.
pub const MAX_DEPTH: usize = 32;
/// Fields of one reading.
pub const MAX_FIELDS: usize = 1_000;
/// Bytes of a field's name, nested names joined.
pub const MAX_NAME_BYTES: usize = 256;
/// Tags of one reading that its payload names.
pub const MAX_TAGS: usize = 64;
/// Nodes, devices and metrics whose births a decoder remembers (Sparkplug).
pub const MAX_BORN: usize = 100_000;
/// Readings of one message.
pub const MAX_READINGS: usize = 10_000;

/// Decodes the messages of one subscription, or of one port.
pub struct Decoder {
    source: Arc<str>,
    /// None for a port, where there are no topics.
    filter: Option<Pattern>,
    format: Format,
    /// Of CSV.
    lines: Option<csv::Lines>,
    /// Of Sparkplug.
    births: Births,
    places: Places,
    gather: Gather,
}

/// Why one reading is none.
struct Fault {
    reason: Reason,
    detail: String,
}

impl Fault {
    fn malformed(detail: String) -> Self {
        Self { reason: Reason::Malformed, detail }
    }

    fn empty(detail: &str) -> Self {
        Self { reason: Reason::Empty, detail: detail.to_owned() }
    }

    fn value(detail: String) -> Self {
        Self { reason: Reason::Value, detail }
    }
}

impl Decoder {
    /// Decodes what comes by a subscription to `filter`; the template `topic` names the levels.
    pub fn new(source: Arc<str>, filter: &str, topic: Option<&str>, payload: &Payload) -> Result<Self, TemplateError> {
        let pattern = Pattern::filter(filter)?;
        let template = topic.map(Pattern::template).transpose()?;
        if let (Some(template), Some(text)) = (&template, topic)
            && !pattern.meets(template)
        {
            return Err(TemplateError::Never { filter: filter.to_owned(), template: text.to_owned() });
        }
        let places = Places::new(source.clone(), template, None);
        Ok(Self::with(source, Some(pattern), places, payload))
    }

    /// Decodes what comes by a port: where the payload names no device it is `device`, else the source's name.
    #[must_use]
    pub fn for_port(source: Arc<str>, device: Option<&str>, payload: &Payload) -> Self {
        let places = Places::new(source.clone(), None, Some(device.map_or(source.clone(), Into::into)));
        Self::with(source, None, places, payload)
    }

    fn with(source: Arc<str>, filter: Option<Pattern>, places: Places, payload: &Payload) -> Self {
        Self {
            gather: Gather::new(payload),
            format: payload.format,
            lines: (payload.format == Format::Csv).then(|| csv::Lines::new(payload.columns.clone())),
            births: Births::default(),
            source,
            filter,
            places,
        }
    }

    /// The port tells who is at its other end: the device from now on, where the payload names none.
    pub fn set_device(&mut self, device: &str) {
        self.places.set_device(device.into());
    }

    /// The topic where a Sparkplug node is to be asked, by [`rebirth`], for the birth that would have explained what was
    /// rejected since this was last called.
    pub fn take_rebirth(&mut self) -> Option<Arc<str>> {
        self.births.wanted.take()
    }

    /// Whether the subscription's filter takes the topic.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.matches(topic))
    }

    /// Readings, rejects, or both; never neither. `origin` is the topic, or the port.
    #[must_use]
    pub fn decode(&mut self, origin: &str, payload: &Bytes) -> Delivery {
        self.decode_at(origin, payload, None)
    }

    /// The same with the moment of arrival, which SenML may count its times from; none where no clock is to be trusted:
    /// then such a record is rejected.
    #[must_use]
    pub fn decode_at(&mut self, origin: &str, payload: &Bytes, arrival: Option<Micros>) -> Delivery {
        let place = self.places.find(origin);
        let Self { source, places, gather, .. } = self;
        let mut pass = Pass { source, place, payload, arrival, places, gather, delivery: Delivery::default() };
        // To a binary format white space is a number like any other.
        let text = if self.format.is_binary() { payload } else { payload.trim_ascii() };
        if text.is_empty() {
            pass.reject(payload, Fault::empty("the payload is empty"));
        } else {
            match self.format {
                Format::Json => pass.nested(json::shape(payload), json::one, json::element),
                Format::Cbor => pass.nested(cbor::shape(payload), cbor::one, cbor::element),
                Format::SenmlJson => senml::read_json(&mut pass),
                Format::SenmlCbor => senml::read_cbor(&mut pass),
                Format::Influx => influx::read(&mut pass),
                Format::Sparkplug => sparkplug::read(&mut pass, &mut self.births),
                Format::Csv => self.lines.iter_mut().for_each(|lines| lines.read(&mut pass)),
                Format::Raw => {
                    let outcome = raw::one(payload, pass.gather);
                    pass.take(outcome, payload);
                }
            }
        }
        let mut delivery = pass.delivery;
        delivery.weight = weight(payload, &delivery);
        delivery
    }
}

/// One payload on its way through a format.
struct Pass<'a> {
    source: &'a Arc<str>,
    place: PlaceId,
    payload: &'a Bytes,
    arrival: Option<Micros>,
    places: &'a mut Places,
    gather: &'a mut Gather,
    delivery: Delivery,
}

/// What a payload of nested values holds.
enum Shape<'a> {
    One(&'a [u8]),
    /// The elements of an array.
    Many(Vec<&'a [u8]>),
}

type Walk = fn(&[u8], &mut Gather) -> Result<(), Fault>;

impl Pass<'_> {
    /// One value, or an array of which each element stands or falls alone.
    fn nested(&mut self, shape: Result<Shape<'_>, Fault>, one: Walk, element: Walk) {
        match shape {
            Ok(Shape::One(bytes)) => {
                self.delivery.readings.reserve_exact(1);
                let outcome = one(bytes, self.gather);
                self.take(outcome, bytes);
            }
            Ok(Shape::Many(elements)) => {
                self.delivery.readings.reserve_exact(elements.len());
                for (index, bytes) in elements.iter().enumerate() {
                    let outcome = element(bytes, self.gather).map_err(|fault| Fault {
                        detail: format!("element {} of {}: {}", index + 1, elements.len(), fault.detail),
                        ..fault
                    });
                    self.take(outcome, bytes);
                }
            }
            Err(fault) => self.reject(self.payload, fault),
        }
    }

    /// Turns what was gathered from these bytes of the payload into a reading, or the fault into a reject.
    fn take(&mut self, outcome: Result<(), Fault>, bytes: &[u8]) {
        match outcome.and_then(|()| self.gather.finish()) {
            Ok(told) => {
                let series = self.places.series(self.place, self.gather.device());
                self.push(told, series);
            }
            Err(fault) => self.reject(bytes, fault),
        }
    }

    fn push(&mut self, told: Told, series: Arc<Series>) {
        self.delivery.readings.push(Reading { time: told.time, series, fields: told.fields });
    }

    fn reject(&mut self, bytes: &[u8], fault: Fault) {
        self.reject_part(self.payload.slice_ref(bytes), fault);
    }

    fn reject_part(&mut self, payload: Bytes, fault: Fault) {
        self.delivery.rejects.push(Rejected {
            source: self.source.clone(),
            origin: self.places.origin(self.place).clone(),
            reason: fault.reason,
            detail: fault.detail,
            payload,
            cut: None,
        });
    }
}

/// What a delivery takes in memory: the payload, which rejects share, and what was made of it.
fn weight(payload: &Bytes, delivery: &Delivery) -> usize {
    let readings = delivery.readings.len() * size_of::<Reading>();
    let fields: usize = delivery.readings.iter().map(|reading| held_bytes(&reading.fields)).sum();
    let rejects: usize = delivery.rejects.iter().map(|rejected| size_of::<Rejected>() + rejected.detail.len()).sum();
    payload.len() + readings + fields + rejects
}

#[cfg(test)]
mod tests;

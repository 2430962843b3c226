//! Sparkplug B (Eclipse Sparkplug 3.0.0): `spBv1.0/GROUP/TYPE/NODE` or `spBv1.0/GROUP/TYPE/NODE/DEVICE`.
//!
//! | message | becomes |
//! | --- | --- |
//! | NBIRTH, DBIRTH | its metrics, and the field `sparkplug.online` = true; its aliases are remembered |
//! | NDATA, DDATA | its metrics; an alias has the name and the datatype of the birth |
//! | NDEATH, DDEATH | `sparkplug.online` = false, of a node for each device it bore; its aliases are forgotten |
//! | NCMD, DCMD | its metrics, with the tag `message` |
//! | STATE | its JSON |
//!
//! The device is `GROUP/NODE` or `GROUP/NODE/DEVICE`, unless the template names one. Metrics of one time are one
//! reading: each has its own time, else that of the payload, in milliseconds. What is null says nothing; what is
//! historical has the tag `historical`. Properties, metadata and `seq` are not kept.
//!
//! The time of an NDEATH is that of its arrival: the payload was written when the node connected. One whose `bdSeq` is
//! not that of the last birth comes from an earlier life; only its `bdSeq` is kept.
//!
//! A metric that only a birth explains (an alias, or an integer without a datatype) is rejected alone where none was
//! seen, and a rebirth is wanted. Births are held in memory: after a start each node has to be born again. At most
//! [`MAX_BORN`](super::MAX_BORN) nodes, devices and metrics are remembered.

mod births;
mod proto;
mod value;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

pub(super) use self::births::Births;

use self::births::Full;
use self::proto::{Metric, Payload};
use super::gather::{Scalar, Told};
use super::groups::{Groups, Key};
use super::time;
use super::{Fault, MAX_BORN, MAX_NAME_BYTES, MAX_READINGS, Pass, TimeUnit, json};
use crate::reading::Micros;
use crate::source::Reason;

const ONLINE: &str = "sparkplug.online";
const BD_SEQ: &str = "bdSeq";
const REBIRTH: &str = "Node Control/Rebirth";
const REMEDY: &str = "have the node send it again, by request_rebirth = true or by hand";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Birth,
    Data,
    Death,
    Command,
}

/// A node, or one of its devices.
#[derive(Clone, Copy)]
struct Address<'t> {
    group: &'t str,
    node: &'t str,
    device: Option<&'t str>,
}

impl Address<'_> {
    fn node(&self) -> String {
        format!("{}/{}", self.group, self.node)
    }

    /// As an error message shows it.
    fn shown(&self) -> String {
        Scalar::Text(&self.to_string()).shown()
    }
}

impl std::fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.group, self.node)?;
        self.device.map_or(Ok(()), |device| write!(f, "/{device}"))
    }
}

/// The payload that asks a node for its birth, at a moment.
#[must_use]
pub fn rebirth(now: Micros) -> Bytes {
    let metric = Metric {
        name: Some(REBIRTH.to_owned()),
        datatype: Some(value::BOOLEAN),
        value: Some(proto::Told::Boolean(true)),
        ..Metric::default()
    };
    let timestamp = u64::try_from(now.0 / 1_000).ok();
    Payload { timestamp, metrics: vec![metric.encode_to_vec().into()] }.encode_to_vec().into()
}

fn address(topic: &str) -> Option<(Kind, &str, Address<'_>)> {
    let mut levels = topic.strip_prefix("spBv1.0/")?.split('/');
    let (group, kind, node, device) = (levels.next()?, levels.next()?, levels.next()?, levels.next());
    if levels.next().is_some() || group.is_empty() || node.is_empty() || device == Some("") {
        return None;
    }
    let what = match (kind, device) {
        ("NBIRTH", None) | ("DBIRTH", Some(_)) => Kind::Birth,
        ("NDATA", None) | ("DDATA", Some(_)) => Kind::Data,
        ("NDEATH", None) | ("DDEATH", Some(_)) => Kind::Death,
        ("NCMD", None) | ("DCMD", Some(_)) => Kind::Command,
        _ => return None,
    };
    Some((what, kind, Address { group, node, device }))
}

pub(super) fn read(pass: &mut Pass<'_>, births: &mut Births) {
    let topic = pass.places.origin(pass.place).clone();
    if topic.starts_with("spBv1.0/STATE/") {
        let outcome = json::one(pass.payload, pass.gather);
        return pass.take(outcome, pass.payload);
    }
    let Some((kind, name, address)) = address(&topic) else {
        let what = "not a topic of Sparkplug, which is spBv1.0/GROUP/TYPE/NODE or spBv1.0/GROUP/TYPE/NODE/DEVICE";
        return pass.reject(pass.payload, Fault::malformed(what.to_owned()));
    };
    let payload = match Payload::decode(pass.payload.clone()) {
        Ok(payload) if payload.metrics.len() <= MAX_READINGS => payload,
        Ok(_) => {
            let what = format!("more than {MAX_READINGS} metrics; send several messages");
            return pass.reject(pass.payload, Fault::value(what));
        }
        Err(error) => return pass.reject(pass.payload, Fault::malformed(format!("not Sparkplug B: {error}"))),
    };
    let metrics = payload.metrics.iter().map(|bytes| {
        let metric = Metric::decode(bytes.clone());
        (bytes.clone(), metric.map_err(|error| Fault::malformed(format!("not Sparkplug B: {error}"))))
    });
    let mut message = Message {
        address,
        time: payload.timestamp,
        command: (kind == Kind::Command).then_some(name),
        metrics: metrics.collect(),
        groups: Groups::default(),
    };
    match kind {
        Kind::Birth => message.birth(pass, births),
        Kind::Data | Kind::Command => message.data(pass, births),
        Kind::Death => message.death(pass, births),
    }
    message.finish(pass);
}

/// What is being made of one message.
struct Message<'t> {
    address: Address<'t>,
    /// Of the payload, milliseconds since 1970.
    time: Option<u64>,
    /// The type of a command.
    command: Option<&'t str>,
    metrics: Vec<(Bytes, Result<Metric, Fault>)>,
    groups: Groups,
}

impl Message<'_> {
    fn birth(&mut self, pass: &mut Pass<'_>, births: &mut Births) {
        let mut outcome = births.begin(self.address, self.bd_seq());
        for metric in self.metrics.iter().filter_map(|(_, metric)| metric.as_ref().ok()) {
            outcome = outcome.and(births.learn(self.address, metric));
        }
        self.tell_online(true, pass);
        self.data(pass, births);
        if let Err(Full) = outcome {
            let what = format!(
                "not all of this birth is remembered: {MAX_BORN} nodes, devices and metrics are, and none whose name is \
                 longer than {MAX_NAME_BYTES} bytes"
            );
            pass.reject(pass.payload, Fault::value(what));
        }
    }

    fn data(&mut self, pass: &mut Pass<'_>, births: &mut Births) {
        for (bytes, metric) in std::mem::take(&mut self.metrics) {
            let outcome = metric.and_then(|metric| self.metric(metric, pass, births));
            if let Err(fault) = outcome {
                if fault.reason == Reason::NoBirth {
                    let Address { group, node, .. } = self.address;
                    births.wanted = Some(format!("spBv1.0/{group}/NCMD/{node}").into());
                }
                pass.reject_part(bytes, fault);
            }
        }
    }

    fn death(&mut self, pass: &mut Pass<'_>, births: &mut Births) {
        let is_node = self.address.device.is_none();
        if is_node {
            // Written long before: as the will of the connection that broke.
            self.time = None;
            self.metrics.iter_mut().filter_map(|(_, metric)| metric.as_mut().ok()).for_each(|m| m.timestamp = None);
        }
        if is_node && births.is_of_earlier_life(self.address, self.bd_seq()) {
            return self.data(pass, births);
        }
        self.tell_online(false, pass);
        self.data(pass, births);
        let devices = births.forget(self.address);
        self.devices_died(&devices, pass);
    }

    /// With its node a device falls silent too.
    fn devices_died(&self, devices: &[String], pass: &mut Pass<'_>) {
        let Address { group, node, .. } = self.address;
        let origin = pass.places.origin(pass.place).clone();
        for device in devices.iter().take(MAX_READINGS) {
            let place = pass.places.find(&format!("spBv1.0/{group}/DDEATH/{node}/{device}"));
            let series = pass.places.series(place, Some(&Address { device: Some(device), ..self.address }.to_string()));
            if let Ok(field) = pass.gather.field(ONLINE, Scalar::Bool(false)) {
                pass.push(Told { time: None, fields: vec![field] }, series);
            }
        }
        pass.place = pass.places.find(&origin);
        if let Some(rest) = devices.len().checked_sub(MAX_READINGS).filter(|rest| *rest > 0) {
            pass.reject(pass.payload, Fault::value(format!("of {rest} more devices of this node nothing is said")));
        }
    }

    fn bd_seq(&self) -> Option<u64> {
        let metrics = self.metrics.iter().filter_map(|(_, metric)| metric.as_ref().ok());
        let told = metrics.filter(|metric| metric.name.as_deref() == Some(BD_SEQ)).find_map(|m| m.value.as_ref());
        match told {
            Some(proto::Told::Int(n)) => Some((*n).into()),
            Some(proto::Told::Long(n)) => Some(*n),
            _ => None,
        }
    }

    fn tell_online(&mut self, online: bool, pass: &mut Pass<'_>) {
        let field = pass.gather.field(ONLINE, Scalar::Bool(online));
        match self.time.map(moment).transpose().and_then(|time| Ok((time, field?))) {
            Ok((time, field)) => self.groups.add(key(time, false), vec![field]),
            Err(fault) => pass.reject(pass.payload, fault),
        }
    }

    /// Adds a metric to the reading it belongs to.
    fn metric(&mut self, metric: Metric, pass: &mut Pass<'_>, births: &Births) -> Result<(), Fault> {
        let (Some(told), false) = (metric.value, metric.is_null == Some(true)) else { return Ok(()) };
        let born = births.of(self.address);
        let named = metric.name.filter(|name| !name.is_empty()).map(Arc::from);
        let (name, datatype) = match (named, metric.alias) {
            (Some(name), _) => {
                let datatype = born.and_then(|born| born.datatype(&name));
                (name, datatype)
            }
            (None, Some(alias)) => born.and_then(|born| born.alias(alias)).ok_or_else(|| self.no_birth(alias))?,
            (None, None) => return Err(Fault::malformed("a metric with neither a name nor an alias".to_owned())),
        };
        let datatype = metric.datatype.or(datatype).or_else(|| value::implied(&told));
        let datatype = datatype.ok_or_else(|| self.no_datatype(&name))?;
        let time = metric.timestamp.or(self.time).map(moment).transpose()?;
        pass.gather.start();
        let _ = pass.gather.enter(&name, false);
        value::put(datatype, told, pass.gather, 0).map_err(|fault| Fault {
            detail: format!("metric {}: {}", Scalar::Text(&name).shown(), fault.detail),
            ..fault
        })?;
        match pass.gather.finish() {
            Ok(Told { fields, .. }) => self.groups.add(key(time, metric.is_historical == Some(true)), fields),
            // A definition, or a set without a row.
            Err(fault) if fault.reason == Reason::Empty => {}
            Err(fault) => return Err(fault),
        }
        Ok(())
    }

    fn no_birth(&self, alias: u64) -> Fault {
        let what = format!("alias {alias} is of a birth of {} that was not seen; {REMEDY}", self.address.shown());
        Fault { reason: Reason::NoBirth, detail: what }
    }

    fn no_datatype(&self, name: &str) -> Fault {
        let name = Scalar::Text(name).shown();
        let what =
            format!("the datatype of {name} is in a birth of {} that was not seen; {REMEDY}", self.address.shown());
        Fault { reason: Reason::NoBirth, detail: what }
    }

    fn finish(self, pass: &mut Pass<'_>) {
        if self.groups.is_empty() && pass.delivery.readings.is_empty() && pass.delivery.rejects.is_empty() {
            return pass.reject(pass.payload, Fault::empty("there is no metric with a value in it"));
        }
        let device = self.address.to_string();
        for (Key { time, historical, .. }, fields) in self.groups.into_readings() {
            let mut tags = Vec::new();
            tags.extend(historical.then_some(("historical", "true")));
            tags.extend(self.command.map(|name| ("message", name)));
            let names: Vec<_> = tags.iter().map(|(name, _)| *name).collect();
            let series = pass.places.tagged(pass.place, Some(&device), &names.join(" "), || {
                tags.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
            });
            pass.push(Told { time, fields }, series);
        }
    }
}

fn key(time: Option<Micros>, historical: bool) -> Key {
    Key { device: None, time, historical }
}

fn moment(millis: u64) -> Result<Micros, Fault> {
    time::read(Scalar::U64(millis), Some(TimeUnit::Millis))
        .map_err(|fault| Fault { reason: Reason::Time, detail: fault.to_string() })
}

//! One client's connection: packets in, packets out, in turns.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rumqttc::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet, PubAck, Publish,
    SubAck, Subscribe, SubscribeReasonCode, UnsubAck, UnsubAckReason, Unsubscribe,
};
use rumqttc::mqttbytes::{Error, QoS, valid_filter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::session::{Message, Room};
use super::{Attached, Router, Slot};

/// Bytes of one packet; MQTT's own limit is 16 times as much.
const MAX_PACKET: u32 = 16 << 20;
/// `QoS` 1 messages a publisher may have without a PUBACK.
const RECEIVE_MAXIMUM: u16 = 1_000;
/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 64 << 10;
/// CONNACK of MQTT 3.1.1 with code 1, "unacceptable protocol version".
const CONNACK_V4_REFUSED: [u8; 4] = [0x20, 0x02, 0x00, 0x01];

/// Serves a client until it goes.
pub async fn serve(stream: TcpStream, router: Arc<Router>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let mut wire = Wire { reader, writer, inbound: BytesMut::new(), outbound: BytesMut::new() };
    let Some(connect) = wire.connect().await? else { return Ok(()) };
    let properties = connect.properties.as_ref();
    let receive_maximum = properties.and_then(|properties| properties.receive_maximum).unwrap_or(u16::MAX);
    let expiry = properties.and_then(|properties| properties.session_expiry_interval).unwrap_or(0);
    let Attached { slot, connection, session_present } =
        router.attach(&connect.client_id, connect.clean_start, receive_maximum);
    let mut client = Client { router: router.clone(), slot: slot.clone(), connection, keep: expiry > 0, wire };
    let outcome = client.run(session_present).await;
    router.detach(&slot, connection, client.keep);
    outcome
}

/// A socket with what was read and not yet understood, and what is to be written.
struct Wire {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    inbound: BytesMut,
    outbound: BytesMut,
}

impl Wire {
    /// The first packet. `None`: the client went, or speaks another version and was told so.
    async fn connect(&mut self) -> io::Result<Option<Connect>> {
        loop {
            match Packet::read(&mut self.inbound, Some(MAX_PACKET)) {
                Ok(Packet::Connect(connect, ..)) => return Ok(Some(connect)),
                Ok(_) => return Err(io::Error::other("the first packet was not a CONNECT")),
                Err(Error::InvalidProtocolLevel(_)) => {
                    self.writer.write_all(&CONNACK_V4_REFUSED).await?;
                    return Ok(None);
                }
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
            if self.reader.read_buf(&mut self.inbound).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next whole packet that has been read.
    fn packet(&mut self) -> io::Result<Option<Packet>> {
        match Packet::read(&mut self.inbound, Some(MAX_PACKET)) {
            Ok(packet) => Ok(Some(packet)),
            Err(Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn put(&mut self, packet: &Packet) -> io::Result<()> {
        packet.write(&mut self.outbound, None).map(drop).map_err(io::Error::other)
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.outbound.is_empty() {
            self.writer.write_buf(&mut self.outbound).await?;
        }
        Ok(())
    }
}

/// Whether the connection goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    On,
    Over,
}

struct Client {
    router: Arc<Router>,
    slot: Arc<Slot>,
    connection: u64,
    /// Whether the session outlives the connection.
    keep: bool,
    wire: Wire,
}

impl Client {
    async fn run(&mut self, session_present: bool) -> io::Result<()> {
        self.wire.put(&Packet::ConnAck(connack(session_present)))?;
        loop {
            while let Some(packet) = self.wire.packet()? {
                if self.handle(packet).await? == Turn::Over {
                    return self.wire.flush().await;
                }
            }
            if *self.slot.owner() != self.connection {
                self.wire.put(&disconnect(DisconnectReasonCode::SessionTakenOver))?;
                // The bell may have rung for the new owner.
                self.slot.work.notify_one();
                return self.wire.flush().await;
            }
            let more = self.gather()?;
            self.wire.flush().await?;
            if more {
                continue;
            }
            tokio::select! {
                read = self.wire.reader.read_buf(&mut self.wire.inbound) => if read? == 0 { return Ok(()) },
                () = self.slot.work.notified() => {}
            }
        }
    }

    /// Takes from the session what may go out now; `true`: there is more.
    fn gather(&mut self) -> io::Result<bool> {
        let mut session = self.slot.session();
        while self.wire.outbound.len() < WRITE_BYTES {
            let Some((publish, room)) = session.next() else { return Ok(false) };
            self.wire.put(&Packet::Publish(publish))?;
            if room == Room::Again {
                self.router.room.notify_waiters();
            }
        }
        Ok(true)
    }

    async fn handle(&mut self, packet: Packet) -> io::Result<Turn> {
        match packet {
            Packet::Publish(publish) => return self.publish(publish).await,
            Packet::PubAck(ack) => drop(self.slot.session().acknowledge(ack.pkid)),
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe)?,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe)?,
            Packet::PingReq => self.wire.put(&Packet::PingResp)?,
            Packet::Disconnect(disconnect) => {
                if let Some(expiry) = disconnect.properties.and_then(|properties| properties.session_expiry_interval) {
                    self.keep = expiry > 0;
                }
                return Ok(Turn::Over);
            }
            _ => {
                self.wire.put(&disconnect(DisconnectReasonCode::ProtocolError))?;
                return Ok(Turn::Over);
            }
        }
        Ok(Turn::On)
    }

    async fn publish(&mut self, publish: Publish) -> io::Result<Turn> {
        let Publish { topic, payload, qos, pkid, .. } = publish;
        if qos == QoS::ExactlyOnce {
            self.wire.put(&disconnect(DisconnectReasonCode::QoSNotSupported))?;
            return Ok(Turn::Over);
        }
        let message = Message { topic, payload, qos };
        if !self.router.try_publish(&message, &self.slot) {
            // What is acknowledged so far goes out before the wait.
            self.wire.flush().await?;
            self.router.publish(&message, &self.slot).await;
        }
        if qos == QoS::AtLeastOnce {
            self.wire.put(&Packet::PubAck(PubAck::new(pkid, None)))?;
        }
        Ok(Turn::On)
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> io::Result<()> {
        let mut return_codes = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            if valid_filter(&filter.path) {
                self.slot.session().subscribe(filter);
                let qos = if filter.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                return_codes.push(SubscribeReasonCode::Success(qos));
            } else {
                return_codes.push(SubscribeReasonCode::TopicFilterInvalid);
            }
        }
        self.wire.put(&Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes, properties: None }))
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> io::Result<()> {
        let mut session = self.slot.session();
        let reason = |known| if known { UnsubAckReason::Success } else { UnsubAckReason::NoSubscriptionExisted };
        let reasons = unsubscribe.filters.iter().map(|filter| reason(session.unsubscribe(filter))).collect();
        drop(session);
        self.wire.put(&Packet::UnsubAck(UnsubAck { pkid: unsubscribe.pkid, reasons, properties: None }))
    }
}

fn connack(session_present: bool) -> ConnAck {
    let properties = ConnAckProperties {
        session_expiry_interval: None,
        receive_max: Some(RECEIVE_MAXIMUM),
        max_qos: Some(1),
        retain_available: Some(0),
        max_packet_size: Some(MAX_PACKET),
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: Some(0),
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    ConnAck { session_present, code: ConnectReturnCode::Success, properties: Some(properties) }
}

fn disconnect(reason: DisconnectReasonCode) -> Packet {
    Packet::Disconnect(Disconnect::new(reason))
}

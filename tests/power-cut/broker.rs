//! A broker with one client and no patience: it hands out one message, and the next when that is acknowledged. So it is
//! known to the byte what was written when which PUBACK came.
//!
//! MQTT 5, the few packets that the gateway sends and needs; see sections 2.1 and 3 of the standard.

use std::io;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CONNECT: u8 = 1;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const PINGREQ: u8 = 12;

pub struct Client(TcpStream);

impl Client {
    /// Waits until the gateway has connected and subscribed.
    pub async fn accept(listener: &TcpListener) -> anyhow::Result<Self> {
        let mut client = Self(listener.accept().await?.0);
        loop {
            match client.packet().await? {
                // No session was there; no properties.
                (CONNECT, _) => client.0.write_all(&[0x20, 3, 0, 0, 0]).await?,
                (SUBSCRIBE, body) => {
                    let [high, low, ..] = body[..] else { bail!("a SUBSCRIBE without an id") };
                    client.0.write_all(&[0x90, 4, high, low, 0, 1]).await?;
                    return Ok(client);
                }
                (kind, _) => bail!("a packet of type {kind} before any subscription"),
            }
        }
    }

    /// Publishes with `QoS` 1, and returns when that was acknowledged.
    pub async fn publish(&mut self, id: u16, topic: &str, payload: &str) -> anyhow::Result<()> {
        let length = u8::try_from(2 + topic.len() + 2 + 1 + payload.len())?;
        if length > 127 {
            bail!("a message of {length} bytes, whose length takes two");
        }
        let mut packet = vec![0x32, length, 0, topic.len() as u8];
        packet.extend(topic.bytes());
        packet.extend(id.to_be_bytes());
        packet.push(0);
        packet.extend(payload.bytes());
        self.0.write_all(&packet).await?;
        loop {
            match self.packet().await? {
                (PUBACK, body) if body.starts_with(&id.to_be_bytes()) => return Ok(()),
                (PINGREQ, _) => self.0.write_all(&[0xD0, 0]).await?,
                (kind, body) => bail!("instead of the PUBACK of {id} a packet of type {kind}: {body:?}"),
            }
        }
    }

    /// The type of the next packet, and what follows its length.
    async fn packet(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let kind = self.0.read_u8().await.context("the gateway has gone")? >> 4;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.0.read_u8().await?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                return Err(io::Error::from(io::ErrorKind::InvalidData).into());
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((kind, body))
    }
}

//! The envelope: plain, so that a consumer can route, count, drop repeats, find gaps and refuse bombs without
//! decompressing anything.

use alloc::string::String;
use alloc::vec::Vec;

use crate::cbor::{Reader, Writer};
use crate::{BODY_READ_MAX, ROWS_READ_MAX, Refusal};

const MAGIC: [u8; 3] = [0xD9, 0xD9, 0xF7];
const VERSION: u64 = 1;
const KEYS: [&str; 13] =
    ["v", "gateway", "stream", "lane", "epoch", "first", "last", "prev", "count", "clock", "codec", "size", "body"];

/// Whether the gateway's wall clock could be right when these readings arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    Synced,
    Unsynced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Zstd,
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub gateway: String,
    pub stream: String,
    pub lane: u64,
    /// Of all readings inside.
    pub epoch: u64,
    /// Offsets of the first and the last reading.
    pub first: u64,
    pub last: u64,
    /// (epoch, offset) of the entry due just before the first one here in this lane; `None`: none was ever due.
    pub prev: Option<(u64, u64)>,
    pub count: u64,
    pub clock: ClockState,
    pub codec: Codec,
    /// Bytes of the body once decompressed: allocate no more.
    pub size: u64,
}

/// A whole record; `body` is already compressed as the envelope says.
#[must_use]
pub fn encode_record(envelope: &Envelope, body: &[u8]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(body.len() + envelope.gateway.len() + 160));
    out.0.extend(MAGIC);
    out.map(KEYS.len());
    for key in KEYS {
        out.text(key);
        match key {
            "v" => out.uint(VERSION),
            "gateway" => out.text(&envelope.gateway),
            "stream" => out.text(&envelope.stream),
            "lane" => out.uint(envelope.lane),
            "epoch" => out.uint(envelope.epoch),
            "first" => out.uint(envelope.first),
            "last" => out.uint(envelope.last),
            "prev" => match envelope.prev {
                None => out.null(),
                Some((epoch, offset)) => {
                    out.array(2);
                    out.uint(epoch);
                    out.uint(offset);
                }
            },
            "count" => out.uint(envelope.count),
            "clock" => out.text(if envelope.clock == ClockState::Synced { "synced" } else { "unsynced" }),
            "codec" => out.text(if envelope.codec == Codec::Zstd { "zstd" } else { "none" }),
            "size" => out.uint(envelope.size),
            _ => out.bytes(body),
        }
    }
    out.0
}

/// The envelope of a record, and its body, still compressed.
pub fn decode_record(record: &[u8]) -> Result<(Envelope, &[u8]), Refusal> {
    let mut input = Reader(record.strip_prefix(&MAGIC).ok_or(Refusal::NotARecord)?);
    let keys = input.map()?;
    // The version comes first, so that a later one is named as such whatever else it changed.
    if input.text()? != "v" {
        return Err(Refusal::Missing("v"));
    }
    match input.uint()? {
        VERSION => {}
        version => return Err(Refusal::UnknownVersion(version)),
    }
    if keys != KEYS.len() {
        return Err(Refusal::UnknownKey);
    }
    let key = |input: &mut Reader<'_>, name| if input.text()? == name { Ok(()) } else { Err(Refusal::Missing(name)) };
    key(&mut input, "gateway")?;
    let gateway = input.text()?.into();
    key(&mut input, "stream")?;
    let stream = input.text()?.into();
    let number = |input: &mut Reader<'_>, name| key(input, name).and_then(|()| input.uint());
    let lane = number(&mut input, "lane")?;
    let epoch = number(&mut input, "epoch")?;
    let first = number(&mut input, "first")?;
    let last = number(&mut input, "last")?;
    key(&mut input, "prev")?;
    let prev = read_prev(&mut input)?;
    let count = key(&mut input, "count").and_then(|()| input.uint())?;
    if count > ROWS_READ_MAX {
        return Err(Refusal::TooMany);
    }
    key(&mut input, "clock")?;
    let clock = match input.text()? {
        "synced" => ClockState::Synced,
        "unsynced" => ClockState::Unsynced,
        _ => return Err(Refusal::Expected("synced or unsynced")),
    };
    key(&mut input, "codec")?;
    let codec = match input.text()? {
        "zstd" => Codec::Zstd,
        "none" => Codec::None,
        _ => return Err(Refusal::UnknownCodec),
    };
    let size = key(&mut input, "size").and_then(|()| input.uint())?;
    if size > BODY_READ_MAX {
        return Err(Refusal::TooLarge(size));
    }
    key(&mut input, "body")?;
    let body = input.bytes()?;
    input.end()?;
    if first > last {
        return Err(Refusal::Mismatch("first"));
    }
    Ok((Envelope { gateway, stream, lane, epoch, first, last, prev, count, clock, codec, size }, body))
}

fn read_prev(input: &mut Reader<'_>) -> Result<Option<(u64, u64)>, Refusal> {
    if input.null() {
        return Ok(None);
    }
    match input.array()? {
        2 => Ok(Some((input.uint()?, input.uint()?))),
        _ => Err(Refusal::Expected("epoch and offset")),
    }
}

use crate::{Row, Series, Value};
use alloc::{string::String, sync::Arc, vec::Vec};
pub const BODY_MAX: usize = 16 << 20;
pub const ROWS_MAX: usize = 1_000_000;
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
    pub epoch: u64,
    pub first: u64,
    pub last: u64,
    pub prev: Option<(u64, u64)>,
    pub count: u64,
    pub clock: ClockState,
    pub codec: Codec,
    pub size: u64,
}
#[derive(Debug)]
pub struct Refusal;
impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bad")
    }
}
impl core::error::Error for Refusal {}
fn pn(o: &mut Vec<u8>, n: u64) {
    o.extend(n.to_le_bytes())
}
fn ps(o: &mut Vec<u8>, s: &str) {
    pn(o, s.len() as u64);
    o.extend(s.as_bytes())
}
fn gn(i: &mut &[u8]) -> Result<u64, Refusal> {
    let (a, b) = i.split_first_chunk::<8>().ok_or(Refusal)?;
    *i = b;
    Ok(u64::from_le_bytes(*a))
}
fn gs<'a>(i: &mut &'a [u8]) -> Result<&'a str, Refusal> {
    let n = gn(i)? as usize;
    let (a, b) = i.split_at_checked(n).ok_or(Refusal)?;
    *i = b;
    core::str::from_utf8(a).map_err(|_| Refusal)
}
pub fn encode_body(rows: &[Row]) -> Vec<u8> {
    let mut o = Vec::new();
    for r in rows {
        pn(&mut o, r.offset);
        pn(&mut o, r.time as u64);
        ps(&mut o, &r.series.source);
        ps(&mut o, &r.series.device);
        pn(&mut o, r.series.tags.len() as u64);
        for (a, b) in &r.series.tags {
            ps(&mut o, a);
            ps(&mut o, b)
        }
        pn(&mut o, r.fields.len() as u64);
        for (n, v) in &r.fields {
            ps(&mut o, n);
            match v {
                Value::F64(x) => {
                    o.push(0);
                    pn(&mut o, x.to_bits())
                }
                Value::I64(x) => {
                    o.push(1);
                    pn(&mut o, *x as u64)
                }
                Value::U64(x) => {
                    o.push(2);
                    pn(&mut o, *x)
                }
                Value::Bool(x) => {
                    o.push(3);
                    pn(&mut o, u64::from(*x))
                }
                Value::Text(x) => {
                    o.push(4);
                    ps(&mut o, x)
                }
            }
        }
    }
    o
}
pub fn encode_record(e: &Envelope, body: &[u8]) -> Vec<u8> {
    let mut o = Vec::from([0xD9, 0xD9, 0xF7]);
    ps(&mut o, &e.gateway);
    ps(&mut o, &e.stream);
    for n in [
        e.lane,
        e.epoch,
        e.first,
        e.last,
        u64::from(e.prev.is_some()),
        e.prev.unwrap_or_default().0,
        e.prev.unwrap_or_default().1,
        e.count,
        u64::from(e.clock == ClockState::Synced),
        u64::from(e.codec == Codec::Zstd),
        e.size,
    ] {
        pn(&mut o, n)
    }
    o.extend(body);
    o
}
pub fn decode_record(b: &[u8]) -> Result<(Envelope, &[u8]), Refusal> {
    let mut i = b.get(3..).ok_or(Refusal)?;
    let i = &mut i;
    let (gateway, stream) = (gs(i)?.into(), gs(i)?.into());
    let mut n = [0; 11];
    for n in &mut n {
        *n = gn(i)?
    }
    Ok((
        Envelope {
            gateway,
            stream,
            lane: n[0],
            epoch: n[1],
            first: n[2],
            last: n[3],
            prev: (n[4] == 1).then_some((n[5], n[6])),
            count: n[7],
            clock: if n[8] == 1 { ClockState::Synced } else { ClockState::Unsynced },
            codec: if n[9] == 1 { Codec::Zstd } else { Codec::None },
            size: n[10],
        },
        i,
    ))
}
pub fn decode_body(_: &Envelope, mut b: &[u8]) -> Result<Vec<Row>, Refusal> {
    let i = &mut b;
    let mut rows = Vec::new();
    while !i.is_empty() {
        let (offset, time) = (gn(i)?, gn(i)? as i64);
        let (source, device) = (gs(i)?.into(), gs(i)?.into());
        let tags = (0..gn(i)?).map(|_| Ok((gs(i)?.into(), gs(i)?.into()))).collect::<Result<_, Refusal>>()?;
        let fields = (0..gn(i)?)
            .map(|_| {
                let n = gs(i)?.into();
                let (k, r) = i.split_first().ok_or(Refusal)?;
                *i = r;
                Ok((
                    n,
                    match k {
                        0 => Value::F64(f64::from_bits(gn(i)?)),
                        1 => Value::I64(gn(i)? as i64),
                        2 => Value::U64(gn(i)?),
                        3 => Value::Bool(gn(i)? == 1),
                        _ => Value::Text(gs(i)?.into()),
                    },
                ))
            })
            .collect::<Result<_, Refusal>>()?;
        rows.push(Row {
            offset,
            time,
            received: None,
            series: Arc::new(Series { source, device, tags, window: None }),
            fields,
        });
    }
    Ok(rows)
}

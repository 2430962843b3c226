//! A Kinesis record in the columns format back to readings, and a reading as a line of JSON.
//!
//! ```text
//! {"gateway":"plant-7","stream":"readings","lane":0,"epoch":1793491234,"offset":17,"prev":[1793491234,16],
//!  "time":"2026-01-02T03:04:05.678901Z","time_ms":1767323045678,"source":"plant","device":"boiler","tags":{},
//!  "fields":{"temp":21.5}}
//! ```
//!
//! The bytes come from anywhere: a body is never decompressed beyond the size its envelope claims, which has a
//! bound of its own, and nothing here panics on what it is given.

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tidegate_wire::{Codec, Envelope, Refusal, Row, decode_body, decode_record};

use crate::reading::{Micros, Plain};

/// What one record held.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadRecord {
    pub envelope: Envelope,
    /// In the order of their offsets.
    pub rows: Vec<Row>,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("this is {0}, not a record in the columns format (D9 D9 F7 …)")]
    NotColumns(&'static str),
    #[error("{0}")]
    Refused(Refusal),
    #[error("the body does not decompress to the {size} bytes its envelope claims: {source}")]
    Decompress { size: u64, source: std::io::Error },
    #[error("the body holds {found} bytes where its envelope claims {claimed}")]
    Size { claimed: u64, found: usize },
}

/// Reads the data of one Kinesis record.
pub fn read_record(data: &[u8]) -> Result<ReadRecord, ReadError> {
    if !data.starts_with(&[0xD9, 0xD9, 0xF7]) {
        return Err(ReadError::NotColumns(looks_like(data)));
    }
    let (envelope, body) = decode_record(data).map_err(ReadError::Refused)?;
    let body = decompress(&envelope, body)?;
    let mut rows = decode_body(&envelope, &body).map_err(ReadError::Refused)?;
    // A record groups its readings by series.
    rows.sort_unstable_by_key(|row| row.offset);
    Ok(ReadRecord { envelope, rows })
}

fn decompress<'a>(envelope: &Envelope, body: &'a [u8]) -> Result<Cow<'a, [u8]>, ReadError> {
    let size = envelope.size;
    let body = match envelope.codec {
        Codec::None => Cow::Borrowed(body),
        // The buffer is as large as the claim, and what does not fit is an error.
        Codec::Zstd => zstd::bulk::decompress(body, usize::try_from(size).unwrap_or(usize::MAX))
            .map(Cow::Owned)
            .map_err(|source| ReadError::Decompress { size, source })?,
    };
    if body.len() as u64 == size { Ok(body) } else { Err(ReadError::Size { claimed: size, found: body.len() }) }
}

/// What other data of ours, or of a misguided pipe, begins with.
fn looks_like(data: &[u8]) -> &'static str {
    match data {
        [] => "empty",
        [b'{', ..] => "JSON",
        [0x1F, 0x8B, ..] => "gzip",
        [0xF3, 0x89, 0x9A, 0xC2, ..] => "a KPL aggregate",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "bare zstd",
        _ => "something else",
    }
}

impl ReadRecord {
    /// Its readings as lines. Inside a record the entry due before a reading is the reading before it.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let before = self.rows.iter().map(|row| Some((self.envelope.epoch, row.offset)));
        let prev = std::iter::once(self.envelope.prev).chain(before);
        self.rows.iter().zip(prev).map(|(row, prev)| Line { envelope: &self.envelope, prev, row })
    }
}

/// One reading in the nested layout.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub envelope: &'a Envelope,
    /// (epoch, offset) of the entry due just before it in its lane.
    pub prev: Option<(u64, u64)>,
    pub row: &'a Row,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { envelope, prev, row } = self;
        let mut line = serializer.serialize_map(None)?;
        line.serialize_entry("gateway", &envelope.gateway)?;
        line.serialize_entry("stream", &envelope.stream)?;
        line.serialize_entry("lane", &envelope.lane)?;
        line.serialize_entry("epoch", &envelope.epoch)?;
        line.serialize_entry("offset", &row.offset)?;
        line.serialize_entry("prev", prev)?;
        line.serialize_entry("time", &Micros(row.time).to_string())?;
        line.serialize_entry("time_ms", &row.time.div_euclid(1_000))?;
        line.serialize_entry("source", &row.series.source)?;
        line.serialize_entry("device", &row.series.device)?;
        if let Some(window) = &row.series.window {
            line.serialize_entry("window", window)?;
        }
        line.serialize_entry("tags", &Pairs(&row.series.tags, |tag| tag))?;
        line.serialize_entry("fields", &Pairs(&row.fields, Plain))?;
        line.end()
    }
}

/// Names and values as an object, in their own order.
struct Pairs<'a, V, P>(&'a [(Arc<str>, V)], fn(&'a V) -> P);

impl<P: Serialize, V> Serialize for Pairs<'_, V, P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, (self.1)(value))))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_cbor::Value as Cbor;
    use tidegate_wire::Value;

    use super::*;

    /// A record made by another hand than the encoder's: three readings of two devices, offsets 7, 8, 9.
    pub(crate) fn record(codec: Codec) -> Vec<u8> {
        let body = body();
        let packed = match codec {
            Codec::None => body.clone(),
            Codec::Zstd => zstd::bulk::compress(&body, 3).unwrap(),
        };
        envelope(codec, body.len() as u64, packed)
    }

    fn envelope(codec: Codec, size: u64, body: Vec<u8>) -> Vec<u8> {
        #[derive(Serialize)]
        struct Written {
            v: u64,
            gateway: &'static str,
            stream: &'static str,
            lane: u64,
            epoch: u64,
            first: u64,
            last: u64,
            prev: [u64; 2],
            count: u64,
            clock: &'static str,
            codec: &'static str,
            size: u64,
            body: Cbor,
        }
        let written = Written {
            v: 1,
            gateway: "plant-7",
            stream: "readings",
            lane: 0,
            epoch: 40,
            first: 7,
            last: 9,
            prev: [39, 6],
            count: 3,
            clock: "synced",
            codec: if codec == Codec::Zstd { "zstd" } else { "none" },
            size,
            body: Cbor::Bytes(body),
        };
        [&[0xD9, 0xD9, 0xF7][..], &serde_cbor::to_vec(&written).unwrap()].concat()
    }

    fn body() -> Vec<u8> {
        #[derive(Serialize)]
        struct Group {
            source: &'static str,
            device: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            tags: Option<Tags>,
            offset: Column,
            time: Column,
            fields: Fields,
        }
        #[derive(Serialize)]
        struct Tags {
            site: &'static str,
        }
        #[derive(Serialize)]
        struct Fields {
            n: Column,
        }
        #[derive(Serialize)]
        struct Column {
            d: Vec<i64>,
        }
        let column = |d: &[i64]| Column { d: d.to_vec() };
        let boiler = Group {
            source: "plant",
            device: "boiler",
            tags: Some(Tags { site: "berlin" }),
            offset: column(&[7, 2]),
            time: column(&[1_767_323_045_678_901, 1_000_000]),
            fields: Fields { n: column(&[1, 2]) },
        };
        let pump = Group {
            source: "plant",
            device: "pump",
            tags: None,
            offset: column(&[8]),
            time: column(&[-1]),
            fields: Fields { n: column(&[2]) },
        };
        serde_cbor::to_vec(&[boiler, pump]).unwrap()
    }

    pub(crate) const LINES: &str = r#"{"gateway":"plant-7","stream":"readings","lane":0,"epoch":40,"offset":7,"prev":[39,6],"time":"2026-01-02T03:04:05.678901Z","time_ms":1767323045678,"source":"plant","device":"boiler","tags":{"site":"berlin"},"fields":{"n":1}}
{"gateway":"plant-7","stream":"readings","lane":0,"epoch":40,"offset":8,"prev":[40,7],"time":"1969-12-31T23:59:59.999999Z","time_ms":-1,"source":"plant","device":"pump","tags":{},"fields":{"n":2}}
{"gateway":"plant-7","stream":"readings","lane":0,"epoch":40,"offset":9,"prev":[40,8],"time":"2026-01-02T03:04:06.678901Z","time_ms":1767323046678,"source":"plant","device":"boiler","tags":{"site":"berlin"},"fields":{"n":3}}
"#;

    #[test]
    fn a_record_becomes_lines_in_the_order_of_offsets_with_either_codec() {
        for codec in [Codec::None, Codec::Zstd] {
            let read = read_record(&record(codec)).unwrap();
            let lines: String = read.lines().map(|line| serde_json::to_string(&line).unwrap() + "\n").collect();
            assert_eq!(lines, LINES);
        }
    }

    #[test]
    fn rows_name_their_window_and_values_keep_their_kind() {
        let mut read = read_record(&record(Codec::None)).unwrap();
        read.rows.truncate(1);
        let series = Arc::make_mut(&mut read.rows[0].series);
        series.window = Some("climate_1m".into());
        read.rows[0].fields = vec![
            ("f".into(), Value::F64(2.0)),
            ("u".into(), Value::U64(u64::MAX)),
            ("b".into(), Value::Bool(true)),
            ("t".into(), Value::Text("a\"b".into())),
            ("inf".into(), Value::F64(f64::INFINITY)),
        ];
        let line = serde_json::to_string(&read.lines().next().unwrap()).unwrap();
        let expected = r#""device":"boiler","window":"climate_1m","tags":{"site":"berlin"},"fields":{"f":2.0,"u":18446744073709551615,"b":true,"t":"a\"b","inf":null}}"#;
        assert!(line.ends_with(expected), "{line}");
    }

    #[test]
    fn a_body_that_is_not_of_the_claimed_size_is_refused_without_unpacking_more() {
        let bomb = zstd::bulk::compress(&vec![0; 32 << 20], 3).unwrap();
        let size = body().len() as u64;
        assert!(matches!(
            read_record(&envelope(Codec::Zstd, size, bomb)),
            Err(ReadError::Decompress { size: claimed, .. }) if claimed == size
        ));
        let packed = zstd::bulk::compress(&body(), 3).unwrap();
        assert!(matches!(
            read_record(&envelope(Codec::Zstd, size + 1, packed.clone())),
            Err(ReadError::Size { claimed, found }) if claimed == size + 1 && found as u64 == size
        ));
        assert!(matches!(read_record(&envelope(Codec::Zstd, size - 1, packed)), Err(ReadError::Decompress { .. })));
        assert!(read_record(&envelope(Codec::Zstd, size, b"no zstd".to_vec())).is_err());
        assert!(read_record(&envelope(Codec::None, size + 1, body())).is_err());
    }

    #[test]
    fn what_is_no_columns_record_is_named() {
        let said = |data: &[u8]| read_record(data).unwrap_err().to_string();
        assert_eq!(said(b""), "this is empty, not a record in the columns format (D9 D9 F7 …)");
        assert!(said(b"{}").starts_with("this is JSON, not"));
        assert!(said(&[0x1F, 0x8B, 8]).starts_with("this is gzip, not"));
        assert!(said(&[0xF3, 0x89, 0x9A, 0xC2, 1]).starts_with("this is a KPL aggregate, not"));
    }

    #[test]
    fn no_damage_to_a_record_makes_it_panic() {
        let whole = record(Codec::Zstd);
        let mut random = fastrand::Rng::with_seed(7);
        for length in 0..whole.len() {
            assert!(read_record(&whole[..length]).is_err(), "cut at {length}");
        }
        for _ in 0..5_000 {
            let mut damaged = whole.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..damaged.len());
                damaged[at] = random.u8(..);
            }
            // Damage may hit a value: then it reads. It must not do more than that.
            if let Ok(read) = read_record(&damaged) {
                assert_eq!(read.lines().count(), 3);
            }
        }
    }
}

//! Where the gateway of a simulation delivers to: the stream inside the process, or a real one, read back as a
//! consumer reads it.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::ShardIteratorType;
use bytes::Bytes;
use tokio::time::Instant;

use anyhow::Context;

use super::stream::{Counts, Record, Stream};
use crate::reading::Micros;
use crate::sink::aws;
use crate::sink::kinesis::sentence;

/// AWS allows five reads a second and shard.
const READ_EVERY: Duration = Duration::from_millis(500);
/// How far the clocks of this machine and of the stream may be apart.
const CLOCKS_APART: Duration = Duration::from_mins(1);

pub enum Cloud {
    /// The stream, and how many of its records were taken.
    Simulated(Stream, usize),
    Real(Box<Real>),
}

impl Cloud {
    /// What has arrived since the last question, in the order of arrival within each shard.
    pub async fn take(&mut self) -> anyhow::Result<Vec<Record>> {
        match self {
            Self::Simulated(stream, taken) => {
                let records = stream.records(*taken);
                *taken += records.len();
                Ok(records)
            }
            Self::Real(real) => real.take().await,
        }
    }

    #[must_use]
    pub fn is_out(&self) -> bool {
        match self {
            Self::Simulated(stream, _) => stream.is_out(),
            Self::Real(_) => false,
        }
    }

    /// What it has seen; of a real stream only records and bytes are known.
    #[must_use]
    pub fn counts(&self) -> Counts {
        match self {
            Self::Simulated(stream, _) => stream.counts(),
            Self::Real(real) => real.counts,
        }
    }
}

/// A stream that is there already. Records of other gateways in it are passed over.
pub struct Real {
    client: Client,
    gateway: String,
    /// Where to read on, one a shard; `None`: the shard is closed and read to its end.
    shards: Vec<Option<String>>,
    counts: Counts,
    read_at: Option<Instant>,
}

impl Real {
    pub async fn open(endpoint: &str, stream: &str, region: &str, gateway: &str) -> anyhow::Result<Self> {
        let loader = aws::defaults(region);
        let client = Client::new(&loader.endpoint_url(endpoint).load().await);
        let not_read = || {
            format!(
                "the stream {stream} at {endpoint} cannot be read; it must be there, and your AWS credentials must open it"
            )
        };
        let listed = client.list_shards().stream_name(stream).send().await;
        let listed = listed.map_err(|error| anyhow::anyhow!(sentence(&error))).with_context(not_read)?;
        let from = aws_sdk_kinesis::primitives::DateTime::from(SystemTime::now() - CLOCKS_APART);
        let mut shards = Vec::new();
        for shard in listed.shards() {
            let start = client.get_shard_iterator().stream_name(stream).shard_id(shard.shard_id());
            let start = start.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(from).send().await;
            let start = start.map_err(|error| anyhow::anyhow!(sentence(&error))).with_context(not_read)?;
            shards.push(start.shard_iterator);
        }
        Ok(Self { client, gateway: gateway.to_owned(), shards, counts: Counts::default(), read_at: None })
    }

    async fn take(&mut self) -> anyhow::Result<Vec<Record>> {
        let mut records = Vec::new();
        if self.read_at.is_some_and(|at| at.elapsed() < READ_EVERY) {
            return Ok(records);
        }
        self.read_at = Some(Instant::now());
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let Some(at) = shard.clone() else { continue };
            // A read that fails is tried again; should it fail for ever, the run stalls and says so.
            let Ok(read) = self.client.get_records().shard_iterator(at).send().await else { continue };
            for record in read.records() {
                let data = Bytes::copy_from_slice(record.data().as_ref());
                let ours =
                    tidegate_wire::decode_record(&data).is_ok_and(|(envelope, _)| envelope.gateway == self.gateway);
                if !ours {
                    continue;
                }
                self.counts.records += 1;
                self.counts.bytes += (data.len() + record.partition_key().len()) as u64;
                let arrived = record.approximate_arrival_timestamp().map_or(0, |at| (at.as_secs_f64() * 1e6) as i64);
                records.push(Record {
                    shard: number as u32,
                    sequence: self.counts.records,
                    partition_key: record.partition_key().to_owned(),
                    data,
                    arrived: Micros(arrived),
                });
            }
            *shard = read.next_shard_iterator;
        }
        Ok(records)
    }
}

//! A Kinesis emulator that is not ours: moto, from `PyPI`.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Credentials;
use aws_sdk_kinesis::types::ShardIteratorType;
use bytes::Bytes;
use tidegate::reading::Micros;
use tidegate::simulate::stream::Record;

use super::gateway::{PATIENCE, free_address};

/// A running emulator with one stream, ended with the test.
pub struct Moto {
    address: SocketAddr,
    client: Client,
    child: Child,
}

impl Moto {
    /// `None`, with the reason printed, where moto is not installed; never in CI.
    pub async fn start(stream: &str, shards: i32) -> Option<Self> {
        let Some(binary) = std::env::var_os("TIDEGATE_TEST_MOTO").filter(|path| std::path::Path::new(path).exists())
        else {
            assert!(std::env::var_os("CI").is_none(), "moto is missing");
            eprintln!("SKIPPED: no Kinesis emulator; `bash tests/run` installs moto");
            return None;
        };
        let address = free_address();
        let child = Command::new(binary)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let config = tidegate::sink::aws::defaults("eu-west-1")
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(format!("http://{address}"))
            .load()
            .await;
        let moto = Self { address, client: Client::new(&config), child };
        let until = Instant::now() + PATIENCE;
        while moto.client.create_stream().stream_name(stream).shard_count(shards).send().await.is_err() {
            assert!(Instant::now() < until, "moto does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some(moto)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything in the stream, shard by shard, each in its order.
    pub async fn records(&self, stream: &str) -> Vec<Record> {
        let shards = self.client.list_shards().stream_name(stream).send().await.unwrap();
        let mut records = Vec::new();
        for (number, shard) in shards.shards().iter().enumerate() {
            let start = self.client.get_shard_iterator().stream_name(stream).shard_id(shard.shard_id());
            let start = start.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
            let mut iterator = start.shard_iterator;
            while let Some(at) = iterator {
                let got = self.client.get_records().shard_iterator(at).send().await.unwrap();
                if got.records().is_empty() {
                    break;
                }
                let sequences = records.len() as u64..;
                records.extend(got.records().iter().zip(sequences).map(|(record, sequence)| Record {
                    shard: number as u32,
                    sequence,
                    partition_key: record.partition_key().to_owned(),
                    data: Bytes::copy_from_slice(record.data().as_ref()),
                    arrived: Micros(record.approximate_arrival_timestamp().unwrap().secs() * Micros::PER_SECOND),
                }));
                iterator = got.next_shard_iterator;
            }
        }
        records
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

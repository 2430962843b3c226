use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::put_records::{PutRecordsError, PutRecordsOutput};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

type Reply = Result<PutRecordsOutput, SdkError<PutRecordsError>>;

struct Sender(Client);

impl Sender {
    fn to(stream: &Stream) -> Self {
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("simulated", "simulated", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(stream.url())
            .http_client(crate::sink::aws::https())
            .build();
        Self(Client::from_conf(config))
    }

    async fn put(&self, records: Vec<PutRecordsRequestEntry>) -> Reply {
        self.0.put_records().stream_name("telemetry").set_records(Some(records)).send().await
    }
}

fn entry(key: &str, data: impl Into<Vec<u8>>) -> PutRecordsRequestEntry {
    PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data)).build().unwrap()
}

fn entries(count: usize, bytes: usize) -> Vec<PutRecordsRequestEntry> {
    (0..count).map(|n| entry(&format!("k{n}"), vec![b'x'; bytes])).collect()
}

async fn stream(shards: u32, faults: Faults) -> Stream {
    Stream::start(Settings { stream: "telemetry".to_owned(), shards, faults }).await.unwrap()
}

fn code(reply: Reply) -> String {
    reply.unwrap_err().into_service_error().code().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn what_was_put_is_kept_in_order_and_counted() {
    let stream = stream(2, Faults::default()).await;
    let sender = Sender::to(&stream);
    let reply = sender.put(vec![entry("a", "one"), entry("b", "two"), entry("a", "three")]).await.unwrap();
    assert_eq!(reply.failed_record_count(), Some(0));
    let shards: Vec<&str> = reply.records().iter().filter_map(|record| record.shard_id()).collect();
    assert_eq!(shards, ["shardId-000000000000", "shardId-000000000001", "shardId-000000000000"]);
    let numbers: Vec<&str> = reply.records().iter().filter_map(|record| record.sequence_number()).collect();
    assert!(numbers[0] < numbers[2]);

    let kept = stream.records(0);
    let data: Vec<&[u8]> = kept.iter().map(|record| record.data.as_ref()).collect();
    assert_eq!(data, [b"one".as_ref(), b"two", b"three"]);
    assert_eq!(stream.records(2).len(), 1);
    let counts = stream.counts();
    assert_eq!((counts.requests, counts.records, counts.bytes), (1, 3, 14));
    assert!(counts.link_bytes > 1_000, "{} bytes with all headers", counts.link_bytes);
}

#[tokio::test]
async fn the_stream_describes_itself() {
    let stream = stream(3, Faults::default()).await;
    let Sender(client) = Sender::to(&stream);
    let summary = client.describe_stream_summary().stream_name("telemetry").send().await.unwrap();
    assert_eq!(summary.stream_description_summary().unwrap().open_shard_count(), 3);
    let shards = client.list_shards().stream_name("telemetry").send().await.unwrap();
    assert_eq!(shards.shards().len(), 3);
}

#[tokio::test]
async fn a_shard_refuses_more_than_a_thousand_records_a_second() {
    let stream = stream(1, Faults::default()).await;
    let sender = Sender::to(&stream);
    let mut refused = 0;
    for _ in 0..4 {
        let reply = sender.put(entries(500, 1)).await.unwrap();
        let failed = reply
            .records()
            .iter()
            .filter(|record| record.error_code() == Some("ProvisionedThroughputExceededException"));
        refused += failed.count();
    }
    // 2,000 sent; 1,000 fit at once and a few more while the test runs.
    assert!((1..=1_000).contains(&refused), "{refused} were refused");
    assert_eq!(stream.counts().throttled, refused as u64);
    assert_eq!(stream.records(0).len(), 2_000 - refused);
}

#[tokio::test]
async fn the_limits_of_records_and_requests_are_those_of_aws() {
    let stream = stream(8, Faults::default()).await;
    let sender = Sender::to(&stream);
    assert_eq!(code(sender.put(entries(501, 1)).await), "ValidationException");
    assert_eq!(code(sender.put(vec![entry("key", vec![0; (1 << 20) - 2])]).await), "ValidationException");
    assert_eq!(code(sender.put(entries(6, 900 << 10)).await), "InvalidArgumentException");
    assert_eq!(code(sender.put(vec![entry("", "x")]).await), "ValidationException");
    assert_eq!(stream.counts().records, 0, "a refused request stores nothing");
    sender.put(vec![entry("key", vec![0; (1 << 20) - 3])]).await.unwrap();
    let elsewhere = sender.0.put_records().stream_name("other").records(entry("a", "x")).send().await;
    assert_eq!(code(elsewhere), "ResourceNotFoundException");
}

#[tokio::test]
async fn a_request_without_a_signature_is_refused() {
    let stream = stream(1, Faults::default()).await;
    let mut socket = TcpStream::connect(stream.address).await.unwrap();
    let request = "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Kinesis_20131202.PutRecords\r\n\
                   Connection: close\r\nContent-Length: 2\r\n\r\n{}";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 403") && reply.contains("MissingAuthenticationToken"), "{reply}");
}

#[tokio::test]
async fn throttles_refuse_single_records_inside_a_good_reply() {
    let stream = stream(1, Faults { throttle: 0.3, ..Faults::default() }).await;
    let reply = Sender::to(&stream).put(entries(100, 1)).await.unwrap();
    let failed = reply.failed_record_count().unwrap();
    assert!((29..=31).contains(&failed), "{failed}");
    assert_eq!(stream.records(0).len(), 100 - failed as usize);
}

#[tokio::test]
async fn a_failure_stores_nothing_and_a_cut_stores_all() {
    let failing = stream(1, Faults { failure: 1.0, ..Faults::default() }).await;
    let reply = Sender::to(&failing).put(vec![entry("a", "x")]).await;
    assert_eq!(reply.unwrap_err().raw_response().unwrap().status().as_u16(), 500);
    assert_eq!(failing.records(0).len(), 0);

    let cutting = stream(1, Faults { cut: 1.0, ..Faults::default() }).await;
    let reply = Sender::to(&cutting).put(vec![entry("a", "x")]).await;
    assert!(matches!(reply, Err(SdkError::DispatchFailure(_) | SdkError::ResponseError(_))), "{reply:?}");
    assert_eq!(cutting.records(0).len(), 1);
}

#[tokio::test]
async fn during_an_outage_nothing_gets_through_and_afterwards_everything_does() {
    let outage = Outage { start: Duration::from_millis(300), length: Duration::from_millis(400) };
    let start = Instant::now();
    let stream = stream(1, Faults { outages: vec![outage], ..Faults::default() }).await;
    let sender = Sender::to(&stream);
    while sender.put(vec![entry("a", "before")]).await.is_ok() {}
    assert!(start.elapsed() >= outage.start && stream.is_out(), "the link was down too early");
    let stored = stream.records(0).len();
    while sender.put(vec![entry("a", "after")]).await.is_err() {}
    assert!(start.elapsed() >= outage.end(), "a record got through in the outage");
    assert!(stored > 0);
    assert_eq!(stream.records(stored).len(), 1);
}

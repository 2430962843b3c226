//! The Kinesis API as far as a sender needs it: JSON 1.1 over HTTP, every error as AWS words it.
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html>

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State as Shares};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::link::Cut;
use super::{Record, Shared, State, shard};
use crate::clock::Clock;

const RECORDS_MAX: usize = 500;
const RECORD_BYTES_MAX: usize = 1 << 20;
const REQUEST_BYTES_MAX: usize = 5 << 20;
const KEY_CHARS_MAX: usize = 256;
/// A request of the largest size in base64, with room to spare.
const BODY_BYTES_MAX: usize = 16 << 20;
const ACCOUNT: &str = "000000000000";

pub fn router(shared: Arc<Shared>) -> Router {
    Router::new().route("/", post(answer)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(shared)
}

async fn answer(
    Shares(shared): Shares<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Cut>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let reply = respond(&shared, &connection, &headers, &body);
    let (status, body) = match reply {
        Ok(reply) => (StatusCode::OK, reply),
        Err(fault) => (fault.status, json!({ "__type": fault.kind, "message": fault.message })),
    };
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}

fn respond(shared: &Shared, connection: &Cut, headers: &HeaderMap, body: &[u8]) -> Result<Value, Fault> {
    check_signed(headers)?;
    match text(headers, "x-amz-target").strip_prefix("Kinesis_20131202.") {
        Some("PutRecords") => put_records(shared, connection, body),
        Some("ListShards") => Ok(list_shards(shared)),
        Some("DescribeStreamSummary") => Ok(describe_stream_summary(shared)),
        _ => Err(Fault::refused("UnknownOperationException", "the simulated stream does not know this operation")),
    }
}

/// An error reply.
#[derive(Debug)]
struct Fault {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Fault {
    fn refused(kind: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind, message: message.into() }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The signature itself cannot be wrong in a way that matters here, but a request without one would be.
fn check_signed(headers: &HeaderMap) -> Result<(), Fault> {
    let authorization = text(headers, "authorization");
    let parts = ["AWS4-HMAC-SHA256 ", "Credential=", "/kinesis/aws4_request", "SignedHeaders=", "Signature="];
    if parts.iter().all(|part| authorization.contains(part)) {
        return Ok(());
    }
    Err(Fault {
        status: StatusCode::FORBIDDEN,
        kind: "MissingAuthenticationTokenException",
        message: "Missing Authentication Token".to_owned(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    records: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    data: String,
    partition_key: String,
    explicit_hash_key: Option<String>,
}

/// An entry that may be stored.
struct Valid {
    data: Bytes,
    partition_key: String,
    hash: Option<u128>,
}

fn put_records(shared: &Shared, connection: &Cut, body: &[u8]) -> Result<Value, Fault> {
    let mut state = shared.state();
    state.counts.requests += 1;
    let request: PutRecords =
        serde_json::from_slice(body).map_err(|error| Fault::refused("SerializationException", error.to_string()))?;
    let arn_name = request.stream_arn.as_deref().and_then(|arn| arn.rsplit_once("stream/")).map(|(_, name)| name);
    let name = request.stream_name.as_deref().or(arn_name).unwrap_or_default();
    if name != shared.stream {
        let message = format!("Stream {name} under account {ACCOUNT} not found.");
        return Err(Fault::refused("ResourceNotFoundException", message));
    }
    let entries = validate(request.records)?;
    if state.failure.hit() {
        state.counts.failed += 1;
        let message = "Internal Service Error".to_owned();
        return Err(Fault { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "InternalFailure", message });
    }
    let now = Instant::now();
    let replies: Vec<Value> = entries.into_iter().map(|entry| state.put(entry, &shared.stream, now)).collect();
    if state.cut.hit() {
        state.counts.cut += 1;
        connection.cut();
    }
    let failed = replies.iter().filter(|reply| reply.get("ErrorCode").is_some()).count();
    Ok(json!({ "FailedRecordCount": failed, "Records": replies, "EncryptionType": "NONE" }))
}

impl State {
    fn put(&mut self, entry: Valid, stream: &str, now: Instant) -> Value {
        let Valid { data, partition_key, hash } = entry;
        let shards = self.shards.len() as u32;
        let shard = hash.map_or_else(|| shard::of_key(&partition_key, shards), |hash| shard::of_hash(hash, shards));
        let bytes = data.len() + partition_key.len();
        let taken = if self.throttle.hit() { None } else { self.shards[shard as usize].take(bytes, now) };
        let Some(sequence) = taken else {
            self.counts.throttled += 1;
            let id = shard_id(shard);
            return json!({
                "ErrorCode": "ProvisionedThroughputExceededException",
                "ErrorMessage": format!("Rate exceeded for shard {id} in stream {stream} under account {ACCOUNT}."),
            });
        };
        self.counts.records += 1;
        self.counts.bytes += bytes as u64;
        let record = Record { shard, sequence, partition_key, data, arrived: Clock::System.now().wall };
        self.records.extend(self.saboteur.pass(record));
        json!({ "SequenceNumber": sequence_number(sequence), "ShardId": shard_id(shard) })
    }
}

/// All or nothing, as AWS does: one bad record refuses the request.
fn validate(records: Vec<Entry>) -> Result<Vec<Valid>, Fault> {
    if records.is_empty() || records.len() > RECORDS_MAX {
        let bound = if records.is_empty() { "greater than or equal to 1" } else { "less than or equal to 500" };
        return Err(Fault::refused(
            "ValidationException",
            format!(
                "1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have \
                 length {bound}"
            ),
        ));
    }
    let entries: Vec<Valid> =
        records.into_iter().enumerate().map(|(index, entry)| valid(index + 1, entry)).collect::<Result<_, _>>()?;
    let bytes: usize = entries.iter().map(|entry| entry.data.len() + entry.partition_key.len()).sum();
    if bytes > REQUEST_BYTES_MAX {
        return Err(Fault::refused("InvalidArgumentException", "Records size exceeds 5 MB limit"));
    }
    Ok(entries)
}

fn valid(member: usize, entry: Entry) -> Result<Valid, Fault> {
    let invalid = |field: &str, constraint: &str| {
        let place = format!("records.{member}.member.{field}");
        let message =
            format!("1 validation error detected: Value at '{place}' failed to satisfy constraint: {constraint}");
        Fault::refused("ValidationException", message)
    };
    let data = BASE64
        .decode(&entry.data)
        .map_err(|error| Fault::refused("SerializationException", format!("record {member}: {error}")))?;
    let key_chars = entry.partition_key.chars().count();
    if !(1..=KEY_CHARS_MAX).contains(&key_chars) {
        return Err(invalid("partitionKey", "Member must have length between 1 and 256"));
    }
    if data.len() + entry.partition_key.len() > RECORD_BYTES_MAX {
        return Err(invalid("data", "Member must have length less than or equal to 1048576"));
    }
    let hash = match entry.explicit_hash_key {
        None => None,
        Some(key) => Some(key.parse().map_err(|_| invalid("explicitHashKey", "Member must be a 128-bit number"))?),
    };
    Ok(Valid { data: data.into(), partition_key: entry.partition_key, hash })
}

fn list_shards(shared: &Shared) -> Value {
    let shards = shared.state().shards.len() as u32;
    let describe = |shard| {
        let (first, last) = shard::hash_keys(shard, shards);
        json!({
            "ShardId": shard_id(shard),
            "HashKeyRange": { "StartingHashKey": first.to_string(), "EndingHashKey": last.to_string() },
            "SequenceNumberRange": { "StartingSequenceNumber": sequence_number(0) },
        })
    };
    json!({ "Shards": (0..shards).map(describe).collect::<Vec<_>>() })
}

fn describe_stream_summary(shared: &Shared) -> Value {
    json!({ "StreamDescriptionSummary": {
        "StreamName": shared.stream,
        "StreamARN": format!("arn:aws:kinesis:eu-west-1:{ACCOUNT}:stream/{}", shared.stream),
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": { "StreamMode": "PROVISIONED" },
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 0,
        "EnhancedMonitoring": [],
        "EncryptionType": "NONE",
        "OpenShardCount": shared.state().shards.len(),
    }})
}

fn shard_id(shard: u32) -> String {
    format!("shardId-{shard:012}")
}

/// As long as AWS's, because every reply carries them over the link.
fn sequence_number(sequence: u64) -> String {
    format!("4966000000000000000000000000000000{sequence:022}")
}

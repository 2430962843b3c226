//! `PutRecords` on the AWS SDK, its own retries off: the same bytes are sent again by `delivery`, which knows
//! the order of a lane.

use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::operation::put_records::PutRecordsError;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

use super::{Outcome, SendError, Sink, aws};
use crate::batch::Record;
use crate::config;
use crate::faults::Point;
use crate::metrics::Metrics;

/// One stream.
pub struct Kinesis {
    client: Client,
    stream: String,
    region: String,
    metrics: Arc<Metrics>,
}

impl Kinesis {
    /// Sets the client up; nothing is sent.
    pub async fn new(kinesis: &config::Kinesis, link: &config::Link, metrics: Arc<Metrics>) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(link.connect_timeout)
            .operation_timeout(link.request_timeout)
            .build();
        let mut loader = aws::defaults(&kinesis.region)
            .retry_config(RetryConfig::disabled())
            // A cellular link may well stand still for five seconds: `request_timeout` says what is too long.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts);
        if let Some(url) = &kinesis.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let client = Client::new(&loader.load().await);
        Self { client, stream: kinesis.stream.clone(), region: kinesis.region.clone(), metrics }
    }
}

impl Sink for Kinesis {
    async fn send(&self, records: &[&Record]) -> Result<Vec<Outcome>, SendError> {
        let bytes: usize = records.iter().map(|record| record.size()).sum();
        self.metrics.kinesis_sent_bytes.inc_by(bytes as u64);
        let entries = records.iter().map(|record| {
            PutRecordsRequestEntry::builder()
                .data(Blob::new(record.data.clone()))
                .partition_key(&*record.key)
                .build()
                .expect("data and key are set")
        });
        let request = self.client.put_records().set_records(Some(entries.collect()));
        let request = if self.stream.starts_with("arn:") {
            request.stream_arn(&self.stream)
        } else {
            request.stream_name(&self.stream)
        };
        match Point::MidRequest.inside(request.send()).await {
            Ok(answer) if answer.records().len() == records.len() => Ok(answer
                .records()
                .iter()
                .map(|entry| entry.error_code().map_or(Outcome::Taken, |code| Outcome::Again(code.to_owned())))
                .collect()),
            Ok(_) => {
                Err(SendError::Unreachable("the answer has another number of records than the request".to_owned()))
            }
            Err(error) => Err(self.explain(&error)),
        }
    }
}

impl Kinesis {
    fn explain(&self, error: &SdkError<PutRecordsError>) -> SendError {
        match error {
            SdkError::ServiceError(answer) => {
                let meta = answer.err().meta();
                let code = meta.code().unwrap_or_default();
                let message = meta.message().unwrap_or_default();
                self.classify(answer.raw().status().as_u16(), code, message)
            }
            SdkError::TimeoutError(_) => SendError::Unreachable("no answer from Kinesis in time".to_owned()),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                SendError::Unreachable("no connection to Kinesis in time".to_owned())
            }
            SdkError::DispatchFailure(failure) if failure.is_io() => {
                let why = failure.as_connector_error().and_then(|error| innermost(error));
                SendError::Unreachable(format!("no connection to Kinesis: {}", why.unwrap_or_default()))
            }
            other => {
                let whole = sentence(other);
                if whole.contains("redentials") {
                    SendError::Refused(
                        "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or an \
                         instance role"
                            .to_owned(),
                    )
                } else {
                    SendError::Unreachable(whole)
                }
            }
        }
    }

    fn classify(&self, status: u16, code: &str, message: &str) -> SendError {
        let (stream, region) = (&self.stream, &self.region);
        match code {
            "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "ThrottlingException"
            | "KMSThrottlingException"
            | "RequestLimitExceeded" => SendError::Throttled(format!("{code}: {message}")),
            "ValidationException"
            | "InvalidArgumentException"
            | "SerializationException"
            | "RequestEntityTooLargeException" => SendError::Invalid(format!("{code}: {message}")),
            "ResourceNotFoundException" => SendError::Refused(format!(
                "there is no stream {stream} in {region}: create it, or set `kinesis.stream` and `kinesis.region`"
            )),
            "AccessDeniedException" | "NotAuthorizedException" => SendError::Refused(format!(
                "these credentials may not write to {stream}: allow them kinesis:PutRecords ({message})"
            )),
            "ExpiredTokenException" | "ExpiredToken" => SendError::Refused(format!(
                "the AWS session token has expired ({code}): renew the credentials, and start again if they came by \
                 the environment"
            )),
            _ if is_clock(code, message) => {
                SendError::Refused(format!("the clock of this machine is off ({code}): let it synchronise"))
            }
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "MissingAuthenticationTokenException" => SendError::Refused(format!(
                "the AWS credentials were refused ({code}): check key and secret ({message})"
            )),
            _ if status == 413 => SendError::Invalid(format!("{code}: {message}")),
            _ if status >= 500 => SendError::Unreachable(format!("Kinesis answered {status}: {code} {message}")),
            "" => SendError::Unreachable(format!(
                "what answered is not Kinesis (HTTP {status} without an error code): a proxy or a login page may stand \
                 in between"
            )),
            _ => SendError::Refused(format!("Kinesis answered {status}: {code} {message}")),
        }
    }
}

/// Kinesis tells a skewed clock as a signature that is not valid now.
fn is_clock(code: &str, message: &str) -> bool {
    let skewed = message.contains("Signature expired") || message.contains("Signature not yet current");
    matches!(code, "RequestExpired" | "RequestTimeTooSkewed") || code == "InvalidSignatureException" && skewed
}

/// What happened and why, in one sentence.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_told = cause.to_string();
        if !told.contains(&cause_told) {
            told = format!("{told}: {cause_told}");
        }
        source = cause.source();
    }
    told
}

/// The last error of a chain: the one that says what happened.
fn innermost(error: &dyn std::error::Error) -> Option<String> {
    let mut last = error.source()?;
    while let Some(source) = last.source() {
        last = source;
    }
    Some(last.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kinesis() -> Kinesis {
        let backoff = config::Backoff { base: std::time::Duration::ZERO, max: std::time::Duration::ZERO };
        let second = std::time::Duration::from_secs(1);
        let link = config::Link { profile: config::Profile::Lan, connect_timeout: second, request_timeout: second };
        let kinesis = config::Kinesis {
            stream: "telemetry".to_owned(),
            region: "eu-west-1".to_owned(),
            endpoint_url: Some("http://127.0.0.1:9".to_owned()),
            lanes: 1,
            max_record: 1 << 20,
            max_request: 5 << 20,
            backoff,
        };
        Kinesis::new(&kinesis, &link, Metrics::new()).await
    }

    #[tokio::test]
    async fn each_refusal_says_what_a_person_should_do() {
        let kinesis = kinesis().await;
        let refused = |code| match kinesis.classify(400, code, "m") {
            SendError::Refused(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(refused("ResourceNotFoundException").contains("no stream telemetry in eu-west-1"));
        assert!(refused("AccessDeniedException").contains("kinesis:PutRecords"));
        assert!(refused("RequestExpired").contains("clock"));
        assert!(refused("ExpiredTokenException").contains("renew"));
        let skewed = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z";
        let SendError::Refused(told) = kinesis.classify(403, "InvalidSignatureException", skewed) else { panic!() };
        assert!(told.contains("the clock of this machine is off"), "{told}");
        assert!(refused("InvalidSignatureException").contains("check key and secret"));
        assert!(matches!(kinesis.classify(400, "LimitExceededException", ""), SendError::Throttled(_)));
        assert!(matches!(kinesis.classify(400, "ValidationException", ""), SendError::Invalid(_)));
        assert!(matches!(kinesis.classify(200, "", ""), SendError::Unreachable(why) if why.contains("login page")));
        assert!(matches!(kinesis.classify(503, "ServiceUnavailable", ""), SendError::Unreachable(_)));
    }
}

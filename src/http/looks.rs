//! Looks into the queue and the dead letters of a running gateway, which alone may open its data directory. The
//! gateway hands them in as callbacks, so that this module knows neither.

use std::pin::Pin;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;

pub type Answer = Result<Value, Unanswered>;

/// A question that the gateway answers.
pub type Look<Q> = Arc<dyn Fn(Q) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

#[derive(Clone)]
pub struct Looks {
    /// `GET /queue/stat`
    pub queue_stat: Look<()>,
    /// `GET /queue/peek?n=`: so many of the oldest readings.
    pub queue_peek: Look<usize>,
    /// `GET /dead?n=`: so many of the newest letters.
    pub dead_list: Look<usize>,
    /// `GET /dead/{id}`
    pub dead_show: Look<u64>,
    /// `POST /dead/purge`
    pub dead_purge: Look<()>,
}

/// Why there is no answer, in a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Failed(String),
}

impl Unanswered {
    pub(super) fn code(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Makes a look of an async closure.
pub fn look<Q, F>(answer: impl Fn(Q) -> F + Send + Sync + 'static) -> Look<Q>
where
    F: Future<Output = Answer> + Send + 'static,
{
    Arc::new(move |question| Box::pin(answer(question)))
}

//! Looks into the queue and the dead letters of a running gateway, which alone may open its data directory. The
//! gateway hands them in as callbacks, so that this module knows neither.

use std::pin::Pin;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

pub type Answer = Result<Value, Unanswered>;

/// A question that the gateway answers.
pub type Look<Q> = Arc<dyn Fn(Q) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

#[derive(Clone)]
pub struct Looks {
    /// `GET /queue/stat`
    pub queue_stat: Look<()>,
    /// `GET /queue/peek?from=&n=`: so many entries from an offset on, or from the oldest that waits.
    pub queue_peek: Look<Wanted>,
    /// `GET /dead?from=&n=`: so many letters from an id on.
    pub dead_list: Look<Wanted>,
    /// `POST /dead/purge?before=`
    pub dead_purge: Look<u64>,
    /// `POST /windows/close`: commits an entry that says that the stream has ended, so that what is open closes now.
    /// Answers once that entry is durable; the rows follow. Readings that come later open windows anew.
    pub windows_close: Look<()>,
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Wanted {
    pub from: Option<u64>,
    #[serde(default = "Wanted::some")]
    pub n: usize,
}

impl Wanted {
    fn some() -> usize {
        20
    }

    /// An answer is built in memory: it has an end.
    pub(super) fn bounded(self) -> Self {
        Self { n: self.n.min(1_000), ..self }
    }
}

/// Why there is no answer, in a sentence for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// Makes a look of an async closure.
pub fn look<Q, F>(answer: impl Fn(Q) -> F + Send + Sync + 'static) -> Look<Q>
where
    F: Future<Output = Answer> + Send + 'static,
{
    Arc::new(move |question| Box::pin(answer(question)))
}

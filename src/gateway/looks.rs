//! What `queue`, `dead` and a simulation ask of a running gateway, which alone may open its data directory.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::http::{self, Looks, Unanswered, Wanted, look};
use crate::queue::{self, Queue, Request, StoreError};

pub fn looks(queue: &Arc<Queue>, requests: &mpsc::WeakSender<Request>) -> Looks {
    let (stat, peek, list) = (queue.clone(), queue.clone(), queue.clone());
    let (purge, end) = (requests.clone(), requests.clone());
    Looks {
        queue_stat: look(move |()| blocking(stat.clone(), |queue| Ok(json!(queue::look::stat(queue)?)))),
        queue_peek: look(move |Wanted { from, n }| {
            blocking(peek.clone(), move |queue| Ok(queue::look::peek(queue, from, n)?.into()))
        }),
        dead_list: look(move |Wanted { from, n }| {
            let letters =
                move |queue: &Queue| Ok(queue::look::letters(&*queue.store, &queue.dead, from.unwrap_or(0), n)?.into());
            blocking(list.clone(), letters)
        }),
        dead_purge: look(move |before| {
            let purged = written(purge.clone(), move |done| Request::Purge(before, done));
            async { Ok(json!({ "purged": purged.await? })) }
        }),
        windows_close: look(move |()| {
            let ended = written(end.clone(), Request::End);
            async { ended.await.map(|()| json!({ "closed": true })) }
        }),
    }
}

/// What the writer answers once it has done it.
async fn written<T>(
    requests: mpsc::WeakSender<Request>,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, Unanswered> {
    let stopping = || Unanswered("the gateway is stopping".to_owned());
    let (done, answer) = oneshot::channel();
    let requests = requests.upgrade().ok_or_else(stopping)?;
    requests.send(request(done)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())
}

async fn blocking(
    queue: Arc<Queue>,
    read: impl FnOnce(&Queue) -> Result<serde_json::Value, StoreError> + Send + 'static,
) -> http::Answer {
    match tokio::task::spawn_blocking(move || read(&queue)).await {
        Ok(found) => found.map_err(|error| Unanswered(error.to_string())),
        Err(error) => Err(Unanswered(error.to_string())),
    }
}

//! What `queue` and `dead` ask of a running gateway, which alone may open its data directory.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::http::{self, Looks, Unanswered, Wanted, look};
use crate::queue::{self, Queue, Request, StoreError};

pub fn looks(queue: &Arc<Queue>, requests: &mpsc::WeakSender<Request>) -> Looks {
    let (stat, peek, list, purge) = (queue.clone(), queue.clone(), queue.clone(), requests.clone());
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
            let requests = purge.clone();
            async move {
                let stopping = || Unanswered("the gateway is stopping".to_owned());
                let (done, purged) = oneshot::channel();
                let requests = requests.upgrade().ok_or_else(stopping)?;
                requests.send(Request::Purge(before, done)).await.map_err(|_| stopping())?;
                Ok(json!({ "purged": purged.await.map_err(|_| stopping())? }))
            }
        }),
    }
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

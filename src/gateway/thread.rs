//! Parts that block have a thread of their own.

use std::future::Future;

use tokio::sync::oneshot;

/// Runs a future on a thread of its own, where it may block.
pub fn on_thread<T, F>(name: &str, make: impl FnOnce() -> F + Send + 'static) -> OnThread<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (done, ended) = oneshot::channel();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let _ = done.send(runtime.map(|runtime| runtime.block_on(make())));
    };
    // Without a thread `done` is dropped, and the receiver says that this part has ended.
    let _ = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    ended
}

/// How a part on a thread of its own ends.
pub type OnThread<T> = oneshot::Receiver<std::io::Result<T>>;
pub type Ended<T> = Result<std::io::Result<T>, oneshot::error::RecvError>;

use super::*;
use std::path::Path;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct MqttError;
pub async fn run(
    _c: crate::config::Mqtt,
    _g: &str,
    _d: &Path,
    _i: Inbox,
    _s: StateSender,
    _m: Arc<crate::metrics::Metrics>,
    stop: impl Future<Output = ()>,
) -> Result<(), MqttError> {
    stop.await;
    Ok(())
}

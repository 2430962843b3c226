//! The sources of the configuration, each in a task of its own.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::GatewayError;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::source::{Inbox, State, modbus, mqtt, serial};

pub fn in_flight(source: &config::Source) -> usize {
    match source {
        config::Source::Mqtt(mqtt) => mqtt.in_flight.into(),
        config::Source::Serial(_) => serial::IN_FLIGHT,
        config::Source::Modbus(modbus) => modbus.units.len(),
    }
}

pub type States = Vec<(config::Source, watch::Receiver<State>)>;
pub type Sources = JoinSet<Result<(), GatewayError>>;

pub fn start(
    config: &Config,
    id: &Arc<str>,
    inbox: &Inbox,
    metrics: &Arc<Metrics>,
    stop: &watch::Receiver<bool>,
) -> (Sources, States) {
    let mut tasks = JoinSet::new();
    let mut states = Vec::new();
    for source in &config.sources {
        let (says, state) = watch::channel(State::Connecting);
        states.push((source.clone(), state));
        let source = source.clone();
        let (id, dir, inbox) = (id.clone(), config.gateway.data_dir.clone(), inbox.clone());
        let (metrics, mut stop) = (metrics.clone(), stop.clone());
        tasks.spawn(async move {
            let name = source.name().to_owned();
            let stopped = async move {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let ended = match source {
                config::Source::Mqtt(mqtt) => mqtt::run(mqtt, &id, &dir, inbox, says, metrics, stopped).await,
                config::Source::Serial(serial) => serial::run(serial, &dir, inbox, says, metrics, stopped).await,
                config::Source::Modbus(modbus) => modbus::run(modbus, inbox, says, metrics, stopped).await,
            };
            ended.map_err(|source| GatewayError::Source { name, source })
        });
    }
    (tasks, states)
}

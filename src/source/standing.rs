//! How a source stands: said once a change, to the log of readings, to the status page, to the metrics and to people.

use std::sync::Arc;

use super::{Inbox, Inlet, SourceError, State, StateSender};
use crate::metrics::Metrics;

pub(super) struct Standing {
    pub name: Arc<str>,
    pub inlet: Inlet,
    pub metrics: Arc<Metrics>,
    state: StateSender,
    is_up: bool,
}

impl Standing {
    pub fn new(name: &str, inbox: Inbox, metrics: Arc<Metrics>, state: StateSender) -> Self {
        let name: Arc<str> = name.into();
        Self { inlet: Inlet::new(inbox, name.clone()), name, metrics, state, is_up: false }
    }

    /// Connected, to what `place` names.
    pub fn up(&mut self, place: &str) -> Result<(), SourceError> {
        self.metrics.source_connects.with_label_values(&[&*self.name]).inc();
        tracing::info!(source = &*self.name, place, "connected");
        self.is_up = true;
        self.set(State::Connected);
        Ok(self.inlet.up()?)
    }

    /// Not connected; it will be tried again.
    pub fn down(&mut self, why: String) -> Result<(), SourceError> {
        let before = self.state.borrow().clone();
        match before {
            State::Down { why: before } if before == why => {}
            // It is still the same, only seen from another side.
            State::Down { .. } => tracing::info!(source = &*self.name, why, "still not connected"),
            _ => tracing::warn!(source = &*self.name, why, "not connected; trying again"),
        }
        let state = State::Down { why };
        self.set(state);
        if std::mem::take(&mut self.is_up) {
            self.inlet.down()?;
        }
        Ok(())
    }

    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// Connected, but not to all that should be there; `None`: to all.
    pub fn partly(&self, why: Option<String>) {
        let state = why.map_or(State::Connected, |why| State::Partly { why });
        if *self.state.borrow() == state {
            return;
        }
        if let State::Partly { why } = &state {
            tracing::warn!(source = &*self.name, why, "not all answer");
        } else {
            tracing::info!(source = &*self.name, "all answer");
        }
        self.set(state);
    }

    fn set(&self, state: State) {
        self.metrics.source_connected.with_label_values(&[&*self.name]).set(state.is_connected().into());
        self.state.send_replace(state);
    }
}

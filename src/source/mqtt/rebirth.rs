//! Asking Sparkplug nodes for their births: the one thing a source writes to a broker, and only where it was allowed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Door;
use crate::decode;

/// A node is asked again only after it.
const PAUSE: Duration = Duration::from_mins(1);
/// Nodes that are remembered to have been asked; beyond it no other is.
const NODES: usize = 10_000;

/// When each node was asked last.
#[derive(Default)]
pub(super) struct Rebirths(HashMap<Arc<str>, Instant>);

impl Rebirths {
    fn may_ask(&mut self, topic: &Arc<str>, now: Instant) -> bool {
        if self.0.len() >= NODES {
            self.0.retain(|_, asked| now - *asked < PAUSE);
        }
        match self.0.get(topic) {
            Some(asked) => now - *asked >= PAUSE,
            None => self.0.len() < NODES,
        }
    }
}

impl Door {
    /// Asks the node whose birth would have explained what a decoder rejected.
    pub(super) fn ask_rebirth(&mut self, decoder: usize) {
        let Some(topic) = self.decoders[decoder].take_rebirth() else { return };
        let now = Instant::now();
        if !self.rebirths.may_ask(&topic, now) {
            return;
        }
        let payload = decode::rebirth(self.inlet.arrival().unwrap_or_default());
        // Where the connection has no room the next message asks again.
        if self.client.publish(&topic, payload).is_ok() {
            self.metrics.rebirth_requests.with_label_values(&[&*self.name]).inc();
            tracing::info!(source = &*self.name, topic = &*topic, "asked a node for its birth");
            self.rebirths.0.insert(topic, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_once_a_minute_and_a_flood_of_nodes_is_bounded() {
        let mut rebirths = Rebirths::default();
        let start = Instant::now();
        let node: Arc<str> = "spBv1.0/g/NCMD/n".into();
        assert!(rebirths.may_ask(&node, start));
        rebirths.0.insert(node.clone(), start);
        assert!(!rebirths.may_ask(&node, start + PAUSE / 2));
        assert!(rebirths.may_ask(&node, start + PAUSE));
        for n in 0..NODES {
            rebirths.0.insert(n.to_string().into(), start + PAUSE / 2);
        }
        assert!(!rebirths.may_ask(&"another".into(), start + PAUSE / 2));
        assert!(rebirths.may_ask(&"another".into(), start + 2 * PAUSE));
        assert!(rebirths.0.is_empty(), "what is past is forgotten");
    }
}

//! What nodes and devices said of themselves at their birth: the names and datatypes behind aliases.

use std::collections::HashMap;
use std::sync::Arc;

use super::Address;
use super::proto::Metric;
use crate::decode::{MAX_BORN, MAX_NAME_BYTES};

/// Of one subscription.
#[derive(Default)]
pub(in crate::decode) struct Births {
    /// By group and node.
    nodes: HashMap<String, Node>,
    /// Nodes, devices and metrics that are remembered.
    held: usize,
    /// Where the birth that was missing last is asked for.
    pub(in crate::decode) wanted: Option<Arc<str>>,
}

#[derive(Default)]
struct Node {
    /// Which of its lives this is.
    bd_seq: Option<u64>,
    own: Born,
    devices: HashMap<String, Born>,
}

#[derive(Default)]
pub(super) struct Born {
    by_alias: HashMap<u64, (Arc<str>, Option<u32>)>,
    by_name: HashMap<Arc<str>, Option<u32>>,
}

impl Born {
    fn held(&self) -> usize {
        1 + self.by_alias.len() + self.by_name.len()
    }

    /// Name and datatype of an alias.
    pub(super) fn alias(&self, alias: u64) -> Option<(Arc<str>, Option<u32>)> {
        self.by_alias.get(&alias).cloned()
    }

    pub(super) fn datatype(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied().flatten()
    }
}

impl Node {
    fn held(&self) -> usize {
        1 + self.own.held() + self.devices.values().map(Born::held).sum::<usize>()
    }
}

/// No more is remembered, or nothing with so long a name.
pub(super) struct Full;

impl Births {
    /// A birth begins: what was known of it is forgotten; with a node, its devices.
    pub(super) fn begin(&mut self, address: Address<'_>, bd_seq: Option<u64>) -> Result<(), Full> {
        self.forget(address);
        let is_known = self.nodes.contains_key(&*address.node());
        let longest = address.node().len().max(address.device.map_or(0, str::len));
        if self.held + 3 > MAX_BORN || longest > MAX_NAME_BYTES {
            return Err(Full);
        }
        let node = self.nodes.entry(address.node()).or_default();
        if !is_known {
            self.held += node.held();
        }
        if let Some(device) = address.device {
            node.devices.insert(device.to_owned(), Born::default());
            self.held += 1;
        } else {
            node.bd_seq = bd_seq;
        }
        Ok(())
    }

    /// Remembers a metric of a birth that has begun.
    pub(super) fn learn(&mut self, address: Address<'_>, metric: &Metric) -> Result<(), Full> {
        let Some(name) = &metric.name else { return Ok(()) };
        if self.held + 2 > MAX_BORN || name.len() > MAX_NAME_BYTES {
            return Err(Full);
        }
        let Some(born) = self.born_mut(address) else { return Err(Full) };
        let before = born.held();
        let name: Arc<str> = name.as_str().into();
        if let Some(alias) = metric.alias {
            born.by_alias.insert(alias, (name.clone(), metric.datatype));
        }
        born.by_name.insert(name, metric.datatype);
        self.held += self.of(address).map_or(0, Born::held) - before;
        Ok(())
    }

    pub(super) fn of(&self, address: Address<'_>) -> Option<&Born> {
        let node = self.nodes.get(&*address.node())?;
        address.device.map_or(Some(&node.own), |device| node.devices.get(device))
    }

    fn born_mut(&mut self, address: Address<'_>) -> Option<&mut Born> {
        let node = self.nodes.get_mut(&*address.node())?;
        match address.device {
            Some(device) => node.devices.get_mut(device),
            None => Some(&mut node.own),
        }
    }

    /// Whether a node's death is that of an earlier life: its will came late.
    pub(super) fn is_of_earlier_life(&self, address: Address<'_>, bd_seq: Option<u64>) -> bool {
        let lives = self.nodes.get(&*address.node()).and_then(|node| node.bd_seq);
        matches!((lives, bd_seq), (Some(lives), Some(dead)) if lives != dead)
    }

    /// Forgets a device, or a node with its devices; gives the names of those.
    pub(super) fn forget(&mut self, address: Address<'_>) -> Vec<String> {
        match address.device {
            Some(device) => {
                let node = self.nodes.get_mut(&*address.node());
                let gone = node.and_then(|node| node.devices.remove(device));
                self.held -= gone.map_or(0, |born| born.held());
                Vec::new()
            }
            None => match self.nodes.remove(&*address.node()) {
                Some(node) => {
                    self.held -= node.held();
                    let mut devices: Vec<_> = node.devices.into_keys().collect();
                    devices.sort_unstable();
                    devices
                }
                None => Vec::new(),
            },
        }
    }
}

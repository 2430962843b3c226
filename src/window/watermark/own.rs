//! A watermark for each device, under its own clock.
//!
//! It needs no upkeep: what it is follows from the device's clock and the time passed since it was heard. Only to
//! close windows of a device that has fallen silent, an alarm is set, in the time of its source: first for the end of
//! `idle_timeout`, then for the moment at which the watermark reaches the next window's end.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use super::super::Hash;
use super::super::passing::Passing;
use super::{NEVER, Rule, Told};

const NO_ALARM: i64 = i64::MAX;

#[derive(Debug)]
pub struct Own {
    rule: Rule,
    names: HashMap<Arc<str>, usize, Hash>,
    /// In the order of their first readings; `None` are free places.
    devices: Vec<Option<Device>>,
    free: Vec<usize>,
    /// By source: moments in its time, and devices. Those that are not their device's alarm are void.
    alarms: Vec<BinaryHeap<Reverse<(i64, usize)>>>,
    dirty: Vec<usize>,
    gone: Vec<Arc<str>>,
    /// Whether anyone asks for changes, so that `gone` does not grow for nobody.
    tracked: bool,
    /// No use looking for forgettable devices before this moment.
    forget_at: i64,
}

#[derive(Clone, Debug)]
pub struct Device {
    pub name: Arc<str>,
    pub source: usize,
    /// What its watermark had reached with its last reading.
    pub reached: i64,
    /// When that arrived, in its source's time.
    pub heard: i64,
    alarm: i64,
    dirty: bool,
}

impl Own {
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            names: HashMap::default(),
            devices: Vec::new(),
            free: Vec::new(),
            alarms: Vec::new(),
            dirty: Vec::new(),
            gone: Vec::new(),
            tracked: false,
            forget_at: NEVER,
        }
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_full(&self) -> bool {
        self.names.len() >= self.rule.most
    }

    /// Makes room for a device that was not there.
    pub fn open(&mut self, name: &Arc<str>, source: usize) -> usize {
        let name = name.clone();
        self.put(Device { name, source, reached: NEVER, heard: NEVER, alarm: NO_ALARM, dirty: false })
    }

    fn put(&mut self, device: Device) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.devices.push(None);
            self.devices.len() - 1
        });
        self.names.insert(device.name.clone(), place);
        self.devices[place] = Some(device);
        place
    }

    pub fn watermark(&self, place: usize, passing: &Passing) -> i64 {
        let device = self.device(place);
        if device.reached == NEVER {
            return NEVER;
        }
        let silent = passing.time_of(device.source) - device.heard - self.rule.idle_timeout;
        device.reached.saturating_add(silent.max(0))
    }

    pub fn raise(&mut self, place: usize, to: i64, passing: &Passing) {
        let missing = to.saturating_sub(self.watermark(place, passing));
        if missing > 0 {
            let device = self.devices[place].as_mut().expect("a device's place");
            device.reached = device.reached.saturating_add(missing);
            self.touch(place);
        }
    }

    /// A device tells the time.
    pub fn hear(&mut self, place: usize, source: usize, told: Told, passing: &Passing) {
        let reached = self.watermark(place, passing);
        let now = passing.time_of(source);
        let device = self.devices[place].as_mut().expect("a device's place");
        match told {
            Told::Ahead(_) if reached != NEVER => return,
            // As if it had fallen silent right after a reading of this moment.
            Told::Ahead(arrived) => {
                device.reached = arrived.saturating_sub(self.rule.watermark);
                device.heard = now - self.rule.idle_timeout;
            }
            Told::Time(time) => {
                device.reached = reached.max(time.saturating_sub(self.rule.watermark));
                device.heard = now;
            }
        }
        if device.source != source {
            // What is set in another source's time means nothing now.
            device.alarm = NO_ALARM;
            device.source = source;
        }
        self.touch(place);
    }

    /// Sees to it that the device is looked at no later than when its window that ends at `end` may close.
    pub fn set_alarm(&mut self, place: usize, end: i64, passing: &Passing) {
        let device = self.device(place);
        let silent_at = device.heard.saturating_add(self.rule.idle_timeout);
        let moment = if passing.time_of(device.source) < silent_at {
            silent_at
        } else {
            silent_at.saturating_add(end.saturating_sub(device.reached))
        };
        // A later alarm is set when the one that stands goes off.
        if moment < device.alarm {
            let source = device.source;
            if self.alarms.len() <= source {
                self.alarms.resize_with(source + 1, BinaryHeap::new);
            }
            self.alarms[source].push(Reverse((moment, place)));
            self.devices[place].as_mut().expect("a device's place").alarm = moment;
        }
    }

    /// A device whose alarm has gone off.
    pub fn due(&mut self, passing: &Passing) -> Option<usize> {
        for (source, alarms) in self.alarms.iter_mut().enumerate() {
            let now = passing.time_of(source);
            while let Some(Reverse((moment, place))) = alarms.peek().copied().filter(|alarm| alarm.0.0 <= now) {
                alarms.pop();
                if let Some(device) = &mut self.devices[place]
                    && (device.source, device.alarm) == (source, moment)
                {
                    device.alarm = NO_ALARM;
                    return Some(place);
                }
            }
        }
        None
    }

    /// Makes room by forgetting devices that have been silent, the furthest behind first, and have nothing open.
    ///
    /// Should one come back with readings older than its last, it may open a window anew that it had closed.
    pub fn forget(&mut self, passing: &Passing, is_open: impl Fn(usize) -> bool) {
        if passing.time() < self.forget_at {
            return;
        }
        self.forget_at = passing.time() + self.rule.idle_timeout;
        let silent =
            |device: &Device| passing.time_of(device.source).saturating_sub(device.heard) >= self.rule.idle_timeout;
        let mut idle: Vec<_> = (0..self.devices.len())
            .filter_map(|place| self.devices[place].as_ref().map(|device| (device, place)))
            .filter(|(device, place)| silent(device) && !is_open(*place))
            .map(|(device, place)| (device.reached, device.name.clone(), place))
            .collect();
        idle.sort_unstable();
        for (_, name, place) in idle.into_iter().take(self.rule.most.div_ceil(4)) {
            self.names.remove(&name);
            self.devices[place] = None;
            self.free.push(place);
            if self.tracked {
                self.gone.push(name);
            }
        }
    }

    fn touch(&mut self, place: usize) {
        let device = self.devices[place].as_mut().expect("a device's place");
        if !device.dirty {
            device.dirty = true;
            self.dirty.push(place);
        }
    }

    pub fn device(&self, place: usize) -> &Device {
        self.devices[place].as_ref().expect("a device's place")
    }

    /// All devices with their places.
    pub fn devices(&self) -> impl Iterator<Item = (usize, &Device)> {
        self.devices.iter().enumerate().filter_map(|(place, device)| Some((place, device.as_ref()?)))
    }

    /// Hands out what changed since the last call: names forgotten, then devices.
    pub fn changed(&mut self) -> (Vec<Arc<str>>, Vec<Device>) {
        self.tracked = true;
        let dirty = std::mem::take(&mut self.dirty);
        let changed = dirty.into_iter().filter_map(|place| {
            let device = self.devices[place].as_mut()?;
            // A place that was freed and taken again may stand here twice.
            std::mem::take(&mut device.dirty).then(|| device.clone())
        });
        let changed = changed.collect();
        (std::mem::take(&mut self.gone), changed)
    }

    /// What `idle_timeout` was when the devices that follow were written.
    pub fn restore_rule(&mut self, idle_timeout: i64) {
        self.rule.idle_timeout = idle_timeout;
    }

    pub fn restore(&mut self, name: Arc<str>, source: usize, reached: i64, heard: i64) {
        self.tracked = true;
        let device = Device { name, source, reached, heard, alarm: NO_ALARM, dirty: false };
        match self.find(&device.name) {
            Some(place) => self.devices[place] = Some(device),
            None => drop(self.put(device)),
        }
    }

    /// After the last piece: with more patience than before, no watermark falls.
    pub fn restored(&mut self, idle_timeout: i64, passing: &Passing) {
        if self.rule.idle_timeout != idle_timeout {
            let places = self.devices().map(|(place, _)| (place, self.watermark(place, passing)));
            let before: Vec<_> = places.collect();
            self.rule.idle_timeout = idle_timeout;
            for (place, reached) in before {
                self.raise(place, reached, passing);
            }
        }
    }

    pub fn restore_gone(&mut self, name: &str) {
        if let Some(place) = self.names.remove(name) {
            self.devices[place] = None;
            self.free.push(place);
        }
    }
}

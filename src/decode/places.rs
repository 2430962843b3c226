//! What is known of a topic or a port: its device, its tags, and the series its readings share.
//!
//! Device: the template's level > the payload's field > the device of the port, or the whole topic; an empty one does
//! not count. Places and series are remembered, so that the next message from the same place allocates neither.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::topic::Pattern;
use crate::reading::Series;

pub(super) struct Places {
    source: Arc<str>,
    template: Option<Pattern>,
    /// Of a port; else the whole topic stands in.
    device: Option<Arc<str>>,
    by_origin: HashMap<Arc<str>, usize>,
    known: Vec<Place>,
    /// What all that is remembered takes, roughly.
    held_bytes: usize,
}

struct Place {
    /// The topic, or the port.
    origin: Arc<str>,
    /// From the template.
    named: bool,
    /// Of the device where the payload names none.
    series: Arc<Series>,
    by_device: HashMap<Arc<str>, Arc<Series>>,
    /// By the payload's tags, then by device.
    by_tags: HashMap<Box<str>, HashMap<Arc<str>, Arc<Series>>>,
}

/// A place until the next [`Places::find`].
#[derive(Clone, Copy)]
pub(super) struct PlaceId(usize);

impl Places {
    /// Beyond it all are forgotten and learnt again: some ten thousand topics of usual length, and a bound for
    /// unusual ones.
    const MAX_HELD_BYTES: usize = 4 << 20;

    pub(super) fn new(source: Arc<str>, template: Option<Pattern>, device: Option<Arc<str>>) -> Self {
        Self { source, template, device, by_origin: HashMap::new(), known: Vec::new(), held_bytes: 0 }
    }

    /// The device of a port from now on.
    pub(super) fn set_device(&mut self, device: Arc<str>) {
        if self.device.as_ref() != Some(&device) && !device.is_empty() {
            self.device = Some(device);
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.by_origin.clear();
        self.known.clear();
        self.held_bytes = 0;
    }

    pub(super) fn find(&mut self, origin: &str) -> PlaceId {
        if let Some(&place) = self.by_origin.get(origin) {
            return PlaceId(place);
        }
        if self.held_bytes >= Self::MAX_HELD_BYTES {
            self.forget();
        }
        let place = self.learn(origin);
        // The origin itself, and its levels once more in device and tags.
        self.held_bytes += 2 * origin.len() + 4 * size_of::<Place>();
        self.by_origin.insert(place.origin.clone(), self.known.len());
        self.known.push(place);
        PlaceId(self.known.len() - 1)
    }

    fn learn(&self, origin: &str) -> Place {
        let origin: Arc<str> = origin.into();
        let mut device = None;
        let mut tags = Vec::new();
        let levels = self.template.as_ref().and_then(|template| template.capture(&origin)).unwrap_or_default();
        for (name, level) in levels {
            match &*name {
                "device" => device = (!level.is_empty()).then(|| level.into()),
                _ => tags.push((name, level.into())),
            }
        }
        tags.sort_unstable();
        let named = device.is_some();
        let device = device.or_else(|| self.device.clone()).unwrap_or_else(|| origin.clone());
        let series = Arc::new(Series { source: self.source.clone(), device, tags, window: None });
        Place { origin, named, series, by_device: HashMap::new(), by_tags: HashMap::new() }
    }

    pub(super) fn origin(&self, PlaceId(place): PlaceId) -> &Arc<str> {
        &self.known[place].origin
    }

    /// The series of a reading from there whose payload named this device.
    pub(super) fn series(&mut self, PlaceId(place): PlaceId, device: Option<&str>) -> Arc<Series> {
        let place = &mut self.known[place];
        let Some(device) = device.filter(|_| !place.named) else {
            return place.series.clone();
        };
        if let Some(known) = place.by_device.get(device) {
            return known.clone();
        }
        let series = Arc::new(Series { device: device.into(), ..(*place.series).clone() });
        // Within one message the place has to stay; `find` forgets.
        if self.held_bytes < Self::MAX_HELD_BYTES {
            self.held_bytes += device.len() + 2 * size_of::<Series>();
            place.by_device.insert(series.device.clone(), series.clone());
        }
        series
    }

    /// The same where the payload also named tags, sorted, which `key` tells from all others. The template's tags
    /// outrank them.
    pub(super) fn tagged(
        &mut self,
        id: PlaceId,
        device: Option<&str>,
        key: &str,
        tags: impl FnOnce() -> Vec<(Arc<str>, Arc<str>)>,
    ) -> Arc<Series> {
        let untagged = self.series(id, device);
        let place = &mut self.known[id.0];
        if let Some(known) = place.by_tags.get(key).and_then(|devices| devices.get(&untagged.device)) {
            return known.clone();
        }
        let mut tags = tags();
        tags.retain(|(name, _)| untagged.tags.iter().all(|(other, _)| other != name));
        tags.extend(untagged.tags.iter().cloned());
        tags.sort_unstable();
        let series = Arc::new(Series { tags, ..(*untagged).clone() });
        if self.held_bytes < Self::MAX_HELD_BYTES {
            self.held_bytes += 3 * key.len() + 4 * size_of::<Series>();
            let devices = place.by_tags.entry(key.into()).or_default();
            devices.insert(series.device.clone(), series.clone());
        }
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_series_are_shared_and_bounded() {
        let mut places = Places::new("plant".into(), None, None);
        let here = places.find("a");
        assert!(Arc::ptr_eq(&places.series(here, None), &places.series(here, None)));
        assert!(Arc::ptr_eq(&places.series(here, Some("d")), &places.series(here, Some("d"))));
        for n in 0..50_000 {
            let place = places.find(&n.to_string());
            assert_eq!(&**places.origin(place), n.to_string());
            assert_eq!(&*places.series(place, None).device, n.to_string());
        }
        assert!((1_000..20_000).contains(&places.known.len()), "{}", places.known.len());
        assert_eq!(places.by_origin.len(), places.known.len());
        for n in 0..1_000 {
            places.find(&format!("{n}{}", "/".repeat(60_000)));
        }
        assert!(places.known.len() < 100, "long topics weigh more");
    }

    #[test]
    fn a_flood_of_devices_in_one_place_is_bounded_and_forgotten() {
        let mut places = Places::new("plant".into(), None, None);
        for n in 0..50_000 {
            let place = places.find("a");
            assert_eq!(&*places.series(place, Some(&n.to_string())).device, n.to_string());
        }
        assert!((1_000..30_000).contains(&places.known[0].by_device.len()));
        places.find("b");
        assert_eq!(places.known.len(), 1);
    }
}

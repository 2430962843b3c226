//! What is known of a topic: its device, its tags, and the series its readings share.
//!
//! Device: the template's level > the payload's field > the whole topic; an empty one does not count. Topics and
//! series are remembered, so that the next message from the same place allocates neither.

use std::collections::HashMap;
use std::sync::Arc;

use super::topic::Pattern;
use crate::reading::Series;

pub(super) struct Places {
    source: Arc<str>,
    template: Option<Pattern>,
    known: HashMap<Arc<str>, usize>,
    places: Vec<Place>,
    /// Series remembered in all places.
    series: usize,
}

struct Place {
    topic: Arc<str>,
    /// From the template.
    named: bool,
    /// Of the template's device, or of the whole topic.
    series: Arc<Series>,
    by_device: HashMap<Arc<str>, Arc<Series>>,
}

/// A place until the next [`Places::find`].
#[derive(Clone, Copy)]
pub(super) struct PlaceId(usize);

impl Places {
    /// Topics, and series of devices that payloads name. Beyond it all are forgotten and learnt again.
    const CAPACITY: usize = 4_096;

    pub(super) fn new(source: Arc<str>, template: Option<Pattern>) -> Self {
        Self { source, template, known: HashMap::new(), places: Vec::new(), series: 0 }
    }

    pub(super) fn find(&mut self, topic: &str) -> PlaceId {
        if let Some(&place) = self.known.get(topic) {
            return PlaceId(place);
        }
        if self.places.len() == Self::CAPACITY || self.series >= Self::CAPACITY {
            self.known.clear();
            self.places.clear();
            self.series = 0;
        }
        let place = self.learn(topic);
        self.known.insert(place.topic.clone(), self.places.len());
        self.places.push(place);
        PlaceId(self.places.len() - 1)
    }

    fn learn(&self, topic: &str) -> Place {
        let topic: Arc<str> = topic.into();
        let mut device = None;
        let mut tags = Vec::new();
        let levels = self.template.as_ref().and_then(|template| template.capture(&topic)).unwrap_or_default();
        for (name, level) in levels {
            match &*name {
                "device" => device = (!level.is_empty()).then(|| level.into()),
                _ => tags.push((name, level.into())),
            }
        }
        tags.sort_unstable();
        let named = device.is_some();
        let device = device.unwrap_or_else(|| topic.clone());
        let series = Arc::new(Series { source: self.source.clone(), device, tags, window: None });
        Place { topic, named, series, by_device: HashMap::new() }
    }

    pub(super) fn topic(&self, PlaceId(place): PlaceId) -> &Arc<str> {
        &self.places[place].topic
    }

    /// The series of a reading from there whose payload named this device.
    pub(super) fn series(&mut self, PlaceId(place): PlaceId, device: Option<&str>) -> Arc<Series> {
        let place = &mut self.places[place];
        let Some(device) = device.filter(|_| !place.named) else {
            return place.series.clone();
        };
        if let Some(known) = place.by_device.get(device) {
            return known.clone();
        }
        let series = Arc::new(Series { device: device.into(), ..(*place.series).clone() });
        // Within one message the place has to stay; `find` forgets.
        if self.series < Self::CAPACITY {
            self.series += 1;
            place.by_device.insert(series.device.clone(), series.clone());
        }
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_series_are_shared_and_bounded() {
        let mut places = Places::new("plant".into(), None);
        let here = places.find("a");
        assert!(Arc::ptr_eq(&places.series(here, None), &places.series(here, None)));
        assert!(Arc::ptr_eq(&places.series(here, Some("d")), &places.series(here, Some("d"))));
        for n in 0..3 * Places::CAPACITY {
            let place = places.find(&n.to_string());
            assert_eq!(&**places.topic(place), n.to_string());
            assert_eq!(&*places.series(place, None).device, n.to_string());
        }
        assert!(places.places.len() <= Places::CAPACITY && places.known.len() == places.places.len());
    }

    #[test]
    fn a_flood_of_devices_in_one_place_is_bounded_and_forgotten() {
        let mut places = Places::new("plant".into(), None);
        for n in 0..3 * Places::CAPACITY {
            let place = places.find("a");
            assert_eq!(&*places.series(place, Some(&n.to_string())).device, n.to_string());
        }
        assert!(places.series <= Places::CAPACITY);
        places.find("b");
        assert_eq!((places.places.len(), places.series), (1, 0));
    }
}

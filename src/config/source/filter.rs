//! `[source.filter]`: report by exception.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Filter;
use crate::config::read::{Placed, Section};

const SECOND: Duration = Duration::from_secs(1);
/// A sensor that says nothing new for so long is heard of all the same.
const HEARTBEAT: Duration = Duration::from_mins(5);

pub fn filter(source: &Section<'_>) -> Filter {
    let section = source.section("filter");
    let list = |key| section.texts(key).map(|list| list.value.into_iter().map(|text| text.value).collect::<Vec<_>>());
    if let (Some(_), Some(drop)) = (section.texts("keep"), section.texts("drop")) {
        let what = "`source.filter.drop` beside `keep`";
        section.fault(&drop.at, what, "keep one of them: what `keep` does not name is dropped");
    }
    let filter = Filter {
        keep: list("keep"),
        drop: list("drop").unwrap_or_default(),
        rename: rename(&section.section("rename")),
        on_change: list("on_change").unwrap_or_default(),
        deadband: deadband(&section.section("deadband")),
        heartbeat: section.duration("heartbeat", SECOND..=366 * 24 * 3600 * SECOND, HEARTBEAT),
    };
    for Placed { at, value } in section.texts("on_change").into_iter().flat_map(|list| list.value) {
        if filter.deadband.iter().any(|(name, _)| *name == value) {
            section.fault(&at, format!("\"{value}\" has a deadband too"), "keep one of them");
        }
    }
    section.finish();
    filter
}

fn rename(section: &Section<'_>) -> Vec<(String, String)> {
    let mut taken = BTreeSet::new();
    let names = section.texts_by_name();
    for (old, new) in &names {
        if !taken.insert(new) {
            let what = format!("two fields are renamed to \"{new}\", the second is \"{}\"", old.value);
            section.fault(&old.at, what, "give each a name of its own");
        }
    }
    names.iter().map(|(old, new)| (old.value.clone(), new.clone())).collect()
}

fn deadband(section: &Section<'_>) -> Vec<(String, f64)> {
    let bands = section.numbers_by_name();
    for (name, band) in bands.iter().filter(|(_, band)| *band < 0.0) {
        let what = format!("the deadband of \"{}\" is {band}", name.value);
        section.fault(&name.at, what, "write 0 for every change, or how far a value may move unreported");
    }
    bands.into_iter().map(|(name, band)| (name.value, band)).collect()
}

//! Topic filters as MQTT defines them (MQTT 5.0, section 4.7) and templates that give names to levels.
//!
//! ```text
//! filter    sensors/+/telemetry          $share/group/sensors/#
//! template  sensors/{device}/telemetry   {site}/+/{device}/#
//! ```
//!
//! A name takes one whole level. `#` stands last and also takes the level above it; neither `#` nor `+` nor a
//! name in the first place takes a topic that begins with `$`.

use std::sync::Arc;

/// A filter, or a template: a filter with names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    levels: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Exactly(Box<str>),
    /// `+`
    Any,
    /// `{name}`
    Named(Arc<str>),
    /// `#`
    Rest,
}

/// What is wrong with a filter or a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("{0:?} is empty; `#` takes every topic")]
    Empty(String),
    #[error("{0:?} lacks its filter; write $share/GROUP/FILTER")]
    Share(String),
    #[error("the group of {0:?} holds a wildcard; write $share/GROUP/FILTER with a plain name")]
    Group(String),
    #[error("{0:?} holds a zero character, or is longer than 65535 bytes; no broker takes that")]
    NoTopic(String),
    #[error("`#` in {0:?} has to be the whole last level")]
    Rest(String),
    #[error("`+` in {0:?} has to be a whole level")]
    Any(String),
    #[error("level {level:?} of {template:?}: a name takes a whole level, as {{device}} does, and is not empty")]
    Name { template: String, level: String },
    #[error("{{{name}}} stands twice in {template:?}; give each level a name of its own")]
    Twice { template: String, name: String },
    #[error("no topic of the filter {filter:?} fits the template {template:?}; they have to agree level by level")]
    Never { filter: String, template: String },
}

impl Pattern {
    /// Reads a filter as it is sent to the broker; `$share/GROUP/` is taken off.
    pub fn filter(text: &str) -> Result<Self, TemplateError> {
        if text.contains('\0') || text.len() > 65_535 {
            return Err(TemplateError::NoTopic(text.chars().take(64).collect()));
        }
        let filter = match text.strip_prefix("$share/") {
            Some(shared) => match shared.split_once('/') {
                Some((group, _)) if group.contains(['#', '+']) => return Err(TemplateError::Group(text.to_owned())),
                Some((group, filter)) if !group.is_empty() && !filter.is_empty() => filter,
                _ => return Err(TemplateError::Share(text.to_owned())),
            },
            None => text,
        };
        Self::read(filter, |level| Ok(Level::Exactly(level.into())))
    }

    /// Reads a template: `{device}` sets the device, every other name becomes a tag.
    pub fn template(text: &str) -> Result<Self, TemplateError> {
        let mut names: Vec<Arc<str>> = Vec::new();
        Self::read(text, |level| {
            if !level.contains(['{', '}']) {
                return Ok(Level::Exactly(level.into()));
            }
            let name = level.strip_prefix('{').and_then(|level| level.strip_suffix('}')).unwrap_or_default();
            if name.is_empty() || name.contains(['{', '}']) {
                return Err(TemplateError::Name { template: text.to_owned(), level: level.to_owned() });
            }
            if names.iter().any(|known| **known == *name) {
                return Err(TemplateError::Twice { template: text.to_owned(), name: name.to_owned() });
            }
            names.push(name.into());
            Ok(Level::Named(name.into()))
        })
    }

    fn read(text: &str, mut other: impl FnMut(&str) -> Result<Level, TemplateError>) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty(text.to_owned()));
        }
        let count = text.split('/').count();
        let levels = text.split('/').enumerate().map(|(place, level)| match level {
            "+" => Ok(Level::Any),
            "#" if place + 1 == count => Ok(Level::Rest),
            _ if level.contains('#') => Err(TemplateError::Rest(text.to_owned())),
            _ if level.contains('+') => Err(TemplateError::Any(text.to_owned())),
            _ => other(level),
        });
        Ok(Self { levels: levels.collect::<Result<_, _>>()? })
    }

    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        self.walk(topic, |_, _| ())
    }

    /// The named levels of a topic in the template's order; `None` where it does not fit.
    pub(super) fn capture<'t>(&self, topic: &'t str) -> Option<Vec<(Arc<str>, &'t str)>> {
        let mut named = Vec::new();
        self.walk(topic, |name, level| named.push((name.clone(), level))).then_some(named)
    }

    fn walk<'t>(&self, topic: &'t str, mut named: impl FnMut(&Arc<str>, &'t str)) -> bool {
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Exactly(_))) {
            return false;
        }
        let mut topic = topic.split('/');
        for level in &self.levels {
            if *level == Level::Rest {
                return true;
            }
            let Some(text) = topic.next() else { return false };
            match level {
                Level::Exactly(exactly) if **exactly != *text => return false,
                Level::Named(name) => named(name, text),
                _ => {}
            }
        }
        topic.next().is_none()
    }

    /// Whether some topic fits both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let mut ours = self.levels.iter();
        let mut theirs = other.levels.iter();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) | (Some(Level::Rest), _) | (_, Some(Level::Rest)) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(Level::Exactly(a)), Some(Level::Exactly(b))) if a != b => return false,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_what_the_standard_says() {
        // The examples of MQTT 5.0, section 4.7, and the rules beside them.
        let table = [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/tennis/player1/#", "sport/tennis/player2", false),
            ("sport/#", "sport", true),
            ("#", "sport/tennis", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/broker/clients", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/broker/clients", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("a/b", "a/b", true),
            ("a/b", "A/b", false),
            ("a/b", "a/b/", false),
            ("$share/group/a/+", "a/b", true),
            ("$share/group/a/+", "$share/group/a/b", false),
            ("$share/group/#", "$SYS/x", false),
            ("$share/group//x", "/x", true),
        ];
        for (filter, topic, expected) in table {
            assert_eq!(Pattern::filter(filter).unwrap().matches(topic), expected, "{filter} on {topic}");
        }
    }

    #[test]
    fn filters_that_no_broker_takes_are_named() {
        for text in ["a/#/b", "a#", "a/b#"] {
            assert_eq!(Pattern::filter(text), Err(TemplateError::Rest(text.into())));
        }
        for text in ["a+/b", "a/+b"] {
            assert_eq!(Pattern::filter(text), Err(TemplateError::Any(text.into())));
        }
        for text in ["$share/", "$share/group", "$share/group/", "$share//a"] {
            assert_eq!(Pattern::filter(text), Err(TemplateError::Share(text.into())));
        }
        assert_eq!(Pattern::filter(""), Err(TemplateError::Empty(String::new())));
        assert_eq!(Pattern::filter("$share/g+/a"), Err(TemplateError::Group("$share/g+/a".into())));
        assert!(matches!(Pattern::filter("a\0b"), Err(TemplateError::NoTopic(_))));
        assert!(matches!(Pattern::filter(&"a".repeat(65_536)), Err(TemplateError::NoTopic(_))));
    }

    #[test]
    fn a_template_names_whole_levels() {
        let template = Pattern::template("{site}/+/{device}/#").unwrap();
        let named = template.capture("berlin/hall/boiler/a/b").unwrap();
        assert_eq!(named, [("site".into(), "berlin"), ("device".into(), "boiler")]);
        assert_eq!(template.capture("berlin/hall"), None);
        assert_eq!(template.capture("$SYS/hall/boiler"), None);
        // A filter has no names: braces are ordinary characters in a topic.
        assert!(Pattern::filter("a/{b}").unwrap().matches("a/{b}"));
    }

    #[test]
    fn templates_that_cannot_be_meant_are_named() {
        for level in ["{}", "{a", "a}", "dev-{id}", "{a}{b}", "{{a}}"] {
            let template = format!("x/{level}");
            let expected = TemplateError::Name { template: template.clone(), level: level.into() };
            assert_eq!(Pattern::template(&template), Err(expected));
        }
        let twice = TemplateError::Twice { template: "{a}/{a}".into(), name: "a".into() };
        assert_eq!(Pattern::template("{a}/{a}"), Err(twice));
    }

    #[test]
    fn a_filter_and_a_template_meet_where_one_topic_can_fit_both() {
        let table = [
            ("sensors/+/telemetry", "sensors/{device}/telemetry", true),
            ("sensors/#", "sensors/{device}/telemetry", true),
            ("sensors/#", "sensors", true),
            ("+/+", "{a}/{b}/{c}", false),
            ("a/b/c", "{a}/{b}", false),
            ("sensors/+/telemetry", "sensor/{device}/telemetry", false),
            ("sensors/+/state", "sensors/{device}/#", true),
        ];
        for (filter, template, expected) in table {
            let meets = Pattern::filter(filter).unwrap().meets(&Pattern::template(template).unwrap());
            assert_eq!(meets, expected, "{filter} and {template}");
        }
    }
}

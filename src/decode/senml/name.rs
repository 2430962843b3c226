//! The resolved name of a record to a device and a field.
//!
//! | name | device | field |
//! | --- | --- | --- |
//! | `urn:dev:ow:10e2073a01080063:temp` | `urn:dev:ow:10e2073a01080063` | `temp` |
//! | `urn:dev:ow:10e2073a01080063` | all of it | |
//! | `2001:db8::2/room/temp` | `2001:db8::2/room` | `temp` |
//! | `boiler:temp` | `boiler` | `temp` |
//! | `2001:db8::2` | all of it | |
//! | `temp` | | `temp` |
//!
//! A device URN (RFC 9039) is as long as its identifier, up to the next `:`, `/` or `_`; any other URN has three
//! parts. What is no URN is cut at its last `/`, else at its last `:`; an IPv6 address has only what is behind a `/`.
//!
//! Without a device the record is of the place it came from; without a field, the field is called by its unit, else
//! `value`, as the standard's own example has position and humidity under one name.

use core::net::Ipv6Addr;

pub(super) fn split(name: &str) -> (Option<&str>, &str) {
    let (device, field) = match urn(name) {
        Some(end) => (&name[..end], name.get(end + 1..).unwrap_or_default()),
        None => match name.rsplit_once('/') {
            Some(parts) => parts,
            None if name.parse::<Ipv6Addr>().is_ok() => (name, ""),
            None => name.rsplit_once(':').unwrap_or(("", name)),
        },
    };
    ((!device.is_empty()).then_some(device), field)
}

/// Where the device's part of a URN ends.
fn urn(name: &str) -> Option<usize> {
    let rest = name.strip_prefix("urn:")?;
    let is_device = rest.starts_with("dev:");
    let colons = if is_device { 3 } else { 2 };
    let body = name.match_indices(':').nth(colons - 1)?.0 + 1;
    let end = if is_device { name[body..].find([':', '/', '_']) } else { name[body..].find([':', '/']) };
    Some(end.map_or(name.len(), |end| body + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_as_the_table_says() {
        let table = [
            ("urn:dev:ow:10e2073a01080063:temp", Some("urn:dev:ow:10e2073a01080063"), "temp"),
            ("urn:dev:ow:10e2073a01080063/engine/temp", Some("urn:dev:ow:10e2073a01080063"), "engine/temp"),
            ("urn:dev:ow:264437f5000000ed_humidity", Some("urn:dev:ow:264437f5000000ed"), "humidity"),
            ("urn:dev:os:32473-123456_temp", Some("urn:dev:os:32473-123456"), "temp"),
            ("urn:dev:ow:10e2073a01080063", Some("urn:dev:ow:10e2073a01080063"), ""),
            ("urn:dev:ow:10e2073a01080063:", Some("urn:dev:ow:10e2073a01080063"), ""),
            ("urn:uuid:6e8bc430/temp", Some("urn:uuid:6e8bc430"), "temp"),
            ("urn:dev:ow", Some("urn:dev"), "ow"),
            ("urn:dev:", Some("urn:dev"), ""),
            ("urn:", Some("urn"), ""),
            ("2001:db8::2/temperature", Some("2001:db8::2"), "temperature"),
            ("2001:db8::2/3306/0/5850", Some("2001:db8::2/3306/0"), "5850"),
            ("2001:db8::3", Some("2001:db8::3"), ""),
            ("boiler:temp", Some("boiler"), "temp"),
            ("temp", None, "temp"),
            ("/temp", None, "temp"),
            (":", None, ""),
            ("", None, ""),
        ];
        for (name, device, field) in table {
            assert_eq!(split(name), (device, field), "{name}");
        }
    }
}

//! How a payload is to be read.

/// How the bytes of a payload become fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    pub format: Format,
    /// The field that names the device; taken out of the fields.
    pub device_field: Option<String>,
    /// The field that holds the event time; taken out of the fields.
    pub time: Option<String>,
    /// `None`: told apart by size.
    pub time_unit: Option<TimeUnit>,
    /// The cells of a CSV line; one without a name is not read. Empty in other formats.
    pub columns: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    Cbor,
    SenmlJson,
    SenmlCbor,
    Influx,
    Sparkplug,
    Csv,
    Raw,
}

impl Format {
    /// Whether white space counts.
    #[must_use]
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Cbor | Self::SenmlCbor | Self::Sparkplug)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

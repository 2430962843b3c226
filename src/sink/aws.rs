//! What every client of AWS starts from: the region that is named, the newest behaviour, and HTTPS by rustls on ring with
//! the machine's own roots.

use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_kinesis::config::SharedHttpClient;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

/// Credentials are looked for where AWS' own tools look for them.
#[must_use]
pub fn defaults(region: &str) -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest()).region(Region::new(region.to_owned())).http_client(https())
}

/// The SDK has none by itself.
#[must_use]
pub fn https() -> SharedHttpClient {
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

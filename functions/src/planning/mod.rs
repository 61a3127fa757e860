//! What `plan` and `claim` share: requests, the cache documents, and what they resolve to.

pub mod documents;
pub mod request;
pub mod resolve;

use frontload_domain::{Cache, CacheName, Error, Result};

use crate::settings::Settings;

/// Parses a cache document and checks it against the account and region of Frontload.
pub fn read_cache(settings: &Settings, name: CacheName, document: &str) -> Result<Cache> {
    let parameter = settings.prefix.cache(&name);
    Cache::parse(name, document)
        .and_then(|cache| cache.for_home(&settings.home.account, &settings.home.region))
        .map_err(|invalid| Error::InvalidCache { parameter, problem: invalid.to_string() })
}

//! The cache documents under `examples/caches`, read as a deployed stack reads them.

use std::fs;
use std::path::Path;

use crate::{AccountId, Cache, CacheName, RegionName};

#[test]
fn every_example_of_a_cache_document_is_accepted() {
    // The account and region that `examples/README.md` names.
    let account: AccountId = "123456789012".parse().unwrap();
    let home: RegionName = "eu-west-1".parse().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/caches");
    let files: Vec<_> = fs::read_dir(folder).unwrap().collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let path = file.unwrap().path();
        let name: CacheName = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let cache = Cache::parse(name, &fs::read_to_string(&path).unwrap());
        let settled = cache.and_then(|cache| cache.for_home(&account, &home));
        assert!(settled.is_ok(), "{}: {settled:?}", path.display());
    }
}

//! The tags that a step uses to find the resources of its earlier calls.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use frontload_domain::tags::{ARCHITECTURE, BUILD, CACHE, EXECUTION, STACK};
use frontload_domain::{Build, BuildId};

/// Selects the resources of one build of one stack.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The name of the deployed stack.
    pub stack: &'a str,
    /// The build.
    pub build: &'a BuildId,
}

impl Owner<'_> {
    /// `Describe…` filters that find exactly this owner's resources.
    #[must_use]
    pub fn filters(&self) -> Vec<Filter> {
        vec![filter(STACK, self.stack), filter(BUILD, self.build.as_str())]
    }
}

/// The `Describe…` filter for resources with this value of one of our tags.
#[must_use]
pub fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(format!("tag:{name}")).values(value).build()
}

/// EC2's tags as a map from key to value.
#[must_use]
pub fn read(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()));
    tags.iter().filter_map(pair).collect()
}

/// The tags for the resources of one type that `build` creates.
#[must_use]
pub fn specification(stack: &str, build: &Build, resource: ResourceType) -> TagSpecification {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let execution = build.execution.as_ref().map(|arn| tag(EXECUTION, arn.as_str()));
    let tags = [
        tag("Name", &format!("frontload {}", build.id)),
        tag(STACK, stack),
        tag(BUILD, build.id.as_str()),
        tag(CACHE, build.cache.as_str()),
        tag(ARCHITECTURE, build.architecture.as_str()),
    ];
    TagSpecification::builder()
        .resource_type(resource)
        .set_tags(Some(tags.into_iter().chain(execution).collect()))
        .build()
}

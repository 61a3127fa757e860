//! The tags by which a step finds what an earlier call of it made.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use crate::domain::{Build, BuildId};

/// The stack that owns a resource: nothing else is ever touched.
pub const STACK: &str = "frontload:stack";
/// The build that made a resource.
pub const BUILD: &str = "frontload:build";
/// Its cache.
pub const CACHE: &str = "frontload:cache";
/// Its architecture.
pub const ARCHITECTURE: &str = "frontload:architecture";

/// The execution that made a resource: when it is over, what it did not publish goes.
pub const EXECUTION: &str = "frontload:execution";

/// On a home region's snapshot: it was published. Whether it is needed still is for
/// pruning to say.
pub const PUBLISHED: &str = "frontload:published";

/// The snapshot that a replica was copied from.
pub const SOURCE: &str = "frontload:source";

/// Whose resources are meant: those of one build of one stack.
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

/// The `Describe…` filter that finds what carries a tag of ours with this value.
#[must_use]
pub fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(format!("tag:{name}")).values(value).build()
}

/// Tags as EC2 tells them, by key.
#[must_use]
pub fn read(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned()));
    tags.iter().filter_map(pair).collect()
}

/// The tags of what `build` creates, for one type of resource.
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

//! The tags by which a step finds what an earlier call of it made.

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
        let filter = |name: &str, value: &str| {
            Filter::builder().name(format!("tag:{name}")).values(value).build()
        };
        vec![filter(STACK, self.stack), filter(BUILD, self.build.as_str())]
    }
}

/// The tags of what `build` creates, for one type of resource.
#[must_use]
pub fn specification(stack: &str, build: &Build, resource: ResourceType) -> TagSpecification {
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    TagSpecification::builder()
        .resource_type(resource)
        .tags(tag("Name", &format!("frontload {}", build.id)))
        .tags(tag(STACK, stack))
        .tags(tag(BUILD, build.id.as_str()))
        .tags(tag(CACHE, build.cache.as_str()))
        .tags(tag(ARCHITECTURE, build.architecture.as_str()))
        .build()
}

//! The keys of the tags that Frontload sets on its resources. A step finds the resources of its
//! earlier calls by them.

/// The stack that owns a resource. Resources of no or another stack are never touched.
pub const STACK: &str = "frontload:stack";
/// The build that made a resource.
pub const BUILD: &str = "frontload:build";
/// Its cache.
pub const CACHE: &str = "frontload:cache";
/// Its architecture.
pub const ARCHITECTURE: &str = "frontload:architecture";

/// The execution that made a resource. Once it has ended, its unpublished resources are deleted.
pub const EXECUTION: &str = "frontload:execution";

/// On a home region's snapshot: it was published. Pruning decides whether it is still
/// needed.
pub const PUBLISHED: &str = "frontload:published";

/// The snapshot that a replica was copied from.
pub const SOURCE: &str = "frontload:source";

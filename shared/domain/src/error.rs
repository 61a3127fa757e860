//! The steps' errors and their names.
//!
//! The names are a contract with the state machines: a Lambda reports the name as `errorType`, and
//! `ErrorEquals` and users' alarms match it. A message says where the error occurred, what
//! happened, and what to do. It never repeats its source.

use thiserror::Error as ThisError;

use crate::BuildId;

/// A result with Frontload's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A failed AWS call. Its source says why.
#[derive(Debug, ThisError)]
#[error("{operation} of {resource} in {region}")]
pub struct AwsCall {
    /// The operation, such as `ec2:RunInstances`.
    pub operation: &'static str,
    /// The resource, such as `parameter /frontload/caches/default`.
    pub resource: String,
    /// The region of the call.
    pub region: String,
    /// AWS's answer.
    #[source]
    pub answer: AwsAnswer,
}

/// What AWS said about a failed call, as one line: it may repeat text that others wrote. The SDK's
/// own error repeats that text as it is, and goes no further than the crate that made the call.
#[derive(Debug, ThisError)]
#[error("{}{message}", code.as_ref().map_or_else(String::new, |code| format!("{code}: ")))]
pub struct AwsAnswer {
    /// AWS's error code; `None` if no answer arrived, or an incomplete one.
    pub code: Option<String>,
    /// AWS's message, or what is wrong with the answer.
    pub message: String,
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It is temporary; the state machine calls the step again.
    Transient,
    /// EC2 has no capacity, or reclaimed the instance.
    Capacity,
    /// The request cannot succeed until somebody changes something.
    Refused,
    /// The result is wrong and is not used; a new build may succeed.
    Broken,
    /// It took longer than its limit.
    TimedOut,
}

impl Class {
    /// The class as the log shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Capacity => "capacity",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::TimedOut => "timed out",
        }
    }
}

/// The errors that can end a step.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The execution's input is not valid.
    #[error("the request is refused: {0}")]
    InvalidRequest(String),
    /// A cache document is missing or breaks a rule.
    #[error("parameter {parameter} is refused: {problem}")]
    InvalidCache {
        /// The parameter's full name.
        parameter: String,
        /// Field path, what is wrong, and what would be correct.
        problem: String,
    },
    /// The image does not exist.
    #[error("image {image} was not found: {reason}; push it, or correct the cache document")]
    ImageNotFound {
        /// The reference.
        image: String,
        /// Which registry was asked, or containerd's message.
        reason: String,
    },
    /// The image exists, but not for this architecture.
    #[error(
        "image {image} does not exist for the architecture: {reason}; push it for that platform, or remove the architecture from the cache"
    )]
    PlatformMissing {
        /// The reference.
        image: String,
        /// Which platforms exist.
        reason: String,
    },
    /// The public parameter of the Bottlerocket variant does not exist.
    #[error(
        "no Bottlerocket image exists under {parameter} in {region}; check the cache's variant"
    )]
    OsImageNotFound {
        /// The public parameter.
        parameter: String,
        /// The region that was queried.
        region: String,
    },
    /// The Bottlerocket release cannot build the cache.
    #[error("Bottlerocket {version} cannot build cache {cache}: {reason}")]
    OsImageRefused {
        /// The cache.
        cache: String,
        /// The release.
        version: String,
        /// Why, and which release would work.
        reason: String,
    },
    /// AWS did not respond, or asked for a later retry.
    #[error("AWS is unavailable")]
    AwsUnavailable(#[source] AwsCall),
    /// Our role lacks a permission.
    #[error("AWS denied the call; allow the function's role this action")]
    AwsDenied(#[source] AwsCall),
    /// AWS returned an error that no retry fixes.
    #[error("AWS rejected the call")]
    AwsRejected(#[source] AwsCall),
    /// Another build of the same cache and architecture did not end in time.
    #[error(
        "build {build} waited {seconds} s for {holder}, which holds the lease of its cache and architecture; stop that execution, or start the build again later; timeLimits.claimSeconds limits the wait"
    )]
    BuildInProgress {
        /// The waiting build.
        build: BuildId,
        /// The execution that holds the lease.
        holder: String,
        /// How many seconds the build waited.
        seconds: u64,
    },
    /// A later build took over the cache and architecture; this build's result is older.
    #[error(
        "build {build} may not publish: {reason}; nothing was changed, and you need not do anything"
    )]
    LeaseLost {
        /// The build.
        build: BuildId,
        /// Which build came later.
        reason: String,
    },
    /// No instance could be launched.
    #[error("build {build} could not launch a builder: {reason}")]
    LaunchRefused {
        /// The build.
        build: BuildId,
        /// EC2's message for each instance type and subnet tried.
        reason: String,
    },
    /// EC2 interrupted a Spot builder before it finished. The state machine starts the build again
    /// with another builder, once.
    #[error(
        "Spot builder {instance} of build {build} was interrupted: {reason}; remove builder.spot from the cache if this happens often"
    )]
    BuilderInterrupted {
        /// The build.
        build: BuildId,
        /// The instance id.
        instance: String,
        /// EC2's state reason.
        reason: String,
    },
    /// The builder was lost before it finished.
    #[error("builder {instance} of build {build} was lost: {reason}; start the build again")]
    BuilderLost {
        /// The build.
        build: BuildId,
        /// The instance id, or `none`.
        instance: String,
        /// EC2's state reason.
        reason: String,
    },
    /// The builder did not come online.
    #[error(
        "the builder of build {build} did not answer within {seconds} s: {progress}; check that its subnet reaches SSM, EC2 and ECR (NAT, endpoints, or builder.publicIp), that its role may pull bottlerocket-control and bottlerocket-admin from Bottlerocket's account of the region (the stack's builder role may, unless a permissions boundary or service control policy forbids it), or raise timeLimits.launchSeconds"
    )]
    LaunchTimedOut {
        /// The build.
        build: BuildId,
        /// The limit in seconds.
        seconds: u64,
        /// How far it got.
        progress: String,
    },
    /// The builder has no permission to pull the image.
    #[error(
        "build {build} may not pull {image}: {reason}; let the builder's role read that repository"
    )]
    RegistryDenied {
        /// The build.
        build: BuildId,
        /// The reference.
        image: String,
        /// The message of the registry or token service.
        reason: String,
    },
    /// The registry returned an error or did not respond.
    #[error(
        "build {build} could not pull {image}: {reason}; start the build again when the registry works"
    )]
    RegistryFailed {
        /// The build.
        build: BuildId,
        /// The reference.
        image: String,
        /// containerd's message.
        reason: String,
    },
    /// The image's content differs from the plan.
    #[error(
        "build {build} pulled content of {image} that differs from the plan: {reason}; push the image again"
    )]
    DigestMismatch {
        /// The build.
        build: BuildId,
        /// The reference.
        image: String,
        /// Both digests.
        reason: String,
    },
    /// The image is not complete on the builder's volume.
    #[error("image {image} is not complete on the volume of build {build}: {reason}")]
    ImageIncomplete {
        /// The build.
        build: BuildId,
        /// The reference.
        image: String,
        /// Which check failed.
        reason: String,
    },
    /// The data volume is too small.
    #[error(
        "the {volume_gib} GiB volume of build {build} is full at {image}: {reason}; set \
         builder.volumeGib to at least {needed_gib}"
    )]
    VolumeFull {
        /// The build.
        build: BuildId,
        /// The reference.
        image: String,
        /// containerd's message.
        reason: String,
        /// The volume's size in GiB.
        volume_gib: u16,
        /// The size in GiB that is enough.
        needed_gib: u16,
    },
    /// The volume was not flushed; a snapshot of it would contain empty files.
    #[error("the volume of build {build} was not flushed, so no snapshot was created: {reason}")]
    FlushFailed {
        /// The build.
        build: BuildId,
        /// Why.
        reason: String,
    },
    /// The builder's script did not find containerd's content store, or found it empty.
    #[error(
        "build {build} created no snapshot, because its builder has no images in containerd's content store: {reason}; report this as a defect of Frontload, with the Bottlerocket version"
    )]
    StoreMissing {
        /// The build.
        build: BuildId,
        /// What is missing.
        reason: String,
    },
    /// The builder's script failed for another reason.
    #[error("the builder of build {build} failed: {reason}")]
    BuilderFailed {
        /// The build.
        build: BuildId,
        /// Status and last output.
        reason: String,
    },
    /// The script did not end in time.
    #[error(
        "build {build} did not pull its images in time: {reason}; raise timeLimits.pullSeconds or use a larger instance type"
    )]
    PullTimedOut {
        /// The build.
        build: BuildId,
        /// How far it got.
        reason: String,
    },
    /// The builder did not shut down in time. Its volume may still contain what an orderly shutdown
    /// removes, and lack what it writes.
    #[error(
        "builder {instance} of build {build} did not shut down within {limit} s: {progress}; its volume is discarded; start the build again"
    )]
    EndTimedOut {
        /// The build.
        build: BuildId,
        /// The instance id.
        instance: String,
        /// The limit in seconds.
        limit: u32,
        /// How far it got.
        progress: String,
    },
    /// The snapshot ended in `error`.
    #[error("snapshot {snapshot} of build {build} in {region} ended in error: {reason}")]
    SnapshotFailed {
        /// The build.
        build: BuildId,
        /// The snapshot id.
        snapshot: String,
        /// The snapshot's region.
        region: String,
        /// EC2's state message.
        reason: String,
    },
    /// The snapshot was not completed in time.
    #[error(
        "the snapshot of build {build} was not completed within {seconds} s: {progress}; raise timeLimits.snapshotSeconds"
    )]
    SnapshotTimedOut {
        /// The build.
        build: BuildId,
        /// The limit in seconds.
        seconds: u64,
        /// How far it got.
        progress: String,
    },
    /// A region, key, zone or consumer would make the build fail at its end.
    #[error("build {build} was not started: {reason}")]
    PreflightRefused {
        /// The build.
        build: BuildId,
        /// Region, key or consumer, what is wrong, and the remedy.
        reason: String,
    },
    /// A copy ended in `error`. EC2 reports a KMS key that denies access this way.
    #[error(
        "replica {snapshot} of build {build} in {region} ended in error: {reason}; let Frontload's role use the keys of both regions"
    )]
    ReplicaFailed {
        /// The build.
        build: BuildId,
        /// The replica's id.
        snapshot: String,
        /// The replica's region.
        region: String,
        /// EC2's state message.
        reason: String,
    },
    /// A replica was not ready in time.
    #[error(
        "the replica of build {build} in {region} was not ready within {seconds} s: {progress}; raise timeLimits.replicateSeconds"
    )]
    ReplicateTimedOut {
        /// The build.
        build: BuildId,
        /// The region.
        region: String,
        /// The limit in seconds.
        seconds: u64,
        /// How far it got.
        progress: String,
    },
    /// There is no previous publication to roll back to.
    #[error(
        "cache {cache} for {architecture} cannot be rolled back: {reason}; nothing was changed"
    )]
    NothingToRollBack {
        /// The cache.
        cache: String,
        /// The architecture.
        architecture: String,
        /// What is missing, and where.
        reason: String,
    },
    /// Fast snapshot restore of the previous snapshots was not ready in time.
    #[error(
        "rollback of cache {cache} waited {seconds} s: {progress}; the published snapshot is unchanged; start the rollback again"
    )]
    RollbackTimedOut {
        /// The cache and its architecture.
        cache: String,
        /// The limit in seconds.
        seconds: u64,
        /// How far it got.
        progress: String,
    },
    /// The cache has no document, which says where its snapshots are.
    #[error("cache {cache} was not pruned: {reason}; nothing was deleted")]
    PruneRefused {
        /// The cache.
        cache: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The snapshot must not be published.
    #[error("build {build} was not published: {reason}")]
    PublishRefused {
        /// The build.
        build: BuildId,
        /// Which part of S1 it breaks.
        reason: String,
    },
    /// Writing the parameters failed; the values already written are restored.
    #[error("publication of build {build} failed at {parameter}; {}", state_of(left))]
    PublishFailed {
        /// The build.
        build: BuildId,
        /// The parameter that could not be written.
        parameter: String,
        /// Why.
        source: Box<Error>,
        /// The parameters that could not be restored, one message each.
        left: Vec<String>,
    },
    /// The clean-up did not finish in time.
    #[error(
        "clean-up of build {build} did not end within {seconds} s: {progress}; the reaper continues; if the next cycles do not finish it, terminate the instance and delete the volumes with the tag frontload:build={build}, but no snapshot that a parameter names"
    )]
    CleanUpTimedOut {
        /// The build.
        build: BuildId,
        /// The limit in seconds.
        seconds: u64,
        /// What is left.
        progress: String,
    },
}

fn state_of(left: &[String]) -> String {
    if left.is_empty() {
        return "all parameters were restored".to_owned();
    }
    format!("some parameters were not restored: {}", left.join("; "))
}

impl Error {
    /// The only table of names and classes.
    fn name_and_class(&self) -> (&'static str, Class) {
        match self {
            Self::InvalidRequest(_) => ("InvalidRequest", Class::Refused),
            Self::InvalidCache { .. } => ("InvalidCache", Class::Refused),
            Self::ImageNotFound { .. } => ("ImageNotFound", Class::Refused),
            Self::PlatformMissing { .. } => ("PlatformMissing", Class::Refused),
            Self::OsImageNotFound { .. } => ("OsImageNotFound", Class::Refused),
            Self::OsImageRefused { .. } => ("OsImageRefused", Class::Refused),
            Self::AwsUnavailable(_) => ("AwsUnavailable", Class::Transient),
            Self::AwsDenied(_) => ("AwsDenied", Class::Refused),
            Self::AwsRejected(_) => ("AwsRejected", Class::Refused),
            Self::BuildInProgress { .. } => ("BuildInProgress", Class::TimedOut),
            Self::LeaseLost { .. } => ("LeaseLost", Class::Refused),
            Self::LaunchRefused { .. } => ("LaunchRefused", Class::Capacity),
            Self::BuilderInterrupted { .. } => ("BuilderInterrupted", Class::Capacity),
            Self::BuilderLost { .. } => ("BuilderLost", Class::Broken),
            Self::LaunchTimedOut { .. } => ("LaunchTimedOut", Class::TimedOut),
            Self::RegistryDenied { .. } => ("RegistryDenied", Class::Refused),
            Self::RegistryFailed { .. } => ("RegistryFailed", Class::Broken),
            Self::DigestMismatch { .. } => ("DigestMismatch", Class::Broken),
            Self::ImageIncomplete { .. } => ("ImageIncomplete", Class::Broken),
            Self::VolumeFull { .. } => ("VolumeFull", Class::Refused),
            Self::FlushFailed { .. } => ("FlushFailed", Class::Broken),
            Self::StoreMissing { .. } => ("StoreMissing", Class::Broken),
            Self::BuilderFailed { .. } => ("BuilderFailed", Class::Broken),
            Self::PullTimedOut { .. } => ("PullTimedOut", Class::TimedOut),
            Self::EndTimedOut { .. } => ("EndTimedOut", Class::TimedOut),
            Self::SnapshotFailed { .. } => ("SnapshotFailed", Class::Broken),
            Self::SnapshotTimedOut { .. } => ("SnapshotTimedOut", Class::TimedOut),
            Self::PreflightRefused { .. } => ("PreflightRefused", Class::Refused),
            Self::ReplicaFailed { .. } => ("ReplicaFailed", Class::Broken),
            Self::ReplicateTimedOut { .. } => ("ReplicateTimedOut", Class::TimedOut),
            Self::NothingToRollBack { .. } => ("NothingToRollBack", Class::Refused),
            Self::RollbackTimedOut { .. } => ("RollbackTimedOut", Class::TimedOut),
            Self::PruneRefused { .. } => ("PruneRefused", Class::Refused),
            Self::PublishRefused { .. } => ("PublishRefused", Class::Refused),
            Self::PublishFailed { .. } => ("PublishFailed", Class::Broken),
            Self::CleanUpTimedOut { .. } => ("CleanUpTimedOut", Class::TimedOut),
        }
    }

    /// The message and those of its sources, from the outermost on. A message never repeats its
    /// source, so whatever shows an error to a person or a log shows this.
    #[must_use]
    pub fn chain(&self) -> String {
        let sources =
            std::iter::successors(std::error::Error::source(self), |error| error.source());
        sources.fold(self.to_string(), |text, source| format!("{text}: {source}"))
    }

    /// The name that the state machines match.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name_and_class().0
    }

    /// The class of the failure.
    #[must_use]
    pub fn class(&self) -> Class {
        self.name_and_class().1
    }

    /// Whether another call of the step can succeed without a change by anybody. The state machines
    /// retry exactly these errors.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self.class() {
            Class::Transient => true,
            Class::Capacity | Class::Refused | Class::Broken | Class::TimedOut => false,
        }
    }
}

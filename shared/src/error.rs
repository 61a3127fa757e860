//! The errors of the steps and their names.
//!
//! A name is a contract with the state machines: it is the `errorType` that a
//! Lambda reports, and what `ErrorEquals` and a person's alarm match. A message
//! says where, what, and what to do; it never repeats its source.

use lambda_runtime::Diagnostic;
use thiserror::Error as ThisError;

use crate::domain::BuildId;

/// A result whose error has a name.
pub type Result<T> = std::result::Result<T, Error>;

/// Where an AWS call went wrong.
#[derive(Debug)]
pub struct AwsCall {
    /// Such as `ec2:RunInstances`.
    pub operation: &'static str,
    /// What it was about, such as `parameter /frontload/caches/default`.
    pub resource: String,
    /// The region it was sent to.
    pub region: String,
    /// AWS's error code and message, or what kept the answer from arriving.
    pub reason: String,
}

impl std::fmt::Display for AwsCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} in {}: {}", self.operation, self.resource, self.region, self.reason)
    }
}

/// Everything that can end a step.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The input of an execution is none that Frontload knows.
    #[error("the request is refused: {0}")]
    InvalidRequest(String),
    /// A cache document is missing or breaks a rule.
    #[error("parameter {parameter} is refused: {problem}")]
    InvalidCache {
        /// Its full name.
        parameter: String,
        /// Field path, what is wrong, and what would be right.
        problem: String,
    },
    /// No such image.
    #[error("image {image} was not found: {reason}; push it, or correct the cache document")]
    ImageNotFound {
        /// The reference.
        image: String,
        /// Who says so.
        reason: String,
    },
    /// The image exists, but not for this architecture.
    #[error(
        "image {image} is not there for the architecture: {reason}; push it for that platform, or take the architecture out of the cache"
    )]
    PlatformMissing {
        /// The reference.
        image: String,
        /// Which platforms there are.
        reason: String,
    },
    /// The public parameter of the Bottlerocket variant does not exist.
    #[error(
        "there is no Bottlerocket image under {parameter} in {region}; check the cache's variant"
    )]
    OsImageNotFound {
        /// The public parameter.
        parameter: String,
        /// The region asked.
        region: String,
    },
    /// AWS did not answer, or asked to come back later.
    #[error("AWS is unavailable: {0}")]
    AwsUnavailable(AwsCall),
    /// Our role lacks a permission.
    #[error("AWS denies it: {0}; grant the function's role this action")]
    AwsDenied(AwsCall),
    /// AWS answered with an error that no retry heals.
    #[error("AWS rejects it: {0}")]
    AwsRejected(AwsCall),
    /// Another build of the same cache and architecture did not end in time.
    #[error(
        "build {build} waited {seconds} s for {holder}, which owns its cache and architecture; stop that execution, or raise timeLimits.claimSeconds"
    )]
    BuildInProgress {
        /// The waiting build.
        build: BuildId,
        /// The execution that holds the lease.
        holder: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Another build has taken the cache and architecture over: what this one made
    /// is older.
    #[error(
        "build {build} may not publish: {reason}; nothing was changed, and nothing is to be done"
    )]
    LeaseLost {
        /// The build.
        build: BuildId,
        /// Who came after it.
        reason: String,
    },
    /// No instance could be launched.
    #[error("build {build} got no builder: {reason}")]
    LaunchRefused {
        /// The build.
        build: BuildId,
        /// What EC2 said to each type and subnet tried.
        reason: String,
    },
    /// The builder is gone before its work was done.
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
        "the builder of build {build} did not answer within {seconds} s: {progress}; check that its subnet reaches SSM, EC2 and ECR (NAT, endpoints, or builder.publicIp), or raise timeLimits.launchSeconds"
    )]
    LaunchTimedOut {
        /// The build.
        build: BuildId,
        /// The limit.
        seconds: u64,
        /// How far it came.
        progress: String,
    },
    /// No authorization to pull.
    #[error(
        "build {build} may not pull {image}: {reason}; let the builder's role read that repository"
    )]
    RegistryDenied {
        /// The build.
        build: BuildId,
        /// The reference.
        image: String,
        /// What registry or token service said.
        reason: String,
    },
    /// The registry answered with an error or not at all.
    #[error(
        "build {build} could not pull {image}: {reason}; start the build again when the registry is well"
    )]
    RegistryFailed {
        /// The build.
        build: BuildId,
        /// The reference.
        image: String,
        /// What containerd said.
        reason: String,
    },
    /// The content is not what was planned.
    #[error(
        "build {build} got other content for {image} than planned: {reason}; push the image again"
    )]
    DigestMismatch {
        /// The build.
        build: BuildId,
        /// The reference.
        image: String,
        /// Both digests.
        reason: String,
    },
    /// The image is not whole on the builder's volume.
    #[error("build {build} does not hold {image} whole: {reason}")]
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
        "the volume of {volume_gib} GiB of build {build} is full at {image}: {reason}; set \
         builder.volumeGib to at least {needed_gib}"
    )]
    VolumeFull {
        /// The build.
        build: BuildId,
        /// The reference.
        image: String,
        /// What containerd said.
        reason: String,
        /// What it has.
        volume_gib: u16,
        /// What will do.
        needed_gib: u16,
    },
    /// The volume was not flushed: a snapshot of it would hold empty files.
    #[error("the volume of build {build} was not flushed, so no snapshot is made: {reason}")]
    FlushFailed {
        /// The build.
        build: BuildId,
        /// Why.
        reason: String,
    },
    /// The script failed in another way.
    #[error("the builder of build {build} failed: {reason}")]
    BuilderFailed {
        /// The build.
        build: BuildId,
        /// Status and last output.
        reason: String,
    },
    /// The script did not end in time.
    #[error(
        "build {build} did not pull its images in time: {reason}; raise timeLimits.pullSeconds or take a larger instance type"
    )]
    PullTimedOut {
        /// The build.
        build: BuildId,
        /// How far it came.
        reason: String,
    },
    /// The snapshot ended in `error`.
    #[error("snapshot {snapshot} of build {build} in {region} ended in error: {reason}")]
    SnapshotFailed {
        /// The build.
        build: BuildId,
        /// The snapshot id.
        snapshot: String,
        /// Where it was made.
        region: String,
        /// EC2's state message.
        reason: String,
    },
    /// The snapshot is not completed in time.
    #[error(
        "the snapshot of build {build} was not completed within {seconds} s: {progress}; raise timeLimits.snapshotSeconds"
    )]
    SnapshotTimedOut {
        /// The build.
        build: BuildId,
        /// The limit.
        seconds: u64,
        /// How far it came.
        progress: String,
    },
    /// A region, key, zone or consumer would make the build fail at its end.
    #[error("build {build} is not started: {reason}")]
    PreflightRefused {
        /// The build.
        build: BuildId,
        /// Region, key or consumer, what is wrong, and the remedy.
        reason: String,
    },
    /// A copy ended in `error`, which is how a key's refusal shows.
    #[error(
        "replica {snapshot} of build {build} in {region} ended in error: {reason}; let Frontload's role use the keys of both regions"
    )]
    ReplicaFailed {
        /// The build.
        build: BuildId,
        /// The replica's id.
        snapshot: String,
        /// Its region.
        region: String,
        /// EC2's state message.
        reason: String,
    },
    /// A replica is not ready in time.
    #[error(
        "the replica of build {build} in {region} was not ready within {seconds} s: {progress}; raise timeLimits.replicateSeconds"
    )]
    ReplicateTimedOut {
        /// The build.
        build: BuildId,
        /// The region.
        region: String,
        /// The limit.
        seconds: u64,
        /// How far it came.
        progress: String,
    },
    /// There is no previous publication to go back to.
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
    /// The snapshots gone back to did not restore fast in time.
    #[error(
        "rollback of cache {cache} waited {seconds} s: {progress}; what is published is as it was; start it again"
    )]
    RollbackTimedOut {
        /// The cache and its architecture.
        cache: String,
        /// The limit.
        seconds: u64,
        /// How far it came.
        progress: String,
    },
    /// Pruning cannot see everything that may name a snapshot.
    #[error("cache {cache} is not pruned: {reason}; nothing was deleted")]
    PruneRefused {
        /// The cache.
        cache: String,
        /// What could not be seen.
        reason: String,
    },
    /// The snapshot must not be published.
    #[error("build {build} is not published: {reason}")]
    PublishRefused {
        /// The build.
        build: BuildId,
        /// Which part of S1 it breaks.
        reason: String,
    },
    /// Writing the parameters failed; what was written is put back.
    #[error(
        "publication of build {build} failed at {parameter}: {reason}; the parameters are {state}"
    )]
    PublishFailed {
        /// The build.
        build: BuildId,
        /// The parameter that could not be written.
        parameter: String,
        /// What AWS said.
        reason: String,
        /// How they are now.
        state: String,
    },
    /// The clean-up did not reach its end.
    #[error(
        "clean-up of build {build} did not end within {seconds} s: {progress}; delete what carries the tag frontload:build={build}"
    )]
    CleanUpTimedOut {
        /// The build.
        build: BuildId,
        /// The limit.
        seconds: u64,
        /// What is left.
        progress: String,
    },
}

impl Error {
    /// The name that the state machines match.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "InvalidRequest",
            Self::InvalidCache { .. } => "InvalidCache",
            Self::ImageNotFound { .. } => "ImageNotFound",
            Self::PlatformMissing { .. } => "PlatformMissing",
            Self::OsImageNotFound { .. } => "OsImageNotFound",
            Self::AwsUnavailable(_) => "AwsUnavailable",
            Self::AwsDenied(_) => "AwsDenied",
            Self::AwsRejected(_) => "AwsRejected",
            Self::BuildInProgress { .. } => "BuildInProgress",
            Self::LeaseLost { .. } => "LeaseLost",
            Self::LaunchRefused { .. } => "LaunchRefused",
            Self::BuilderLost { .. } => "BuilderLost",
            Self::LaunchTimedOut { .. } => "LaunchTimedOut",
            Self::RegistryDenied { .. } => "RegistryDenied",
            Self::RegistryFailed { .. } => "RegistryFailed",
            Self::DigestMismatch { .. } => "DigestMismatch",
            Self::ImageIncomplete { .. } => "ImageIncomplete",
            Self::VolumeFull { .. } => "VolumeFull",
            Self::FlushFailed { .. } => "FlushFailed",
            Self::BuilderFailed { .. } => "BuilderFailed",
            Self::PullTimedOut { .. } => "PullTimedOut",
            Self::SnapshotFailed { .. } => "SnapshotFailed",
            Self::SnapshotTimedOut { .. } => "SnapshotTimedOut",
            Self::PreflightRefused { .. } => "PreflightRefused",
            Self::ReplicaFailed { .. } => "ReplicaFailed",
            Self::ReplicateTimedOut { .. } => "ReplicateTimedOut",
            Self::NothingToRollBack { .. } => "NothingToRollBack",
            Self::RollbackTimedOut { .. } => "RollbackTimedOut",
            Self::PruneRefused { .. } => "PruneRefused",
            Self::PublishRefused { .. } => "PublishRefused",
            Self::PublishFailed { .. } => "PublishFailed",
            Self::CleanUpTimedOut { .. } => "CleanUpTimedOut",
        }
    }

    /// Whether calling the same step again can succeed without anybody doing
    /// anything. The state machines retry exactly these.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::AwsUnavailable(_) => true,
            Self::InvalidRequest(_)
            | Self::InvalidCache { .. }
            | Self::ImageNotFound { .. }
            | Self::PlatformMissing { .. }
            | Self::OsImageNotFound { .. }
            | Self::AwsDenied(_)
            | Self::AwsRejected(_)
            | Self::BuildInProgress { .. }
            | Self::LeaseLost { .. }
            | Self::LaunchRefused { .. }
            | Self::BuilderLost { .. }
            | Self::LaunchTimedOut { .. }
            | Self::RegistryDenied { .. }
            | Self::RegistryFailed { .. }
            | Self::DigestMismatch { .. }
            | Self::ImageIncomplete { .. }
            | Self::VolumeFull { .. }
            | Self::FlushFailed { .. }
            | Self::BuilderFailed { .. }
            | Self::PullTimedOut { .. }
            | Self::SnapshotFailed { .. }
            | Self::SnapshotTimedOut { .. }
            | Self::PreflightRefused { .. }
            | Self::ReplicaFailed { .. }
            | Self::ReplicateTimedOut { .. }
            | Self::NothingToRollBack { .. }
            | Self::RollbackTimedOut { .. }
            | Self::PruneRefused { .. }
            | Self::PublishRefused { .. }
            | Self::PublishFailed { .. }
            | Self::CleanUpTimedOut { .. } => false,
        }
    }
}

impl From<Error> for Diagnostic {
    /// A boxed error would reach Step Functions under the name of its Rust type.
    fn from(error: Error) -> Self {
        Self { error_type: error.name().to_owned(), error_message: error.to_string() }
    }
}

//! Builders: EC2 instances with the tags of a build.

use std::collections::BTreeMap;

use aws_config::retry::RetryConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::run_instances::RunInstancesError;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, EbsInstanceBlockDeviceSpecification, Filter,
    HttpTokensState, IamInstanceProfileSpecification, InstanceBlockDeviceMappingSpecification,
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceStateName,
    InstanceType, MarketType, Reservation, ResourceType, ShutdownBehavior, SpotInstanceType,
    SpotMarketOptions, VolumeType,
};

use super::tagging::{self, Owner};
use super::{MAX_REASON, call_error, incomplete_answer};
use frontload_domain::Build;
use frontload_domain::names::{InstanceId, VolumeId, one_line};
use frontload_domain::tags;
use frontload_domain::{Error, Result};

/// Bottlerocket keeps images here (its data volume).
pub const DATA_DEVICE: &str = "/dev/xvdb";
/// Bottlerocket's own system, read-only at run time.
const ROOT_DEVICE: &str = "/dev/xvda";

/// A builder as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builder {
    /// Its id.
    pub id: InstanceId,
    /// Its state.
    pub state: State,
    /// The EBS volume at [`DATA_DEVICE`], once attached and until the instance ends.
    pub data_volume: Option<DataVolume>,
    /// When it was launched, in seconds since 1970; 0 when EC2 does not say.
    pub launched_at: i64,
    /// Whether EC2 interrupted it, which ends a Spot instance.
    pub interrupted: bool,
    /// Whether EC2 accepted the launch and ended it before it ran.
    pub refused: bool,
    /// EC2's reason for the state, or empty.
    pub reason: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// The volume that a builder keeps images on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataVolume {
    /// Its id.
    pub id: VolumeId,
    /// Whether EC2 deletes it when the instance is terminated.
    pub goes_with_instance: bool,
}

/// Instance states, reduced to those that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Starting.
    Pending,
    /// Started, but it may not answer yet.
    Running,
    /// Stopping, stopped or shutting down: no longer usable.
    Ending,
    /// Gone.
    Terminated,
}

/// State reasons of a Spot instance that EC2 ended (EC2 API reference, `StateReason`).
const INTERRUPTED: [&str; 2] = ["Server.SpotInstanceTermination", "Server.SpotInstanceShutdown"];

/// State reasons of a launch that EC2 accepted but could not carry out (same source). The third
/// means that EC2 may not use the key.
const REFUSED: [&str; 4] = [
    "Server.InsufficientInstanceCapacity",
    "Server.InternalError",
    "Client.InternalError",
    "Client.VolumeLimitExceeded",
];

impl From<Option<&InstanceStateName>> for State {
    fn from(name: Option<&InstanceStateName>) -> Self {
        match name {
            Some(InstanceStateName::Pending) => Self::Pending,
            Some(InstanceStateName::Running) => Self::Running,
            Some(InstanceStateName::Terminated) => Self::Terminated,
            // Includes states that EC2 adds later: a builder cannot work in an unknown state.
            _ => Self::Ending,
        }
    }
}

/// The builders of one build, including terminated ones while EC2 lists them.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_builders(ec2: &Client, owner: Owner<'_>) -> Result<Vec<Builder>> {
    list_builders(ec2, owner.filters(), &format!("builders of build {}", owner.build)).await
}

/// One builder by its id; `None` when EC2 does not list it yet or no longer lists it.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_builder(ec2: &Client, id: &InstanceId) -> Result<Option<Builder>> {
    let (operation, resource) = ("ec2:DescribeInstances", format!("instance {id}"));
    let region = ec2.config().region();
    let output = match ec2.describe_instances().instance_ids(id.as_str()).send().await {
        Ok(output) => output,
        Err(error) if error.code() == Some("InvalidInstanceID.NotFound") => return Ok(None),
        Err(error) => return Err(call_error(operation, resource, region, &error)),
    };
    let mut found = output.reservations().iter().flat_map(Reservation::instances);
    let builder = found.next().map(Builder::try_from).transpose();
    builder.map_err(|reason| incomplete_answer(operation, resource, region, reason))
}

/// The builders of a stack, including terminated ones while EC2 lists them.
///
/// # Errors
/// Those of [`call_error`].
pub async fn find_stack_builders(ec2: &Client, stack: &str) -> Result<Vec<Builder>> {
    let filters = vec![tagging::filter(tags::STACK, stack)];
    list_builders(ec2, filters, &format!("builders of stack {stack}")).await
}

async fn list_builders(ec2: &Client, filters: Vec<Filter>, resource: &str) -> Result<Vec<Builder>> {
    let region = ec2.config().region();
    let mut pages = ec2.describe_instances().set_filters(Some(filters)).into_paginator().send();
    let mut builders = Vec::new();
    while let Some(page) = pages.next().await {
        let page =
            page.map_err(|error| call_error("ec2:DescribeInstances", resource, region, &error))?;
        for instance in page.reservations().iter().flat_map(Reservation::instances) {
            builders.push(Builder::try_from(instance).map_err(|reason| {
                incomplete_answer("ec2:DescribeInstances", resource, region, reason)
            })?);
        }
    }
    Ok(builders)
}

impl TryFrom<&aws_sdk_ec2::types::Instance> for Builder {
    type Error = String;

    fn try_from(instance: &aws_sdk_ec2::types::Instance) -> std::result::Result<Self, String> {
        let data_volume = instance
            .block_device_mappings()
            .iter()
            .find(|mapping| mapping.device_name() == Some(DATA_DEVICE))
            .and_then(|mapping| mapping.ebs())
            .and_then(|ebs| {
                let id = ebs.volume_id()?.parse().ok()?;
                Some(DataVolume {
                    id,
                    goes_with_instance: ebs.delete_on_termination().unwrap_or(true),
                })
            });
        let reason = instance.state_reason();
        let code = reason.and_then(|reason| reason.code());
        Ok(Self {
            id: instance.instance_id().unwrap_or_default().parse()?,
            state: State::from(instance.state().and_then(|state| state.name())),
            data_volume,
            launched_at: instance.launch_time().map_or(0, aws_sdk_ec2::primitives::DateTime::secs),
            interrupted: code.is_some_and(|code| INTERRUPTED.contains(&code)),
            refused: code.is_some_and(|code| REFUSED.contains(&code)),
            reason: one_line(reason.and_then(|r| r.message()).unwrap_or_default(), MAX_REASON),
            tags: tagging::read(instance.tags()),
        })
    }
}

/// Outcome of one launch attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Launch {
    /// The instance exists.
    Launched(InstanceId),
    /// EC2 refuses this placement, with the reason; another placement may work.
    Refused(String),
}

/// Error codes that another type, subnet or market can cure (EC2 "Error codes").
const CAPACITY: [&str; 12] = [
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientFreeAddressesInSubnet",
    "InsufficientAddressCapacity",
    // EBS quotas. Another market or type does not raise them: every placement is refused with
    // this code.
    "VolumeLimitExceeded",
    "MaxIOPSLimitExceeded",
    "Unsupported",
    "InstanceLimitExceeded",
    "VcpuLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "SpotMaxPriceTooLow",
    // The account has never used Spot, and this role may not create the role that Spot needs.
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
];

/// How an instance is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Market {
    /// Cheaper by half or more; EC2 may interrupt it.
    Spot,
    /// At the list price, and kept until it is terminated.
    OnDemand,
}

impl std::fmt::Display for Market {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spot => "Spot",
            Self::OnDemand => "on-demand",
        })
    }
}

/// Where and how a builder is launched.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// The instance type.
    pub instance_type: &'a str,
    /// The subnet, or `None` for the default VPC.
    pub subnet: Option<&'a str>,
    /// How it is paid for.
    pub market: Market,
    /// The instance profile of builders.
    pub profile: &'a str,
    /// Position among the placements tried. It is part of the client token, because
    /// EC2 refuses a token that is reused with other parameters.
    pub attempt: usize,
}

/// Launches the builder of `build`, or returns the one that an earlier call with
/// the same placement launched (client token).
///
/// # Errors
/// Those of [`call_error`]; lack of capacity returns [`Launch::Refused`] instead.
pub async fn launch_builder(
    ec2: &Client,
    stack: &str,
    build: &Build,
    placement: Placement<'_>,
    user_data: String,
) -> Result<Launch> {
    let operation = "ec2:RunInstances";
    let resource = format!("{} for build {}", placement.instance_type, build.id);
    let answer = ec2
        .run_instances()
        .client_token(format!("{}-{}", build.id, placement.attempt))
        .image_id(build.os.image_id.as_str())
        .instance_type(InstanceType::from(placement.instance_type))
        .min_count(1)
        .max_count(1)
        .iam_instance_profile(
            IamInstanceProfileSpecification::builder().name(placement.profile).build(),
        )
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .set_instance_market_options(market_options(placement.market))
        .metadata_options(metadata_options())
        .network_interfaces(network_interface(build, placement.subnet))
        .block_device_mappings(root_volume(build))
        .block_device_mappings(data_volume(build))
        .user_data(user_data)
        .tag_specifications(tagging::specification(stack, build, ResourceType::Instance))
        .tag_specifications(tagging::specification(stack, build, ResourceType::Volume))
        .customize()
        // EC2 reports lack of capacity with status 500. The SDK would try three times, although the
        // next placement may have capacity. The state machine retries other failures.
        .config_override(aws_sdk_ec2::Config::builder().retry_config(RetryConfig::disabled()))
        .send()
        .await;
    let region = ec2.config().region();
    match answer {
        Ok(output) => {
            let id = output.instances().first().and_then(|i| i.instance_id()).unwrap_or_default();
            id.parse()
                .map(Launch::Launched)
                .map_err(|reason: String| incomplete_answer(operation, resource, region, reason))
        }
        // The instance of this client token is terminated (boto3#4406).
        Err(error) if error.code() == Some("IdempotentInstanceTerminated") => {
            Err(lost(build, "none", None))
        }
        Err(error) => match capacity_problem(&error) {
            Some(reason) => Ok(Launch::Refused(reason)),
            None => Err(call_error(operation, resource, region, &error)),
        },
    }
}

fn capacity_problem(error: &SdkError<RunInstancesError>) -> Option<String> {
    let code = error.code().filter(|code| CAPACITY.contains(code))?;
    let message = error.message().unwrap_or("no reason given");
    Some(one_line(&format!("{code}: {message}"), MAX_REASON))
}

/// The maximum price is EC2's default, the on-demand price. EC2 does not repeat the request after
/// an interruption.
fn market_options(market: Market) -> Option<InstanceMarketOptionsRequest> {
    let Market::Spot = market else { return None };
    let options = SpotMarketOptions::builder()
        .spot_instance_type(SpotInstanceType::OneTime)
        .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
        .build();
    let spot = InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot);
    Some(spot.spot_options(options).build())
}

/// Requires version 2 of the metadata service and enables the service explicitly: an account's
/// default may disable it, and without it Bottlerocket gets no user data. One hop is enough,
/// because host containers share the host's network namespace.
fn metadata_options() -> InstanceMetadataOptionsRequest {
    InstanceMetadataOptionsRequest::builder()
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_tokens(HttpTokensState::Required)
        .http_put_response_hop_limit(1)
        .build()
}

fn network_interface(build: &Build, subnet: Option<&str>) -> InstanceNetworkInterfaceSpecification {
    let groups: Vec<String> =
        build.builder.security_group_ids.iter().map(ToString::to_string).collect();
    InstanceNetworkInterfaceSpecification::builder()
        .device_index(0)
        .set_associate_public_ip_address(build.builder.public_ip)
        .set_subnet_id(subnet.map(ToOwned::to_owned))
        .set_groups((!groups.is_empty()).then_some(groups))
        .build()
}

/// KMS key of the home region, if the document sets one.
fn home_key(build: &Build) -> Option<String> {
    let home = build.regions.iter().find(|settings| settings.region == build.region);
    home.and_then(|settings| settings.kms_key_id.as_ref()).map(ToString::to_string)
}

/// Without this mapping the root volume would be the AMI's: gp2 and unencrypted, which some
/// service control policies refuse. It is always encrypted, because it is never shared.
fn root_volume(build: &Build) -> BlockDeviceMapping {
    let volume = EbsBlockDevice::builder()
        .encrypted(true)
        .set_kms_key_id(home_key(build))
        .volume_type(VolumeType::Gp3)
        .delete_on_termination(true)
        .build();
    BlockDeviceMapping::builder().device_name(ROOT_DEVICE).ebs(volume).build()
}

/// The home region's key encrypts the volume and therefore its snapshot. An ancestor is
/// encrypted under the same key.
fn data_volume(build: &Build) -> BlockDeviceMapping {
    let key = home_key(build);
    let machine = build.machine();
    let ancestor = build.ancestor.as_ref();
    let volume = EbsBlockDevice::builder()
        .set_encrypted(key.is_some().then_some(true))
        .set_kms_key_id(key)
        .volume_type(VolumeType::Gp3)
        .volume_size(build.volume_gib.into())
        .iops(machine.iops.into())
        .throughput(machine.throughput_mibs.into())
        .set_snapshot_id(ancestor.map(|ancestor| ancestor.snapshot_id.to_string()))
        .delete_on_termination(true)
        .build();
    BlockDeviceMapping::builder().device_name(DATA_DEVICE).ebs(volume).build()
}

/// Asks EC2 to keep a builder's data volume when the builder is terminated. Idempotent.
///
/// # Errors
/// Those of [`call_error`].
pub async fn keep_data_volume(ec2: &Client, id: &InstanceId) -> Result<()> {
    let kept = EbsInstanceBlockDeviceSpecification::builder().delete_on_termination(false).build();
    let mapping =
        InstanceBlockDeviceMappingSpecification::builder().device_name(DATA_DEVICE).ebs(kept);
    let call = ec2.modify_instance_attribute().instance_id(id.as_str());
    let answer = call.block_device_mappings(mapping.build()).send().await;
    answer.map(drop).map_err(|error| {
        let region = ec2.config().region();
        call_error("ec2:ModifyInstanceAttribute", format!("instance {id}"), region, &error)
    })
}

/// Asks EC2 to terminate a builder. Idempotent; an instance that EC2 no longer knows
/// is no error.
///
/// # Errors
/// Those of [`call_error`].
pub async fn terminate_builder(ec2: &Client, id: &InstanceId) -> Result<()> {
    let answer = ec2.terminate_instances().instance_ids(id.as_str()).send().await;
    match answer {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("InvalidInstanceID.NotFound") => Ok(()),
        Err(error) => {
            let region = ec2.config().region();
            Err(call_error("ec2:TerminateInstances", format!("instance {id}"), region, &error))
        }
    }
}

/// The error of a build whose builder is lost or interrupted. `instance` is its id, or `none`;
/// `builder` is what EC2 returned for it, if anything.
#[must_use]
pub fn lost(build: &Build, instance: &str, builder: Option<&Builder>) -> Error {
    let (build, instance) = (build.id.clone(), instance.to_owned());
    let reason = match builder.map(|builder| builder.reason.as_str()) {
        None => "EC2 does not know the instance".to_owned(),
        Some("") => "it is no longer running".to_owned(),
        Some(reason) => reason.to_owned(),
    };
    if builder.is_some_and(|builder| builder.interrupted) {
        Error::BuilderInterrupted { build, instance, reason }
    } else {
        Error::BuilderLost { build, instance, reason }
    }
}

//! What the steps' tests share: the recorded build, settings, and AWS answers.

use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::types::{
    EbsInstanceBlockDevice, Instance, InstanceBlockDeviceMapping, InstanceState, InstanceStateName,
    Reservation, StateReason,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use frontload_shared::domain::{Build, Home};
use frontload_shared::testing::{FakeCloud, OWN};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::settings::Settings;

/// `tests/events/build.json`.
pub fn build_document() -> Value {
    serde_json::from_str(include_str!("../../tests/events/build.json")).unwrap()
}

/// The recorded build.
pub fn build() -> Build {
    serde_json::from_value(build_document()).unwrap()
}

/// The payload of a step: the recorded build with `more` beside it.
pub fn input<I: DeserializeOwned>(more: &Value) -> I {
    let mut payload = json!({"build": build_document(), "waitedSeconds": 0});
    let more = more.as_object().cloned().unwrap_or_default();
    payload.as_object_mut().unwrap().extend(more);
    serde_json::from_value(payload).unwrap()
}

/// The request that the recorded build serves.
pub fn request() -> Value {
    json!({
        "id": build_document()["id"],
        "cache": "default",
        "architecture": "x86_64",
        "force": false,
        "debounce": {"quietSeconds": 60, "limitSeconds": 600},
        "claimSeconds": 14400
    })
}

/// What the builder's script prints for the recorded build.
pub fn printed() -> Value {
    let mut report = pulled();
    let digest = report["images"][0]["digest"].take();
    let fields = report.as_object_mut().unwrap();
    fields.remove("images");
    fields.insert("digests".to_owned(), json!([digest]));
    fields.insert("outcome".to_owned(), json!("pulled"));
    report
}

/// What the pull step reports for the recorded build.
pub fn pulled() -> Value {
    let image = &build_document()["images"][0];
    json!({
        "containerd": "2.1.9",
        "kernel": "6.12.40",
        "images": [{"reference": image["reference"], "digest": image["digest"]}],
        "usedBytes": 1,
        "flushed": true,
        "ancestor": "none",
        "listing": DIGEST_A
    })
}

/// Settings of a stack named `frontload`.
pub fn settings() -> Settings {
    Settings {
        handler: String::new(),
        stack: "frontload".to_owned(),
        prefix: "/frontload".parse().unwrap(),
        lease_table: "leases".to_owned(),
        event_bus: "default".to_owned(),
        builder_profile: "builder".to_owned(),
        home: Home {
            account: "123456789012".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
        },
    }
}

/// EC2's answer: one builder in `state` with data volume `vol-1`, or none.
pub fn instances(state: Option<InstanceStateName>) -> DescribeInstancesOutput {
    instances_whose_volume(true, state)
}

/// The same. `goes` says whether the volume is deleted with the instance.
pub fn instances_whose_volume(
    goes: bool,
    state: Option<InstanceStateName>,
) -> DescribeInstancesOutput {
    let Some(state) = state else { return DescribeInstancesOutput::builder().build() };
    let data = InstanceBlockDeviceMapping::builder()
        .device_name("/dev/xvdb")
        .ebs(
            EbsInstanceBlockDevice::builder()
                .volume_id("vol-1")
                .delete_on_termination(goes)
                .build(),
        )
        .build();
    let instance = Instance::builder()
        .instance_id("i-1")
        .state(InstanceState::builder().name(state).build())
        .block_device_mappings(data)
        .build();
    let reservation = Reservation::builder().instances(instance).build();
    DescribeInstancesOutput::builder().reservations(reservation).build()
}

/// The same instances, ended by a Spot interruption.
pub fn interrupted(mut found: DescribeInstancesOutput) -> DescribeInstancesOutput {
    let reason =
        StateReason::builder().code("Server.SpotInstanceTermination").message("wanted back");
    for reservation in found.reservations.iter_mut().flatten() {
        for instance in reservation.instances.iter_mut().flatten() {
            instance.state_reason = Some(reason.clone().build());
        }
    }
    found
}

/// An EC2 error response with this code.
pub fn ec2_error(code: &str) -> HttpResponse {
    let body = format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>planted</Message></Error></Errors></Response>"
    );
    // EC2 reports a lack of capacity as a server error, not as a client error.
    let status = if code.starts_with("Insufficient") { 500 } else { 400 };
    HttpResponse::new(status.try_into().unwrap(), body.into())
}

/// A step's report as the state machine sees it.
pub fn shown<T: serde::Serialize>(report: &T) -> Value {
    serde_json::to_value(report).unwrap()
}

/// Digests of two images.
pub const DIGEST_A: &str =
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// See [`DIGEST_A`].
pub const DIGEST_B: &str =
    "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// The registry of our own account at home.
pub const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// Puts a cache document with image `team/app:v1`, changed by `more`, and everything that planning
/// looks up.
pub fn put_cache(cloud: &FakeCloud, name: &str, more: &Value) {
    let mut document = json!({
        "images": [format!("{HOST}/team/app:v1")],
        "architectures": ["x86_64"],
        "variant": "aws-k8s-1.35",
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut world = cloud.world();
    world.put(&format!("/frontload/caches/{name}"), &document.to_string());
    for architecture in ["x86_64", "arm64"] {
        let latest = format!("/aws/service/bottlerocket/aws-k8s-1.35/{architecture}/latest");
        if world.read(OWN, "us-east-1", &format!("{latest}/image_id")).is_none() {
            world.put(&format!("{latest}/image_id"), "ami-0abc");
            world.put(&format!("{latest}/image_version"), "1.57.0-abcdef01");
        }
    }
    if world.registry.digest("team/app", "v1").is_none() {
        world.registry.push("team/app", "v1", DIGEST_A);
    }
}

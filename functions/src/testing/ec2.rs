//! Answers of EC2, for tests that mock its client.

use aws_sdk_ec2::operation::describe_instances::DescribeInstancesOutput;
use aws_sdk_ec2::types::{
    EbsInstanceBlockDevice, Instance, InstanceBlockDeviceMapping, InstanceState, InstanceStateName,
    Reservation, StateReason,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

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

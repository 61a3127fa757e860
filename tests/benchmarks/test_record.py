"""Tests of what the local cloud counts for state machines and functions."""

from __future__ import annotations

import json

from local_cloud.cloud import LocalCloud
from local_cloud.conftest import wait_until

MACHINE = {
    "QueryLanguage": "JSONata",
    "StartAt": "Each",
    "States": {
        "Each": {
            "Type": "Map",
            "Items": [1, 2, 3],
            "ItemProcessor": {
                "StartAt": "Look",
                "States": {
                    "Look": {"Type": "Pass", "Next": "Seen"},
                    "Seen": {"Type": "Succeed"},
                },
            },
            "Next": "Rest",
        },
        "Rest": {"Type": "Wait", "Seconds": 0, "Next": "End"},
        "End": {"Type": "Succeed"},
    },
}


def test_states_inside_a_map_are_counted_once() -> None:
    with LocalCloud("scripted", latencies={"transition_seconds": 0.4}) as cloud:
        states = cloud.client("stepfunctions")
        machine = states.create_state_machine(
            name="counted",
            definition=json.dumps(MACHINE),
            roleArn="arn:aws:iam::123456789012:role/states",
        )["stateMachineArn"]
        arn = states.start_execution(stateMachineArn=machine)["executionArn"]
        wait_until(lambda: states.describe_execution(executionArn=arn)["status"] == "SUCCEEDED")
        counted = cloud.take_record()["states"][arn]
        shown = states.describe_execution(executionArn=arn)
        again = cloud.take_record()["states"]
    assert counted == {
        "Execution": 1, "Map": 1, "Iteration": 3, "Pass": 3, "Succeed": 3, "Wait": 1,
    }  # fmt: skip
    assert (shown["stopDate"] - shown["startDate"]).total_seconds() >= 3 * 0.4
    assert again == {}

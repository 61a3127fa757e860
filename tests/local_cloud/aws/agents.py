"""SSM's view of the instances' agents."""

from __future__ import annotations

import datetime
from typing import Any

from moto.core.responses import BaseResponse

from .cloud_state import CloudState
from .dispatch import AwsError, handles, place_of
from .lives import place_of_instance


@handles("ssm", "DescribeInstanceInformation")
def describe_instance_information(cloud: CloudState, request: BaseResponse) -> Any:
    """List the instances whose SSM agent has connected: Online or ConnectionLost."""
    wanted = _wanted_ids(request)
    views = []
    for life in cloud.instances.values():
        if place_of_instance(life) != place_of(request):
            continue
        if life.agent == "absent" or (wanted is not None and life.instance.id not in wanted):
            continue
        views.append(
            {
                "InstanceId": life.instance.id,
                "PingStatus": "Online" if life.agent == "online" else "ConnectionLost",
                "LastPingDateTime": datetime.datetime.now(datetime.UTC),
                "AgentVersion": "3.3.0.0",
                "PlatformType": "Linux",
                "PlatformName": "Bottlerocket",
                "ResourceType": "EC2Instance",
            }
        )
    return {"InstanceInformationList": views}


def _wanted_ids(request: BaseResponse) -> set[str] | None:
    filters = [
        (f.get("Key") or f.get("key"), f.get("Values") or f.get("valueSet"))
        for f in request._get_param("Filters", [])
        + request._get_param("InstanceInformationFilterList", [])
    ]
    if not filters:
        return None
    wanted: set[str] = set()
    for key, values in filters:
        if key != "InstanceIds":
            raise AwsError("InvalidFilterKey", f"the local cloud has no filter {key}")
        wanted.update(values)
    return wanted

"""A resource type of CloudFormation that MiniStack lacks: `AWS::Events::EventBusPolicy`."""

from __future__ import annotations

from typing import Any

from ministack.services import eventbridge
from ministack.services.cloudformation import provisioners


def install() -> None:
    """Make the type available to templates."""
    provisioners._RESOURCE_HANDLERS["AWS::Events::EventBusPolicy"] = {
        "create": _create,
        "delete": _delete,
    }


def _create(_: str, properties: dict[str, Any], __: str) -> tuple[str, dict[str, Any]]:
    """Create the statement; its id is the resource's.

    Two resources cannot have the same id, even on different buses (aws-cdk#28520).
    """
    bus, name = properties["EventBusName"], properties["StatementId"]
    policies = eventbridge._event_bus_policies
    if name in [one["Sid"] for policy in policies.values() for one in policy["Statement"]]:
        raise ValueError(f"{name} already exists")
    if bus != "default" and bus not in eventbridge._event_buses:
        raise ValueError(f"Event bus {bus} does not exist.")
    if bus not in policies:
        policies[bus] = {"Version": "2012-10-17", "Statement": []}
    policies[bus]["Statement"].append({**properties["Statement"], "Sid": name})
    return name, {}


def _delete(name: str, properties: dict[str, Any]) -> None:
    order = {"EventBusName": properties["EventBusName"], "StatementId": name}
    eventbridge._remove_permission(order)

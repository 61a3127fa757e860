"""Whether an instance reaches AWS and the registries: public addresses, routes, VPC endpoints."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from moto.ec2 import ec2_backends
from moto.ec2.models.instances import Instance
from moto.ec2.models.route_tables import Route, RouteTable
from moto.ec2.models.subnets import Subnet

from .calls import plain
from .cloud_state import Place

EVERYWHERE = "0.0.0.0/0"
SERVICES = frozenset({"ec2", "ecr.api", "ecr.dkr", "s3", "ssm", "ssmmessages"})
"""The services that a builder calls. An instance without internet access needs a VPC endpoint for
each. ECR's layers come from S3 (ECR user guide, "Amazon ECR interface VPC endpoints"; Systems
Manager user guide, "Improve the security of EC2 instances by using VPC endpoints")."""


def has_way_out(
    default_target: str | None, public_address: bool, endpoints: Collection[str]
) -> bool:
    """Whether an instance in a subnet reaches AWS's services.

    `default_target` is the target id of the default route in the subnet's route table, None
    without one. An internet gateway serves only instances with a public address (VPC user guide,
    "Enable internet access for a VPC using an internet gateway"); a NAT gateway or another
    network's gateway serves all. `endpoints` are the services that the VPC has endpoints for.
    """
    if set(endpoints) >= SERVICES:
        return True
    if default_target is None:
        return False
    return public_address or not default_target.startswith("igw-")


def reaches_services(instance: Instance) -> bool:
    """Return `has_way_out` for an instance, based on moto's record of its network."""
    backend = instance.ec2_backend
    subnet = backend.get_subnet(instance.subnet_id)
    table = _route_table(backend, subnet)
    public = instance.public_ip is not None
    return has_way_out(_default_target(table), public, _endpoints(backend, table))


def _route_table(backend: Any, subnet: Subnet) -> RouteTable:
    """Return the subnet's own route table, or its VPC's main one."""
    tables = [one for one in backend.route_tables.values() if one.vpc_id == subnet.vpc_id]
    own = [one for one in tables if subnet.id in one._associations.values()]
    return own[0] if own else _main_table(tables)


def _main_table(tables: list[RouteTable]) -> RouteTable:
    return next(one for one in tables if one.main_association_id is not None)


def _default_target(table: RouteTable) -> str | None:
    routes = [one for one in table.routes if one.destination_cidr_block == EVERYWHERE]
    return next(filter(None, map(_target, routes)), None)


def _target(route: Route) -> str | None:
    """Return the route's target id, or None.

    A VPC peering connection is no target: it reaches only the peer VPC (VPC peering guide, "Edge
    to edge routing").
    """
    return (
        route.gateway_id
        or route.nat_gateway_id
        or route.transit_gateway_id
        or route.instance_id
        or route.network_interface_id
    )


def _endpoints(backend: Any, table: RouteTable) -> set[str]:
    found = set()
    for endpoint in backend.vpc_end_points.values():
        if endpoint.vpc_id != table.vpc_id or endpoint.state != "available":
            continue
        interface = (endpoint.vpc_endpoint_type or "Gateway").lower() == "interface"
        serves = endpoint.private_dns_enabled if interface else table.id in endpoint.route_table_ids
        if serves:
            found.add(endpoint.service_name.partition(f".{backend.region_name}.")[2])
    return found


def interfaces(
    backend: Any, asked: list[Any], subnet_id: str | None, zone: str | None
) -> list[dict[str, Any]]:
    """Return a launch's network interfaces.

    The request decides whether the first one gets a public address, and otherwise the subnet does
    (EC2 API reference, `AssociatePublicIpAddress`).
    """
    found = [plain(one) for one in asked] or [{"DeviceIndex": 0}]
    first = found[0]
    subnet = _subnet(backend, first.get("SubnetId") or subnet_id, zone)
    if subnet is not None and first.get("AssociatePublicIpAddress") is None:
        mapped = str(subnet.map_public_ip_on_launch).lower() == "true"
        first["AssociatePublicIpAddress"] = mapped
    return found


def _subnet(backend: Any, subnet_id: str | None, zone: str | None) -> Subnet | None:
    if subnet_id:
        return backend.get_subnet(subnet_id)
    return backend.get_default_subnets().get(zone or f"{backend.region_name}a")


def open_default_vpc(place: Place) -> None:
    """Add the default VPC's internet gateway and default route, which moto omits.

    On AWS the default VPC has them (VPC user guide, "Default VPC components").
    """
    backend = ec2_backends[place.account][place.region]
    vpc = backend.get_default_vpc()
    gateway = backend.create_internet_gateway()
    backend.attach_internet_gateway(gateway.id, vpc.id)
    table = _main_table([one for one in backend.route_tables.values() if one.vpc_id == vpc.id])
    backend.create_route(table.id, EVERYWHERE, gateway_id=gateway.id)

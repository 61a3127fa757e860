"""Instances reach AWS over a public address, a NAT gateway or VPC endpoints, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from . import REGION
from .aws.networks import SERVICES, has_way_out
from .conftest import Aws

ANYWHERE = "0.0.0.0/0"


@pytest.mark.parametrize(
    ("default_target", "public_address", "endpoints", "out"),
    [
        ("igw-1", True, set(), True),
        ("igw-1", False, set(), False),
        ("igw-1", False, SERVICES, True),
        ("nat-1", False, set(), True),
        ("tgw-1", False, set(), True),
        (None, True, set(), False),
        (None, False, set(), False),
        (None, False, SERVICES, True),
        (None, False, SERVICES - {"s3"}, False),
        (None, False, SERVICES - {"ssmmessages"}, False),
    ],
)
def test_the_way_out_of_a_subnet(
    default_target: str | None, public_address: bool, endpoints: set[str], out: bool
) -> None:
    assert has_way_out(default_target, public_address, endpoints) is out


def nic(subnet: str | None = None, public: bool | None = None) -> list[dict[str, Any]]:
    said = {"SubnetId": subnet, "AssociatePublicIpAddress": public}
    return [{"DeviceIndex": 0, **{k: v for k, v in said.items() if v is not None}}]


class Network:
    """A VPC of one's own with one subnet; its main route table leads nowhere."""

    def __init__(self, aws: Aws) -> None:
        self.ec2 = aws.ec2
        self.vpc = aws.ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        made = aws.ec2.create_subnet(
            VpcId=self.vpc, CidrBlock="10.0.0.0/24", AvailabilityZone=f"{REGION}a"
        )
        self.subnet = made["Subnet"]["SubnetId"]
        table = aws.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]
        self.table = table["RouteTableId"]
        aws.ec2.associate_route_table(RouteTableId=self.table, SubnetId=self.subnet)

    def route(self, **target: str) -> None:
        """Add a default route to a target."""
        self.ec2.create_route(RouteTableId=self.table, DestinationCidrBlock=ANYWHERE, **target)

    def make_internet_gateway(self) -> str:
        """Attach an internet gateway; returns its id."""
        made = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=self.vpc)
        return made

    def add_endpoint(self, service: str) -> None:
        """Add a VPC endpoint of the type that is usual for the service."""
        place: dict[str, Any] = {"VpcEndpointType": "Interface", "SubnetIds": [self.subnet]}
        if service == "s3":
            place = {"VpcEndpointType": "Gateway", "RouteTableIds": [self.table]}
        name = f"com.amazonaws.{REGION}.{service}"
        self.ec2.create_vpc_endpoint(VpcId=self.vpc, ServiceName=name, **place)


@pytest.fixture
def network(aws: Aws) -> Network:
    return Network(aws)


def test_the_default_subnet_has_a_way_out_only_with_a_public_address(aws: Aws) -> None:
    first = aws.launch_online(NetworkInterfaces=nic())
    assert aws.instance(first)["PublicIpAddress"]
    aws.launch_online(NetworkInterfaces=nic(public=True))
    aws.launch_online(NetworkInterfaces=[])
    refused = aws.launch(NetworkInterfaces=nic(public=False))
    aws.stays_offline(refused)
    assert "PublicIpAddress" not in aws.instance(refused)
    assert not aws.host.running[refused][1].reaches_internet


def test_an_interface_without_settings_follows_its_subnet(aws: Aws) -> None:
    zone = [{"Name": "availability-zone", "Values": [f"{REGION}a"]}]
    (default,) = aws.ec2.describe_subnets(Filters=zone)["Subnets"]
    subnet = default["SubnetId"]
    assert default["MapPublicIpOnLaunch"]
    aws.launch_online(NetworkInterfaces=nic(subnet))
    aws.ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": False})
    aws.stays_offline(aws.launch(NetworkInterfaces=nic(subnet)))
    aws.stays_offline(aws.launch(NetworkInterfaces=nic()))
    aws.stays_offline(aws.launch(NetworkInterfaces=[], SubnetId=subnet))
    aws.launch_online(NetworkInterfaces=nic(subnet, public=True))


def test_a_subnet_without_a_default_route_has_no_way_out(aws: Aws, network: Network) -> None:
    aws.stays_offline(aws.launch(NetworkInterfaces=nic(network.subnet, public=True)))


def test_a_subnet_without_a_table_of_its_own_uses_the_main_one(aws: Aws, network: Network) -> None:
    main = [
        {"Name": "vpc-id", "Values": [network.vpc]},
        {"Name": "association.main", "Values": ["true"]},
    ]
    (table,) = aws.ec2.describe_route_tables(Filters=main)["RouteTables"]
    made = aws.ec2.create_subnet(VpcId=network.vpc, CidrBlock="10.0.1.0/24")
    other = made["Subnet"]["SubnetId"]
    network.table = table["RouteTableId"]
    network.route(GatewayId=network.make_internet_gateway())
    aws.launch_online(NetworkInterfaces=nic(other, public=True))
    aws.stays_offline(aws.launch(NetworkInterfaces=nic(network.subnet, public=True)))


def test_an_internet_gateway_serves_only_public_addresses(aws: Aws, network: Network) -> None:
    network.route(GatewayId=network.make_internet_gateway())
    aws.launch_online(NetworkInterfaces=nic(network.subnet, public=True))
    aws.stays_offline(aws.launch(NetworkInterfaces=nic(network.subnet)))


def test_a_nat_gateway_serves_instances_without_a_public_address(
    aws: Aws, network: Network
) -> None:
    address = aws.ec2.allocate_address(Domain="vpc")["AllocationId"]
    gateway = aws.ec2.create_nat_gateway(SubnetId=network.subnet, AllocationId=address)
    network.route(NatGatewayId=gateway["NatGateway"]["NatGatewayId"])
    aws.launch_online(NetworkInterfaces=nic(network.subnet))


def test_endpoints_for_all_services_of_a_builder_are_a_way_out(aws: Aws, network: Network) -> None:
    for service in SERVICES - {"s3"}:
        network.add_endpoint(service)
    aws.stays_offline(aws.launch(NetworkInterfaces=nic(network.subnet)))
    network.add_endpoint("s3")
    aws.launch_online(NetworkInterfaces=nic(network.subnet))


def test_a_peering_connection_is_no_way_out(aws: Aws, network: Network) -> None:
    other = aws.ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    made = aws.ec2.create_vpc_peering_connection(VpcId=network.vpc, PeerVpcId=other)
    peering = made["VpcPeeringConnection"]["VpcPeeringConnectionId"]
    network.route(VpcPeeringConnectionId=peering)
    aws.stays_offline(aws.launch(NetworkInterfaces=nic(network.subnet)))

"""The request of RunInstances, made from the same facts as Frontload's own.

`shared/aws/src/instances.rs` makes the real one; a test compares the two. The program that renders
command and user data does not render it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .account import Account, Options
from .created import tags
from .rust import Os

DATA_DEVICE, ROOT_DEVICE = "/dev/xvdb", "/dev/xvda"
IOPS, THROUGHPUT_MIBS = 3000, 250
"""Of the data volume for small images (`shared/domain/src/volume.rs`)."""


@dataclass(frozen=True)
class Launch:
    """What all launches of a run share."""

    account: Account
    options: Options
    os: Os
    profile: str
    user_data: str

    def request(
        self,
        name: str,
        subnet: str | None,
        snapshot: str | None = None,
        spot: bool = False,
        more_tags: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """The parameters of a launch, with this run's tags on instance and volumes."""
        own = tags(self.account, name, "instance", "volume")
        for one in own:
            one["Tags"] = one["Tags"] + [
                {"Key": key, "Value": value} for key, value in (more_tags or {}).items()
            ]
        request = {
            "ClientToken": f"frontload-check-{self.account.run}-{name.replace(' ', '-')}"[:64],
            "ImageId": self.os.image,
            "InstanceType": self.options.machine,
            "MinCount": 1,
            "MaxCount": 1,
            "IamInstanceProfile": {"Name": self.profile},
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {
                "HttpEndpoint": "enabled",
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 1,
            },
            "NetworkInterfaces": [self._interface(subnet)],
            "BlockDeviceMappings": [_root(), self._data(snapshot)],
            "UserData": self.user_data,
            "TagSpecifications": own,
        }
        if spot:
            once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once}
        return request

    def _interface(self, subnet: str | None) -> dict[str, Any]:
        interface: dict[str, Any] = {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": self.options.public_ip,
        }
        if subnet:
            interface["SubnetId"] = subnet
        if self.options.security_groups:
            interface["Groups"] = list(self.options.security_groups)
        return interface

    def _data(self, snapshot: str | None) -> dict[str, Any]:
        volume: dict[str, Any] = {
            "VolumeType": "gp3",
            "VolumeSize": self.options.volume_gib,
            "Iops": IOPS,
            "Throughput": THROUGHPUT_MIBS,
            "DeleteOnTermination": True,
        }
        if snapshot:
            volume["SnapshotId"] = snapshot
        return {"DeviceName": DATA_DEVICE, "Ebs": volume}


def _root() -> dict[str, Any]:
    volume = {"Encrypted": True, "VolumeType": "gp3", "DeleteOnTermination": True}
    return {"DeviceName": ROOT_DEVICE, "Ebs": volume}

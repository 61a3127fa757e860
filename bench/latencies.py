"""How long AWS takes for the steps that Frontload waits for: assumed, each with source or reason.

We measured nothing here on AWS. `USUAL` has the waits of a build of some 5 GB in three regions.
`SHORT` has those of a small cache, where the time besides the physical waits has a greater share.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

NEAR, FAR = "eu-west-1", "ap-southeast-2"
"""The regions copied to: a copy to the far one takes half as long again."""


@dataclass(frozen=True)
class Latencies:
    """Seconds. The first six are physical waits, which orchestration cannot shorten."""

    running_seconds: float = 16.0
    online_seconds: float = 30.0
    pull_seconds: float = 120.0
    snapshot_seconds: float = 180.0
    copy_seconds: float = 200.0
    stopping_seconds: float = 30.0
    stray: float = 0.15
    """The greatest share by which each boot, snapshot and copy takes more or less time."""
    call_seconds: float = 0.1
    delivery_seconds: float = 1.0
    event_seconds: float = 0.5
    transition_seconds: float = 0.05
    cold_seconds: float = 0.25
    warm_seconds: float = 0.02

    def scaled(self, scale: float) -> Latencies:
        """These latencies multiplied by `scale`, except `stray`."""
        shorter = {name: value * scale for name, value in asdict(self).items() if name != "stray"}
        return replace(self, **shorter)

    def cloud_settings(self) -> dict[str, Any]:
        """The fields of `local_cloud.aws.cloud_state.Settings`."""
        return {
            "instance_running_seconds": self.running_seconds,
            "agent_online_seconds": self.online_seconds,
            "stopping_seconds": self.stopping_seconds,
            "shutting_down_seconds": self.stopping_seconds,
            "snapshot_seconds": self.snapshot_seconds,
            "copy_seconds": self.copy_seconds,
            "copy_seconds_to": {FAR: self.copy_seconds * 1.5},
            "stray": self.stray,
            "call_seconds": self.call_seconds,
            "invocation_delay_seconds": self.delivery_seconds,
        }

    def of_services(self) -> dict[str, float]:
        """The fields of `local_cloud.ministack_record.Latencies`."""
        names = ("transition_seconds", "cold_seconds", "warm_seconds")
        return {name: value for name, value in asdict(self).items() if name in names}


USUAL = Latencies()
SHORT = Latencies(
    running_seconds=8.0,
    online_seconds=20.0,
    pull_seconds=40.0,
    snapshot_seconds=60.0,
    copy_seconds=60.0,
)
ASSUMPTIONS = {
    "running_seconds": (
        "instance pending until running",
        "github.com/brevdev/ec2-coldboot-research: 16.4 to 16.6 s, whatever the type;"
        " daemonology.net 2021-08-12: 4.9 s",
    ),
    "online_seconds": (
        "running until the SSM agent answers",
        "akingscote.co.uk, aws-eks-bottlerocket-prefetch: a Bottlerocket node is ready some 30 s"
        " after its launch; the agent's container is pulled besides",
    ),
    "pull_seconds": ("pull, all images", "our choice: 5 GB at 42 MB/s, or a small cache"),
    "snapshot_seconds": (
        "snapshot pending until completed",
        "github.com/aws/aws-sdk-ruby issue 978: about 3 minutes",
    ),
    "copy_seconds": (
        "copy to a near region; to a far one half as long again",
        "github.com/hashicorp/terraform-provider-aws pull request 40336: volume, snapshot and copy"
        " of 1 GiB in 153 s together",
    ),
    "stopping_seconds": (
        "StopInstances until stopped, by hand, and TerminateInstances until terminated",
        "our choice; Bottlerocket gives a unit 10 s to stop (docs/bottlerocket.md)",
    ),
    "stray": ("share by which boots, snapshots and copies vary, at most", "our choice"),
    "call_seconds": ("a call of EC2, SSM, ECR, KMS or STS", "our choice; most are faster"),
    "delivery_seconds": ("SendCommand until the agent begins", "our choice"),
    "event_seconds": ("push until the state machine starts", "our choice; usually less"),
    "transition_seconds": ("each state of a state machine", "our choice"),
    "cold_seconds": (
        "an execution's first call of each function",
        "fulgurion.com, rust-on-aws-lambda-cold-start: 18 to 22 ms of INIT, the micro-VM and the"
        " code's download besides",
    ),
    "warm_seconds": ("every other call of it", "our choice"),
}
"""By field: its meaning, and the source of the usual value."""

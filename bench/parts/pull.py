"""Part `pull`: our pull phase against snapshot.sh's, including the flush, on the same builder host.

`PULL_SETS`, `PULL_LINKS` and `PULL_VERSIONS` (names separated by commas) choose some of the
combinations, for work on the pull itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..documents import Document, document, figure, table
from ..frame import Bench, BenchError
from ..image_sets import PushedImage, pushed_sets
from ..pulling import DECOMPRESSORS, LINKS, VERSIONS, PullHost, Way, our_way, snapshot_sh_way

SETS = ("sharing", "unrelated", "large")
WANTED_OF_SHARING = 0.5
WANTED = 1.02
NOTES = (
    "Ours and theirs: one SSM command each, over the same path, on fresh builders with the same"
    " containerd, volume, registry and link, in turns; theirs as snapshot.sh pulls, one image after"
    " the other, with a flush at the end, but without its polling every 5 s.",
    "Shaped link: 20 ms and 60 MB/s a connection, by the kernel's pacing of the connection; no slow"
    " start, no loss. Unshaped: the loopback.",
    "An instance is a set of namespaces with a loop-mounted XFS volume on this machine's disk, not"
    " an EC2 instance with EBS; registry and builder share this machine's processors.",
    "containerd is Debian's, with igzip on its PATH for 2.1, and unpigz for 1.7 and 1.6, where"
    " Bottlerocket patches igzip into 1.7.",
    "After the first and the last run of ours, and the first of theirs, every file of a snapshot"
    " was compared with what was pushed.",
)


@dataclass(frozen=True)
class Combination:
    """Which set is pulled, over which link, by which containerd."""

    set_name: str
    link: str
    version: str

    @property
    def name(self) -> str:
        """The combination's name in the figures' names."""
        return f"{self.set_name}.{self.link}.{self.version}"

    @property
    def wanted(self) -> float:
        """The limit that the median ratio should not exceed."""
        is_headline = self.set_name == "sharing" and self.version == "2.1"
        return WANTED_OF_SHARING if is_headline else WANTED


@dataclass
class Rounds:
    """Seconds of a combination's runs, in order."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Ours divided by theirs, of each round."""
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]


def measure(bench: Bench) -> Document:
    """The part's document."""
    combinations = chosen_combinations(os.environ)
    results: dict[Combination, Rounds] = {}
    failures: list[str] = []
    with pushed_sets(bench) as (registry, sets):
        for version in unique(one.version for one in combinations):
            with PullHost(bench.directory / f"pull-{version}", registry, version) as host:
                for one in (one for one in combinations if one.version == version):
                    try:
                        results[one] = measure_combination(bench, host, one, sets[one.set_name])
                    except BenchError as error:
                        # Keep an hour's other figures; this combination stays unmeasured.
                        failures.append(f"NOT MEASURED: {one.name}: {error}")
                        bench.say(failures[-1])
    if not results:
        raise BenchError("; ".join(failures))
    return as_document(results, sets, failures)


def chosen_combinations(environment: os._Environ[str] | dict[str, str]) -> list[Combination]:
    """All combinations, or those that the environment chooses.

    Raises BenchError for an unknown name.
    """
    sets = chosen(environment, "PULL_SETS", SETS)
    links = chosen(environment, "PULL_LINKS", tuple(LINKS))
    versions = chosen(environment, "PULL_VERSIONS", VERSIONS)
    return [
        Combination(set_name, link, version)
        for version in versions
        for set_name in sets
        for link in links
    ]


def chosen(
    environment: os._Environ[str] | dict[str, str], variable: str, known: tuple[str, ...]
) -> tuple[str, ...]:
    """The names in the variable, or all known ones. Raises BenchError for an unknown name."""
    names = tuple(filter(None, environment.get(variable, "").split(",")))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchError(f"{variable} names {', '.join(unknown)}; there are {', '.join(known)}")
    return names or known


def unique(names: Iterable[str]) -> list[str]:
    """The names without repetitions, in order."""
    return list(dict.fromkeys(names))


def measure_combination(
    bench: Bench, host: PullHost, one: Combination, images: Sequence[PushedImage]
) -> Rounds:
    """Run rounds of both ways; each way goes first in every other round."""
    rounds = Rounds()
    ours, theirs = our_way(images), snapshot_sh_way(images)
    for number in range(bench.runs):
        order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        for way in order:
            checked = number == 0 or (way is ours and number == bench.runs - 1)
            seconds = measure_run(host, one, way, images, checked)
            (rounds.ours if way is ours else rounds.theirs).append(seconds)
        bench.say(
            f"{one.name}: ours {rounds.ours[-1]:.1f} s, theirs {rounds.theirs[-1]:.1f} s,"
            f" {rounds.ratios[-1]:.3f}"
        )
    return rounds


def measure_run(
    host: PullHost, one: Combination, way: Way, images: Sequence[PushedImage], checked: bool
) -> float:
    """Seconds of one pull on a fresh builder; checks its content afterwards if `checked`."""
    with host.builder(way.user_data, LINKS[one.link]) as builder:
        seconds = builder.seconds_of(way)
        if checked:
            host.check(builder, images)
    return seconds


def as_document(
    results: dict[Combination, Rounds],
    sets: dict[str, list[PushedImage]],
    failures: Sequence[str] = (),
) -> Document:
    """The part's document: the figures of every combination, and the contents of the sets."""
    figures = {}
    for one, rounds in results.items():
        figures[f"{one.name}.ratio"] = figure("ratio", rounds.ratios, one.wanted)
        figures[f"{one.name}.ours.seconds"] = figure("seconds", rounds.ours)
        figures[f"{one.name}.theirs.seconds"] = figure("seconds", rounds.theirs)
    rows = [set_row(name, sets[name]) for name in unique(one.set_name for one in results)]
    columns = ["set", "images", "distinct layers", "MB compressed", "MB pulled one by one"]
    tables = [table("What is pulled", columns, rows)]
    return document("pull", figures, tables, [*failures, *NOTES], {"decompressors": DECOMPRESSORS})


def set_row(name: str, images: Sequence[PushedImage]) -> list[object]:
    """The row of a set in the table of the sets."""
    distinct = {layer.digest: layer.size for image in images for layer in image.layers}
    total = sum(image.size for image in images)
    return [
        name,
        len(images),
        len(distinct),
        round(sum(distinct.values()) / 1e6),
        round(total / 1e6),
    ]

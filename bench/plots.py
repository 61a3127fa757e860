"""The plots of the report: one SVG per part, identical for identical documents.

Text stays text, and ids and files carry no date, so that a new measurement changes only the data
that it measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .documents import Document
from .figures import Spread

matplotlib.rcParams.update({
    "svg.hashsalt": "frontload",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e5e5",
    "figure.facecolor": "white",
})  # fmt: skip
COLORS = ("#1f5fa8", "#e08214", "#5aae61", "#7b3294", "#999999")
OURS, ADDED = COLORS[0], COLORS[1]


def draw_all(documents: Mapping[str, Document], directory: Path) -> list[str]:
    """Draw the plots of the measured parts; returns the names of the files."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    for part, draw in PLOTS.items():
        if part in documents and (plot := draw(documents[part])):
            plot.savefig(directory / f"{part}.svg", metadata={"Date": None}, bbox_inches="tight")
            pyplot.close(plot)
            drawn.append(f"{part}.svg")
    return drawn


def spreads(content: Document, ending: str) -> dict[str, Spread]:
    """Spreads of the figures whose names end with `ending`, by the rest of the name."""
    return {
        name.removesuffix(ending): Spread.of(one["values"])
        for name, one in content["figures"].items()
        if name.endswith(ending)
    }


def bars(
    axes: Axes, values: Mapping[str, Spread], place: float, width: float, **style: str
) -> None:
    """Draw a bar of the median, with whiskers from minimum to maximum, at each whole number."""
    found = list(values.values())
    medians = [one.median for one in found]
    whiskers = [
        [one.median - one.min for one in found],
        [one.max - one.median for one in found],
    ]
    places = [number + place for number in range(len(found))]
    axes.bar(places, medians, width, yerr=whiskers, capsize=3, ecolor="#444444", **style)


def draw_pull(content: Document) -> Figure | None:
    """Ratios by set and containerd version, one panel per link."""
    ratios = {tuple(name.split(".", 2)): one for name, one in spreads(content, ".ratio").items()}
    ratios = {name: one for name, one in ratios.items() if len(name) == 3}
    if not ratios:
        return None
    links = unique(name[1] for name in ratios)
    versions = sorted(unique(name[2] for name in ratios), reverse=True)
    sets = unique(name[0] for name in ratios)
    plot, panels = pyplot.subplots(1, len(links), figsize=(4.5 * len(links), 3.4), sharey=True,
                                   squeeze=False)  # fmt: skip
    for axes, link in zip(panels[0], links, strict=True):
        for number, version in enumerate(versions):
            width = 0.8 / len(versions)
            found = {one: ratios[one, link, version] for one in sets
                     if (one, link, version) in ratios}  # fmt: skip
            bars(axes, found, (number - (len(versions) - 1) / 2) * width, width,
                 color=COLORS[number], label=f"containerd {version}")  # fmt: skip
        axes.axhline(1.0, color="#444444", linewidth=0.8)
        axes.axhline(0.5, color="#444444", linewidth=0.8, linestyle=":")
        axes.set_xticks(range(len(sets)), sets)
        axes.set_title(f"{link} link")
    panels[0][0].set_ylabel("ours / snapshot.sh's way")
    handles, labels = panels[0][0].get_legend_handles_labels()
    plot.legend(handles, labels, frameon=False, loc="upper center", ncols=len(versions),
                bbox_to_anchor=(0.5, 0.03))  # fmt: skip
    return plot


def draw_node(content: Document) -> Figure | None:
    """Seconds until the first container by image size, cold and from the snapshot."""
    curves: dict[str, list[tuple[float, Spread]]] = {}
    for name, spread in spreads(content, ".seconds").items():
        if name.startswith("curve."):
            _, size, way = name.split(".")
            curves.setdefault(way, []).append((float(size), spread))
    if not curves:
        return None
    plot, axes = pyplot.subplots(figsize=(6, 3.4))
    for color, (way, points) in zip(COLORS, sorted(curves.items()), strict=False):
        points.sort(key=lambda point: point[0])
        sizes = [size for size, _ in points]
        axes.plot(
            sizes, [one.median for _, one in points], "o-", color=color, label=WAYS.get(way, way)
        )
        axes.fill_between(sizes, [one.min for _, one in points], [one.max for _, one in points],
                          color=color, alpha=0.2)  # fmt: skip
    axes.set(xlabel="image, MB compressed", ylabel="seconds to the first container")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False)
    return plot


WAYS = {"cold": "image pulled first", "cached": "from the snapshot"}


def draw_orchestration(content: Document) -> Figure | None:
    """Where a build's time goes: the physical wait of each phase and the time added to it."""
    tables = [one for one in content["tables"] if one["columns"][:2] == ["phase", "took"]]
    if not tables:
        return None
    plot, panels = pyplot.subplots(1, len(tables), figsize=(4 * len(tables), 3.2), sharey=True,
                                   squeeze=False)  # fmt: skip
    for axes, one in zip(panels[0], tables, strict=True):
        rows = one["rows"][::-1]
        phases = [row[0] for row in rows]
        physical = [float(row[2] or 0) for row in rows]
        axes.barh(phases, physical, color=OURS, label="physical wait")
        axes.barh(phases, [max(0.0, float(row[3])) for row in rows], left=physical, color=ADDED,
                  label="added")  # fmt: skip
        axes.set_title(TITLES.get(one["title"], one["title"]), fontsize=10)
        axes.set_xlabel("seconds, median")
    panels[0][-1].legend(frameon=False, loc="upper right")
    return plot


TITLES = {
    "Where the time of a later build goes, seconds": "later build",
    "Where the time of a first build goes, seconds": "first build",
    "The same of a small cache, seconds": "small cache, later build",
}


def draw_growth(content: Document) -> Figure | None:
    """Calls and transitions along each axis, and a straight line through the smallest."""
    points: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for name, one in content["figures"].items():
        axis, _, rest = name.partition(".")
        size, _, what = rest.partition(".")
        if what in ("calls", "transitions"):
            points.setdefault(axis, {}).setdefault(what, []).append((int(size), one["values"][0]))
    if not points:
        return None
    plot, panels = pyplot.subplots(1, len(points), figsize=(3.2 * len(points), 3), squeeze=False)
    for axes, (axis, whats) in zip(panels[0], points.items(), strict=True):
        for color, (what, found) in zip(COLORS, whats.items(), strict=False):
            found.sort()
            axes.plot([size for size, _ in found], [value for _, value in found], "o-",
                      color=color, label=what)  # fmt: skip
        axes.set(xlabel=axis, xlim=(0, None), ylim=(0, None))
    panels[0][0].legend(frameon=False)
    return plot


def draw_cost(content: Document) -> Figure | None:
    """A month's bill of each user: chains, full snapshots and the costs on top."""
    bills: dict[str, dict[str, float]] = {}
    for name, one in content["figures"].items():
        user, _, rest = name.partition(".month.")
        if rest:
            bills.setdefault(rest, {})[user] = one["values"][0]
    if not bills:
        return None
    plot, axes = pyplot.subplots(figsize=(8, 3.4))
    width = 0.8 / len(bills)
    for number, (bill, users) in enumerate(bills.items()):
        places = [user + (number - (len(bills) - 1) / 2) * width for user in range(len(users))]
        axes.bar(places, list(users.values()), width, color=COLORS[number], label=bill)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_xticks(range(len(users)), [f"{one} regions" for one in users])
    axes.set(ylabel="dollars a month", xlabel="caches x regions")
    axes.legend(frameon=False, fontsize=9)
    return plot


def draw_incremental(content: Document) -> Figure | None:
    """Time against a full build, and bytes against the changed layers', by containerd version."""
    ratios = {name.rstrip("."): one for name, one in spreads(content, "ratio").items()}
    times = {name: one for name, one in ratios.items() if re.fullmatch(r"[\d.]+", name)}
    kinds = {name: one for name, one in ratios.items() if name and name not in times}
    if not times:
        return None
    plot, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3))
    bars(left, times, 0, 0.5, color=OURS)
    left.set_xticks(range(len(times)), [f"containerd {name}" for name in times])
    left.set(ylabel="time / full build by snapshot.sh", xlim=(-1, len(times)))
    left.axhline(0.15, color="#444444", linewidth=0.8, linestyle=":")
    bars(right, kinds, 0, 0.5, color=ADDED)
    right.set_xticks(range(len(kinds)), [" ".join(name.rsplit(".", 1)) for name in kinds])
    right.set(ylabel="bytes / changed layers' bytes", xlim=(-1, max(1, len(kinds))))
    right.axhline(1.1, color="#444444", linewidth=0.8, linestyle=":")
    plot.tight_layout()
    return plot


def unique(names: object) -> list[str]:
    """The names without repetitions, in order."""
    return list(dict.fromkeys(names))  # type: ignore[call-overload]


PLOTS: Mapping[str, Callable[[Document], Figure | None]] = {
    "pull": draw_pull,
    "node": draw_node,
    "incremental": draw_incremental,
    "orchestration": draw_orchestration,
    "growth": draw_growth,
    "cost": draw_cost,
}

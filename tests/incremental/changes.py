"""Random histories of a cache's images: what a team pushes and removes between builds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from local_cloud.images import BUSYBOX, Layer

BASES, FEWEST, MOST = 2, 2, 6


@dataclass(frozen=True)
class App:
    """An image of the cache: its base's layers, its own layers, and how the cache refers to it."""

    name: str
    base: str
    """Seed of the base layer, which several apps share."""
    lower: str
    """Seed of its middle layer."""
    top: str
    """Seed of its topmost layer."""
    tag: str = "v1"
    index: bool = False
    """Whether an index for two platforms is pushed instead of a plain manifest."""
    by_digest: bool = False
    """Whether the cache names its digest instead of its tag."""

    @property
    def layers(self) -> list[Layer]:
        """Layers of one to three MiB each; equal seeds give equal layers."""
        seeds = {"base": self.base, "lower": self.lower, "top": self.top}
        sizes = {"base": 3, "lower": 1, "top": 1 + len(self.top) % 2}
        return [BUSYBOX, *(Layer("mixed", f"{k}-{v}", sizes[k]) for k, v in seeds.items())]


Apps = tuple[App, ...]


class ChangeGenerator:
    """Generates changes from a seed: equal seeds give equal changes."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)
        self._count = 0
        self._changes: list[Callable[[Apps], Apps]] = [
            self.change_top,
            self.change_base,
            self.add,
            self.remove,
            self.change_middle,
            self.retag,
            self.pin,
            self.alias,
            self.replace_all,
            self.keep,
        ]
        self._weights = [4, 2, 3, 3, 2, 2, 1, 1, 1, 1]

    def begin(self) -> Apps:
        """The first set of apps."""
        return tuple(self._new_app(f"base-{number % BASES}") for number in range(4))

    def change(self, apps: Apps) -> tuple[str, Apps]:
        """Apply one to three changes; returns their names and the new apps."""
        names = []
        for _ in range(self._source.randint(1, 3)):
            (change,) = self._source.choices(self._changes, self._weights)
            names.append(change.__name__.replace("_", " "))
            apps = change(apps)
        return ", ".join(names), apps

    def _word(self) -> str:
        self._count += 1
        return f"{self._source.randrange(1 << 32):08x}-{self._count}"

    def _new_app(self, base: str) -> App:
        word = self._word()
        index = self._source.random() < 0.3
        return App(f"app-{word[-1]}-{word[:4]}", base, word, word, index=index)

    def _change_one(self, apps: Apps, change: Callable[[App], App]) -> Apps:
        place = self._source.randrange(len(apps))
        return (*apps[:place], change(apps[place]), *apps[place + 1 :])

    def change_top(self, apps: Apps) -> Apps:
        """A new version of one image: its tag moves."""
        return self._change_one(apps, lambda app: replace(app, top=self._word()))

    def change_middle(self, apps: Apps) -> Apps:
        """The middle layer changes, and with it the unpacked layer above."""
        return self._change_one(apps, lambda app: replace(app, lower=self._word()))

    def change_base(self, apps: Apps) -> Apps:
        """Every image on one base is rebuilt on a new base."""
        old, new = self._source.choice(apps).base, f"base-{self._word()}"
        return tuple(replace(app, base=new) if app.base == old else app for app in apps)

    def add(self, apps: Apps) -> Apps:
        """Add one image, mostly on an existing base."""
        if len(apps) >= MOST:
            return apps
        known = self._source.choice(apps).base
        base = known if self._source.random() < 0.7 else f"base-{self._word()}"
        return (*apps, self._new_app(base))

    def remove(self, apps: Apps) -> Apps:
        """Remove one image."""
        if len(apps) <= FEWEST:
            return apps
        place = self._source.randrange(len(apps))
        return (*apps[:place], *apps[place + 1 :])

    def retag(self, apps: Apps) -> Apps:
        """The same image under another tag: its old name must go."""
        return self._change_one(
            apps, lambda app: replace(app, tag=f"v{self._word()}", by_digest=False)
        )

    def pin(self, apps: Apps) -> Apps:
        """The same image, named only by its digest, or by its tag again."""
        return self._change_one(apps, lambda app: replace(app, by_digest=not app.by_digest))

    def alias(self, apps: Apps) -> Apps:
        """The same image once more, under a second tag."""
        if len(apps) >= MOST:
            return apps
        one = self._source.choice(apps)
        return (*apps, replace(one, tag=f"v{self._word()}", by_digest=False))

    def replace_all(self, apps: Apps) -> Apps:
        """Replace all images."""
        base = f"base-{self._word()}"
        return tuple(self._new_app(base) for _ in apps)

    def keep(self, apps: Apps) -> Apps:
        """Change nothing."""
        return apps

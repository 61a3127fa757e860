"""The rooms of the functions' crate. cargo-deny and cargo tree hold the crates (`make check`)."""

import re
from pathlib import Path

from .templates import ROOT

STEPS = ROOT / "functions" / "src" / "steps"
TESTS_BELOW = re.compile(r"^#\[cfg\(test\)\]\nmod tests", re.MULTILINE)


def steps() -> list[Path]:
    return [path for path in STEPS.glob("*.rs") if path.name != "mod.rs"]


def imported_steps(code: str) -> list[str]:
    """The steps that a step's code imports."""
    names = "|".join(path.stem for path in steps())
    code = TESTS_BELOW.split(code)[0]
    return re.findall(rf"\bcrate::steps::(\w+)|\bsuper::({names})\b", code)


def test_no_step_imports_a_step() -> None:
    assert len(steps()) == 13, "correct this number if you added or removed a step"
    found = {path.name: imported_steps(path.read_text()) for path in steps()}
    assert {name: imports for name, imports in found.items() if imports} == {}


def test_an_import_of_a_step_is_noticed() -> None:
    assert imported_steps("use crate::steps::reap;\n") == [("reap", "")]
    assert imported_steps("use super::publish::list;\n") == [("", "publish")]
    assert imported_steps("#[cfg(test)]\nmod tests {\n    use crate::steps::reap;\n}\n") == []

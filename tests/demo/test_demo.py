"""Tests of `make demo`, run as a user runs it, with small images of the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from local_cloud.images import BUSYBOX, Layer, Layout

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "target" / "demo" / "result.json"
REAL = os.geteuid() == 0 or "FRONTLOAD_REQUIRE_CONTAINERD" in os.environ
DEMO_SECONDS = 300
FILES = 3


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two layouts: the index of one has a tag, the index of the other has none."""
    busybox = [BUSYBOX] if REAL else []
    for name, tag in (("tagged", "v2"), ("plain", None)):
        layout = Layout(tmp_path / "images" / name)
        layout.add_image(tag or "any", [*busybox, Layer("mixed", name, FILES)])
        if tag is None:
            index = tmp_path / "images" / name / "index.json"
            document = json.loads(index.read_text())
            del document["manifests"][0]["annotations"]
            index.write_text(json.dumps(document))
    return tmp_path / "images"


def run_demo(images: Path, **environment: str) -> tuple[int, str, dict[str, Any]]:
    """Run the demo once; returns its exit code, output and result document."""
    RESULT.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "bench.demo"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "tests", "IMAGES": str(images), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    return done.returncode, done.stdout, result


@pytest.mark.skipif(not REAL, reason="a real builder host needs root")
def test_two_demos_in_a_row_both_boot_nodes_from_their_own_publications(images: Path) -> None:
    for _ in range(2):
        code, output, result = run_demo(images)
        assert code == 0, output
        assert result["builderHost"] == "containerd"
        assert result["execution"]["status"] == "SUCCEEDED"
        tags = [image["reference"].rsplit("/", 1)[1] for image in result["images"]]
        assert tags == ["plain:latest", "tagged:v2"]
        node = result["node"]
        assert (node["imagesPresent"], node["bytesPulled"], node["filesWrong"]) == (2, 0, 0)
        assert node["filesChecked"] > 2 * FILES
        places = {(p["account"], p["region"]) for p in result["publications"]}
        assert len(places) == len(result["publications"]) == 9
        assert node["firstContainerSeconds"] > 0
        assert result["cold"]["pullSeconds"] > 0


def test_without_registry_and_containerd_the_demo_names_its_stand_ins(images: Path) -> None:
    code, output, result = run_demo(images, PATH="/nonexistent")
    assert code == 0, output
    assert "registry: SCRIPTED stand-in" in output
    assert "builder host: SCRIPTED stand-in" in output
    assert result["builderHost"] == "scripted"
    assert result["execution"]["status"] == "SUCCEEDED"


def test_a_directory_without_layouts_is_refused_with_the_remedy(tmp_path: Path) -> None:
    code, output, _ = run_demo(tmp_path)
    assert code == 1
    assert "give a directory with one per image" in output

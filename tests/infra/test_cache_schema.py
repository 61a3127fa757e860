"""The JSON Schema of the cache document: what Frontload's parser accepts, it accepts too.

A Rust test writes the schema from the types (`make docs`).
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from statemachine.asl_definitions import ROOT

VALIDATOR = Draft202012Validator(json.loads((ROOT / "docs" / "cache.schema.json").read_text()))
EXAMPLES = sorted((ROOT / "examples" / "caches").glob("*.json"))
HOSTILE = ROOT / "tests" / "hostile" / "caches"
# Python cannot read the deepest one either.
REFUSED = sorted(set(HOSTILE.glob("refused-*.json")) - {HOSTILE / "refused-deep.json"})
REFERENCES = sorted(HOSTILE.parent.glob("references/*.txt"))
ACCEPTED = sorted(HOSTILE.glob("accepted-*.json"))
# What the parser refuses and no schema can: what is wrong is the text, not the value.
TEXT_ALONE = {
    "refused-consumers-that-stand-twice.json",
    "refused-float-for-an-integer.json",
}
# A mistyped host of ECR: the schema would have to name every host that is meant as one.
HOST_ALONE = {
    "refused-ecr-by-way-of-a-port.json",
    "refused-ecr-in-capitals.json",
    "refused-ecr-in-capitals.txt",
    "refused-ecr-with-a-port.txt",
}
# Not JSON as `json.loads` reads it.
NO_JSON = {
    "refused-byte-order-mark.json",
    "refused-empty.json",
    "refused-no-utf8.json",
    "refused-nul-after-the-end.json",
    "refused-two-documents.json",
}


def mistakes(document: Any) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(document)]


def name(path: Path) -> str:
    return path.name


def smallest(**fields: Any) -> dict[str, Any]:
    return json.loads((HOSTILE / "accepted-smallest.json").read_text()) | fields


def test_the_schema_is_valid() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("path", EXAMPLES + ACCEPTED, ids=name)
def test_a_document_that_the_parser_accepts_is_valid(path: Path) -> None:
    assert mistakes(json.loads(path.read_text())) == []


def test_every_kind_of_document_is_there() -> None:
    assert len(EXAMPLES) >= 4
    assert len(ACCEPTED) >= 4
    assert len(REFERENCES) >= 20
    assert {path.name for path in REFUSED + REFERENCES} > TEXT_ALONE | HOST_ALONE | NO_JSON


@pytest.mark.parametrize("path", REFUSED, ids=name)
def test_a_document_that_the_parser_refuses_is_not_valid(path: Path) -> None:
    try:
        document = json.loads(path.read_text())
    except ValueError:
        assert path.name in NO_JSON
        return
    is_unnoticed = path.name in TEXT_ALONE | HOST_ALONE
    assert (mistakes(document) == []) == is_unnoticed
    assert path.name not in NO_JSON


@pytest.mark.parametrize("path", REFERENCES, ids=name)
def test_a_reference_is_valid_as_the_parser_says(path: Path) -> None:
    is_valid = path.name.startswith("accepted-") or path.name in HOST_ALONE
    reference = path.read_bytes().decode(errors="replace")
    assert (mistakes(smallest(images=[reference])) == []) == is_valid


REPOSITORY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.mark.parametrize(
    "fields",
    [
        {"images": [{"repository": REPOSITORY, "tags": None, "versions": ">=1.2, <2"}]},
        {"images": ["localhost:5000/a:b", "docker.io/library/some__odd--name:_T.a-g"]},
        {"images": [f"public.ecr.aws/nginx/nginx@sha256:{'0' * 64}"]},
        {"watch": ["*:*", "team/*:v?"], "sourceAccounts": ["210987654321"]},
        {"osUpdates": {"days": ["saturday", "sunday"], "startHour": 23, "hours": 24}},
        {"osUpdates": "never", "copyMinutes": None},
        {"builder": {"volumeGib": "auto", "publicIp": True, "securityGroupIds": ["sg-0abc"]}},
        {"regions": [{"region": "us-gov-west-1"}, {"region": "eu-west-1", "kmsKeyId": KEY}]},
        {"consumers": [{"account": "210987654321", "role": "a+b", "eventBus": "a.b"}]},
    ],
    ids=str,
)
def test_every_form_of_a_field_is_valid(fields: dict[str, Any]) -> None:
    assert mistakes(smallest(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"$schema": "cache.schema.json"}, "$"),
        ({"image": []}, "$"),
        ({"images": []}, "$.images"),
        ({"images": ["nginx:1.27"]}, "$.images[0]"),
        ({"images": ["ghcr.io/team/app"]}, "$.images[0]"),
        ({"images": [{"repository": REPOSITORY}]}, "$.images[0]"),
        ({"images": [{"repository": REPOSITORY, "tags": "*", "versions": "*"}]}, "$.images[0]"),
        ({"images": [{"repository": REPOSITORY, "tags": "*", "newest": 51}]}, "$.images[0]"),
        ({"architectures": ["riscv64"]}, "$.architectures[0]"),
        ({"architectures": ["arm64", "arm64"]}, "$.architectures"),
        ({"variant": "aws-k8s-1.35-nvidia"}, "$.variant"),
        ({"builder": {"volumeGib": 19}}, "$.builder.volumeGib"),
        ({"builder": {"instanceTypes": ["large"]}}, "$.builder.instanceTypes[0]"),
        ({"osUpdates": {"days": [], "startHour": 1, "hours": 1}}, "$.osUpdates"),
        ({"regions": [{"region": "nowhere"}]}, "$.regions[0].region"),
        ({"copyMinutes": 20}, "$.copyMinutes"),
        ({"retain": {"count": 0}}, "$.retain.count"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(fields: dict[str, Any], where: str) -> None:
    assert mistakes(smallest(**fields)) == [where]

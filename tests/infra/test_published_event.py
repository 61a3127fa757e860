"""The event of a publication matches its schema, and the schema rejects what does not fit."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from statemachine.asl_definitions import ROOT

SCHEMA = json.loads((ROOT / "infra" / "events" / "snapshot-published.schema.json").read_text())
SAMPLE = json.loads((ROOT / "tests" / "events" / "snapshot-published.json").read_text())


def complaints(detail: Any) -> list[str]:
    return [error.json_path for error in Draft202012Validator(SCHEMA).iter_errors(detail)]


def test_the_schema_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_sample_fits() -> None:
    assert complaints(SAMPLE) == []


def test_the_sample_has_exactly_the_fields_of_the_schema() -> None:
    assert set(SAMPLE) == set(SCHEMA["properties"])


def test_an_unencrypted_snapshot_needs_no_key() -> None:
    plain = {field: value for field, value in SAMPLE.items() if field != "kmsKeyId"}
    assert complaints(plain | {"encrypted": False}) == []
    assert complaints(plain | {"encrypted": False, "kmsKeyId": None}) == []


@pytest.mark.parametrize("field", SCHEMA["required"])
def test_a_missing_field_is_noticed(field: str) -> None:
    assert complaints({name: value for name, value in SAMPLE.items() if name != field}) != []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account", "21098765432"),
        ("region", "eu-west-1a"),
        ("parameter", "/frontload/default/x86_64/manifest"),
        ("frontload", "latest"),
        ("snapshotId", "vol-1"),
        ("kmsKeyId", None),
        ("kmsKeyId", "alias/aws/ebs"),
        ("images", []),
        ("images", [{"reference": "team/app:v1"}]),
        ("replicas", []),
        ("replicas", [{"region": "eu-west-1"}]),
        ("consumers", ["2109"]),
        ("initialization", {"seconds100MiBs": 154}),
        ("volumeGib", "20"),
        ("durations", {"total": 1}),
        ("durations", SAMPLE["durations"] | {"pull": 1.5}),
    ],
)
def test_a_wrong_value_is_noticed(field: str, value: Any) -> None:
    assert complaints(SAMPLE | {field: value}) != []

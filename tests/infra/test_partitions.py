"""The templates, the state machines and the code work in every partition: none names one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from statemachine.asl_definitions import ROOT

from tools import pull_script

from .resolution import PARTITIONS, resolve, translate
from .templates import TEMPLATES

LITERAL = re.compile(r"arn:aws[a-z-]*:")
HOST = re.compile(r"[\w<>*.-]*amazonaws\.com(?:\.cn)?")
ONLY_FOR_TESTS = r"#\[cfg\((?:test|any\(test, .*\))\)\]\n(?:pub(?:\(\w+\))? )?mod "
TEST_MODULE = re.compile(ONLY_FOR_TESTS + r"(\w+);")
TESTS_BELOW = re.compile(ONLY_FOR_TESTS + r"\w+ \{")
# Hosts that the code knows: the suffix by partition, and the form that a message asks for.
KNOWN_HOSTS = {
    "<account>.dkr.ecr.<region>.amazonaws.com",
    "amazonaws.com",
    "amazonaws.com.cn",
    # Not a host: the name of a service principal, which is the same in every partition.
    "spot.amazonaws.com",
}


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_stack_names_only_its_own_partition(name: str, partition: str) -> None:
    options = {"KmsKeyArn": "<key>", "SubnetIds": "subnet-a", "SecurityGroupIds": "sg-a"}
    options |= {"ConsumerExternalId": "id", "OrganizationId": "o-1", "SourceAccountIds": "1"}
    template = translate(name, partition)
    given = {key: one for key, one in options.items() if key in template["Parameters"]}
    text = json.dumps(resolve(template, partition, **given))
    arns = set(re.findall(r"arn:(aws[a-z-]*):", text))
    assert arns == {partition}
    _, suffix = PARTITIONS[partition]
    services = {"lambda", "states", "events", "scheduler"}
    for host in HOST.findall(text):
        service = host.partition(".")[0]
        wanted = "amazonaws.com" if service in services else suffix
        assert host.endswith(wanted), host


def rust_sources() -> list[Path]:
    crates = ("functions", "shared/aws", "shared/builder", "shared/domain")
    return [path for crate in crates for path in (ROOT / crate / "src").rglob("*.rs")]


def is_for_tests(path: Path, test_modules: set[Path]) -> bool:
    return any(one in test_modules for one in (path.with_suffix(""), *path.parents))


def modules_only_for_tests(path: Path) -> set[Path]:
    """The modules, as paths without suffix, that a source file declares only for tests."""
    owner = path.parent if path.stem in ("lib", "main", "mod") else path.with_suffix("")
    return {owner / name for name in TEST_MODULE.findall(path.read_text())}


def product_code() -> dict[str, str]:
    """The text of each file of the product, without its tests."""
    sources = rust_sources()
    tests = {module for path in sources for module in modules_only_for_tests(path)}
    files = [path for path in sources if not is_for_tests(path, tests)]
    files += (ROOT / "shared" / "builder" / "src").rglob("*.sh")
    files += [*(ROOT / "infra").glob("*.yaml"), *(ROOT / "statemachine").glob("*.json")]
    return {str(path.relative_to(ROOT)): TESTS_BELOW.split(path.read_text())[0] for path in files}


def test_the_code_is_found() -> None:
    code = product_code()
    some = {
        "infra/template.yaml",
        "shared/builder/src/pull/main.sh",
        "functions/src/steps/claim.rs",
    }
    assert some <= code.keys()
    assert [name for name in code if "soak" in name or "testing" in name] == []
    assert "FakeCloud" not in code["functions/src/steps/claim.rs"]


def test_no_arn_names_a_fixed_partition() -> None:
    assert {
        name: found for name, text in product_code().items() if (found := LITERAL.findall(text))
    } == {}


def test_the_code_names_no_host_of_a_fixed_partition() -> None:
    """Endpoints are the SDK's. The builder's script takes its domain from the image's name."""
    found = {
        f"{name}: {host}"
        for name, text in product_code().items()
        if not name.startswith("infra/")
        for host in HOST.findall(text)
        if host.lstrip(".") not in KNOWN_HOSTS
    }
    assert found == set()
    script = pull_script.text()
    assert '"https://api.ecr.$1.$2/"' in script
    assert set(re.findall(r"https?://[^\s\"']+", script)) == {
        "http://169.254.169.254/latest",
        "https://api.ecr.$1.$2/",
    }

"""An upgrade from the previous template to this one, and a rollback of it, lose nothing.

`infra/history.py` defines "previous"; the binary is the current one. CloudFormation is MiniStack's:
`infra/upgrade_rules.py` checks what AWS would replace.
"""

from __future__ import annotations

from pathlib import Path

from end_to_end.inspector import Inspector
from end_to_end.stack import BUILD_DIR, Cache, Execution, machine_architecture
from infra.history import needs_history
from local_cloud.cloud import LocalCloud

from .conftest import NewStack
from .deployment import Deployment
from .previous import stage_previous


@needs_history
def test_an_upgrade_and_a_downgrade_keep_configuration_publications_and_leases(
    cloud: LocalCloud, new_stack: NewStack, tmp_path: Path
) -> None:
    stack, inspector = new_stack("upgraded"), Inspector(cloud)
    previous = stage_previous(tmp_path)
    given = {
        "Architecture": machine_architecture(),
        "ParameterPrefix": stack.prefix,
        "ReconcileRate": "rate(3 hours)",
    }
    stack.upgrade_to(BUILD_DIR, **given)
    cache = stack.cache()
    cache.put()
    snapshots = [build(cache, "app", inspector)]

    # Nothing is built there: the builders of version 0.1.0 never come online.
    kept_across(stack, previous)
    assert {name: stack.parameters()[name] for name in given} == given
    kept_across(stack, BUILD_DIR)
    # CREATE_COMPLETE where both templates give the same resources with these parameters.
    assert stack.status() in ("UPDATE_COMPLETE", "CREATE_COMPLETE")
    assert {name: stack.parameters()[name] for name in given} == given
    cache = stack.cache()
    snapshots.append(build(cache, "other", inspector))
    assert inspector.published(cache, "previous")[0] == snapshots[0]
    # A rollback of the publication restores what was published before the upgrade.
    rollback = {"cache": cache.name, "architecture": cache.architecture}
    succeeded(cache.frontload.ask(rollback=rollback))
    assert inspector.published(cache)[0] == snapshots[0]
    assert len(set(snapshots)) == 2
    assert set(snapshots) <= set(stack.snapshots())


def succeeded(execution: Execution) -> Execution:
    assert execution.status == "SUCCEEDED", execution.cause
    return execution


def build(cache: Cache, image: str, inspector: Inspector) -> str:
    """Push an image and wait until the stack publishes it; returns the snapshot id."""
    push = cache.push(image)
    succeeded(push.execution)
    snapshot_id, manifest = inspector.published(cache)
    assert [one["digest"] for one in manifest["images"]] == [push.digest]
    return snapshot_id


def kept_across(stack: Deployment, template: Path) -> None:
    """Deploy a template over the stack; its state and the ids that others use must not change."""
    before, ids = stack.kept(), stack.resources()
    assert before.configuration and before.published and before.snapshots and before.leases
    stack.upgrade_to(template)
    assert stack.kept() == before
    after = stack.resources()
    common = ids.keys() & after.keys()
    assert {"LeaseTable", "DeadLetterQueue", "BuilderRole", "PipelineStateMachine"} <= common
    assert {name: after[name] for name in common} == {name: ids[name] for name in common}

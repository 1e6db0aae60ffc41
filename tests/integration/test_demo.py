"""The demo, as small as it can be, on real processes: every step of the loop does its work."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import select

from services import context as wiring
from services.config.settings import Settings
from services.context import Context
from services.db.tables import (
    Annotation,
    Cycle,
    CycleState,
    DatasetVersion,
    Explanation,
    FailureRow,
    Image,
    LabelTask,
    Model,
    Role,
    TaskState,
    Unit,
    UnitState,
)
from services.demo.run import DemoOptions, run_demo
from services.demo.sizes import DemoSize
from services.upkeep import invariants
from tests.services import docs_pictures
from tests.services.browser import browser as browser

pytestmark = pytest.mark.timeout(600)  # whichever test is first runs the demo
SIZE = DemoSize(
    seed_images=48,
    pool_images=64,
    field_frames=8,
    sibling_frames=8,
    holdout_images=12,
    budget_boxes=16,
    cycles=1,
    epochs=2,
    finetune_epochs=1,
    num_samples=4,
)
FEW_SAMPLES = 16
KEYS = {
    "failures_before",
    "failures_after",
    "siblings_failed_before",
    "siblings_failed_after",
    "map50_before",
    "map50_after",
    "negative_flips",
    "boxes_labelled",
    "promoted",
    "seconds",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a finished demo lies, with a copy that selected at random beside."""
    folder = tmp_path_factory.mktemp("demo")
    run_demo(DemoOptions(folder, SIZE, seed=3, compare="random"), Console(quiet=True))
    return folder


@pytest.fixture(scope="module")
def project(folder: Path) -> Context:
    """The project of the loop that selected by explanation."""
    return wiring.build(Settings(project=folder / "project-e2x"))


@pytest.fixture(scope="module")
def result(folder: Path) -> dict[str, Any]:
    """What ``result.json`` says."""
    loaded: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return loaded


def test_result_has_every_figure_for_both_policies(result: dict[str, Any]) -> None:
    assert result.keys() >= KEYS
    assert result["random"].keys() >= KEYS
    # Of the frames that judge in the end: each policy's own modes were dealt.
    assert min(result["failures_before"], result["random"]["failures_before"]) > 0
    assert result["boxes_labelled"] > 0


def test_report_shows_the_loop(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert page.count("data:image/") > 4
    assert "http://" not in page.replace("http://www.w3.org/", "")


def test_no_unit_is_left_or_parked(project: Context) -> None:
    with project.sessions() as session:
        states = session.execute(select(Unit.kind, Unit.state)).all()
    assert {state for _, state in states} == {UnitState.DONE}
    assert {kind for kind, _ in states} == {
        "scan",
        "explain",
        "embed",
        "index",
        "score_pool",
        "select",
        "synthesize",
        "train",
        "gate",
    }


def test_every_invariant_holds(project: Context) -> None:
    assert invariants.check(project) == []


def test_cycle_ends_with_a_stored_decision(project: Context) -> None:
    with project.sessions() as session:
        cycle = session.scalars(select(Cycle)).one()
    assert cycle.state == CycleState.DONE
    assert cycle.decision is not None
    assert {check["name"] for check in cycle.decision["checks"]} >= {
        "holdout mAP",
        "negative flips",
        "siblings found",
        "targeted modes",
    }


def test_only_pool_images_are_asked_for_and_each_once(project: Context) -> None:
    with project.sessions() as session:
        tasks = session.execute(
            select(LabelTask, Image).join(Image, Image.id == LabelTask.image_id)
        ).all()
    assert {image.role for _, image in tasks} == {Role.POOL}
    assert len({image.id for _, image in tasks}) == len(tasks)
    assert {task.state for task, _ in tasks} <= {TaskState.SUBMITTED, TaskState.SKIPPED}
    assert all(task.reason["text"] for task, _ in tasks)


def test_lineage_can_be_walked_from_failure_to_model(project: Context) -> None:
    with project.sessions() as session:
        label = session.scalars(
            select(Annotation).where(Annotation.origin.is_not(None)).limit(1)
        ).one()
        failure = session.get_one(FailureRow, label.origin)
        assert session.scalars(
            select(Explanation).where(Explanation.failure_id == failure.id)
        ).one()
        cycle = session.get_one(Cycle, label.cycle_id)
        challenger = session.get_one(Model, cycle.challenger_id)
        version = session.get_one(DatasetVersion, challenger.dataset_version_id)
        parent = session.get_one(Model, challenger.parent_id)
    assert version.parent_id == parent.dataset_version_id
    manifest = (project.project.manifests / version.file).read_text()
    assert f'"image":"{label.image_id}"' in manifest
    assert f'"origin":"{failure.id}"' in manifest


def test_the_pictures_of_the_documentation_are_of_pages_that_fit(
    request: pytest.FixtureRequest, tmp_path: Path, browser: Any
) -> None:
    """``E2X_PICTURES_OF=demo/project`` takes them of a whole demo, and writes them to docs/."""
    docs, whole = Path(__file__).parents[2] / "docs", os.environ.get("E2X_PICTURES_OF")
    source = Path(whole) if whole else request.getfixturevalue("project").project.root
    with docs_pictures.copy_of(source, tmp_path / "project") as context:
        addresses = docs_pictures.prepare(context, None if whole else FEW_SAMPLES)
        docs_pictures.work(context)
        docs_pictures.take(context, browser, addresses, tmp_path)
    taken = sorted(tmp_path.glob("pages_*.jpg"))
    shown = re.findall(r"!\[[^]]+\]\((pages_\w+\.jpg)\)", (docs / "pages.md").read_text())
    assert sorted(shown) == [file.name for file in taken]
    for file in (*taken, *(docs / name for name in shown)):
        assert file.stat().st_size <= docs_pictures.MOST_BYTES, file
    if whole:
        for file in taken:
            shutil.copy(file, docs)

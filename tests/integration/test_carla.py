"""The loop on real driving scenes, reduced: towns 1 and 2 to learn from, 5 to fail on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from rich.console import Console

from services import context as wiring
from services.api.auth import project_token
from services.config.settings import Settings
from services.context import Context
from services.cycle import cycles
from services.db import migrate
from services.db.tables import CycleState, Image, Role
from services.demo.annotator import Annotator, hidden_truth
from services.demo.client import make_client
from services.demo.loop import DemoLoop
from services.demo.progress import Board
from services.intake.imports import ImportOptions, Part, import_dataset
from services.models import registry
from services.worker.supervisor import Supervisor

SETTINGS = """
seed = 1
[api]
port = 0
[ingest]
ignore_below_px = 12
[detector]
input_height_px = 128
input_width_px = 224
min_scale = 0.06
[training]
epochs = 1
finetune_epochs = 1
[explanation]
num_samples = 4
min_recall = 0
max_failures_per_image = 2
[selection]
budget_boxes = 12
encoder_height_px = 128
encoder_width_px = 224
"""


@pytest.fixture(scope="module")
def towns(shared_data: Path) -> Path:
    """The folder with one COCO file a town."""
    return shared_data / "carla"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, towns: Path) -> Context:
    """A project with a part of each town in its role, in blocks of consecutive frames."""
    folder = tmp_path_factory.mktemp("carla")
    (folder / "e2x.toml").write_text(SETTINGS)
    context = wiring.build(Settings(project=folder))
    migrate.upgrade(context.engine)
    parts = (
        ("town01.json", Role.SEED, Part(1, 6, 8)),
        ("town02.json", Role.SEED, Part(1, 6, 8)),
        ("town03.json", Role.POOL, Part(1, 6, 8)),
        ("town05.json", Role.HOLDOUT, Part(1, 8, 4)),
        ("town05.json", Role.FIELD, Part(5, 16, 4)),
    )
    for file, role, part in parts:
        report = import_dataset(context, towns / file, role, ImportOptions(part=part))
        assert report.images_added > 0
        assert not report.problems
    return context


@pytest.fixture(scope="module")
def loop(project: Context, towns: Path) -> Iterator[DemoLoop]:
    """The project's services, up."""
    with ExitStack() as stack:
        up = stack.enter_context(Supervisor(project))
        up.wait_ready()
        client = stack.enter_context(make_client(str(up.api_url), project_token(project)))
        yield DemoLoop(project, client, towns, Board(Console(quiet=True)))


def test_roles_are_disjoint_and_small_boxes_are_ignored(project: Context) -> None:
    with project.sessions() as session:
        roles = {image.id: image.role for image in session.query(Image)}
    assert set(roles.values()) == {Role.SEED, Role.POOL, Role.HOLDOUT, Role.FIELD}


@pytest.mark.timeout(600)
def test_one_cycle_on_real_frames(project: Context, loop: DemoLoop, towns: Path) -> None:
    champion = loop.train_first()
    loop.wait_idle("explain and embed", ("scan", "explain", "embed", "index"))
    page = loop.client.get("/v1/failures", params={"state": "explained"}).json()["items"]
    assert page, "an epoch cannot find every object of another town"
    overlay = loop.client.get(f"/v1/failures/{page[0]['id']}/overlay.png")
    assert overlay.headers["content-type"] == "image/png"
    number = loop.client.post("/v1/cycles", json={}).json()["id"]
    loop.await_state(number, "select", CycleState.LABELLING)
    answered = _annotate(loop.client, project, towns, number)
    assert answered > 0
    loop.await_state(number, "retrain and gate", CycleState.DONE)
    with project.sessions() as session:
        cycle = cycles.find(session, number)
        assert cycle.decision is not None
        assert cycle.challenger_id not in (None, champion.id)
        kept = registry.require_champion(session).id
        assert kept == (cycle.challenger_id if cycle.promoted else champion.id)


def _annotate(client: httpx.Client, project: Context, towns: Path, number: int) -> int:
    with project.sessions() as session:
        names = registry.require_champion(session).class_names[1:]
    truth = hidden_truth(towns / "town03.json", towns / "images")
    for objects in truth.values():
        objects[:] = [entry for entry in objects if entry["label"] in names]
    annotator = Annotator(client, truth, names, 0.0, np.random.default_rng(0))
    return annotator.answer_all(number, lambda _done: None)


def test_the_towns_are_what_their_description_says(towns: Path) -> None:
    counts = {
        name: len(json.loads((towns / f"{name}.json").read_text())["images"])
        for name in ("town01", "town05")
    }
    assert counts == {"town01": 200, "town05": 249}

"""Images that became unreadable after they came in: what goes on without them says how many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from benchmarks.common.projects import make_context
from services import units
from services.api.app import create_app
from services.context import Context
from services.cycle import unreadable
from services.cycle.unreadable import Unreadable
from services.db.tables import Cycle, CycleState, Embedding, Image, Model, Role, Unit, UnitState
from services.models import training
from services.report import build
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import add_champion, add_holdout_image, make_image
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco
from tests.services.report_project import fill

SETTINGS = """[detector]
weights = "random"
input_height_px = 64
input_width_px = 64
[training]
epochs = 1
batch_size = 4
[workers]
threads = 1
"""


@pytest.fixture
def seeded(line: CommandLine, tmp_path: Path) -> CommandLine:
    """A project with eight labelled images and two to judge by, which trains in seconds."""
    (line.root / "e2x.toml").write_text(SETTINGS)
    line.done("import", write_coco(tmp_path / "seed", pictures(*range(1, 9))), "--role", "seed")
    held = write_coco(tmp_path / "holdout", pictures(40, 41))
    line.done("import", held, "--role", "holdout")
    return line


def cut_short(line: CommandLine, role: Role, count: int) -> list[str]:
    """Cut files of a role in half, as a disk that fills up or a broken copy does; their ids."""
    with line.opened() as context, context.sessions() as session:
        rows = session.scalars(select(Image).where(Image.role == role).order_by(Image.id)).all()
        for row in rows[:count]:
            file = context.project.images / row.file
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        return [row.id for row in rows[:count]]


def train_as_a_worker(line: CommandLine) -> str:
    """Ask for the first training and do it as the train worker does; what became of it."""
    with line.opened() as context:
        with context.sessions.begin() as session:
            unit_id = training.request(session).id
        return shell.run(context, Resident(), unit_id, "test")


def train_unit(line: CommandLine) -> Unit:
    with line.opened() as context, context.sessions() as session:
        return session.scalars(select(Unit).where(Unit.key == training.FIRST_KEY)).one()


@pytest.mark.parametrize("door", ["command", "worker"])
def test_a_training_goes_on_without_an_unreadable_image_and_says_so(
    seeded: CommandLine, door: str
) -> None:
    [torn] = cut_short(seeded, Role.SEED, 1)
    assert "unreadable" not in {row["what"] for row in seeded.run("doctor", "--json").json}
    if door == "command":
        cut_short(seeded, Role.HOLDOUT, 1)
        said = seeded.done("train").out
        assert "model 1 is the champion" in said
        assert "1 labelled images not trained on, 1 evaluation images not judged by" in said
        assert "e2x doctor --deep" in said
    else:
        assert train_as_a_worker(seeded) == "done"
    assert (train_unit(seeded).result or {})["unreadable"] == 1
    model = seeded.done("models", "show", "1", "--json").json
    assert [torn in file for file in model["training"]["unreadable"]] == [True]
    assert (model["unreadable"]["train"], model["unreadable"]["evaluate"]) == (1, door == "command")
    assert "1 labelled images not trained on" in seeded.done("models", "show", "1").out
    found = {row["what"]: row for row in seeded.run("doctor", "--json").json}
    assert found["unreadable"]["state"] == "warn"
    assert found["unreadable"]["found"].startswith("1 labelled images not trained on")
    assert "e2x doctor --deep" in found["unreadable"]["advice"]
    assert seeded.done("cycle", "plan", "--json").json["unreadable"]["train"] == 1
    assert torn[:12] in seeded.run("doctor", "--deep").out


def test_a_training_without_many_of_its_images_ends_with_what_to_do(seeded: CommandLine) -> None:
    cut_short(seeded, Role.SEED, 3)
    said = seeded.refused("train", code=1)
    assert "3 of 8 images cannot be read, at most 1 may be left out" in said
    assert "put the files back from a backup" in said
    unit = train_unit(seeded)
    assert (unit.state, unit.error_code) == (UnitState.DEAD, "images_unreadable")
    assert seeded.done("models", "list", "--json").json == []


def finish(context: Context, kind: str, key: str, result: dict[str, Any], **values: Any) -> None:
    """A unit that has ended with a result."""
    images = values.pop("images", [])
    with context.sessions.begin() as session:
        unit = units.enqueue(session, kind, key, {"images": images}, **values)
        claim = units.claim(session, unit.id, "test", 60.0)
        assert claim is not None
        units.finish(session, claim, result)


def a_cycle(context: Context) -> int:
    """A cycle whose challenger has lost an image in training and one in the holdout."""
    with context.sessions.begin() as session:
        champion = add_champion(session)
        add_holdout_image(session)
        session.add_all(make_image(number) for number in range(1, 6))
        cycle = Cycle(
            policy="e2x", budget_boxes=9, champion_id=champion.id, state=CycleState.GATING
        )
        session.add(cycle)
        session.flush()
        challenger = Model(
            id=f"{2:064x}",
            number=2,
            state="challenger",
            folder="models/2",
            architecture="ssdlite_efficientnet_lite0",
            class_names=["background", "car"],
            training={"unreadable": ["ab/cd.png"]},
            reports={"holdout": {"unreadable": 1}, "siblings": {"unreadable": 2}},
        )
        session.add(challenger)
        session.flush()
        cycle.challenger_id = challenger.id
        return cycle.id


def test_what_units_say_is_summed_for_their_cycle(context: Context) -> None:
    number = a_cycle(context)
    finish(context, "score_pool", "s1", {"images": 2, "unreadable": 2}, cycle_id=number)
    finish(context, "score_pool", "s2", {"images": 0, "unreadable": 1}, cycle_id=number)
    finish(context, "score_pool", "s3", {}, cycle_id=number)
    finish(context, "embed", "e1", {"embedded": 1, "unreadable": 1}, cycle_id=number)
    finish(context, "embed", "e2", {"embedded": 1, "unreadable": 4})  # of an import
    with context.sessions() as session:
        lost = unreadable.of_cycle(session, session.get_one(Cycle, number))
    assert lost == Unreadable(embed=1, score_pool=3, train=1, evaluate=3)


def test_an_image_counts_once_however_often_it_was_tried_and_not_once_it_is_back(
    context: Context,
) -> None:
    a_cycle(context)
    first, second = f"{1:064x}", f"{2:064x}"
    for key in ("import", "cycle 1", "cycle 2"):
        finish(context, "embed", key, {"embedded": 0, "unreadable": 2}, images=[first, second])
    finish(context, "embed", "good", {"embedded": 1, "unreadable": 0}, images=[f"{3:064x}"])
    with context.sessions() as session:
        assert unreadable.of_project(session).embed == 2
    with context.sessions.begin() as session:
        session.add(
            Embedding(image_id=first, encoder_version="v", file="v/a.npz", row=0, regions=1)
        )
    with context.sessions() as session:
        assert unreadable.of_project(session).embed == 1


def test_a_cycle_says_what_it_went_on_without_wherever_it_is_shown(
    line: CommandLine, tmp_path: Path
) -> None:
    with line.opened() as context:
        number = a_cycle(context)
        finish(context, "score_pool", "s1", {"images": 2, "unreadable": 2}, cycle_id=number)
    shown = line.done("cycle", "show", "--json").json
    assert shown["unreadable"] == {"embed": 0, "score_pool": 2, "train": 1, "evaluate": 3}
    told = line.done("cycle", "show").out
    assert "2 pool images not looked at" in told
    assert "put the files back from a backup" in told


def test_the_api_says_what_a_cycle_and_its_model_went_on_without(
    tmp_path: Path, sqlite_url: str
) -> None:
    context = make_context(tmp_path / "project", sqlite_url, api={"token": "secret"})
    number = a_cycle(context)
    finish(context, "embed", "e1", {"embedded": 1, "unreadable": 1}, cycle_id=number)
    lost = {"embed": 1, "score_pool": 0, "train": 1, "evaluate": 3}
    client = TestClient(create_app(context), headers={"Authorization": "Bearer secret"})

    def get(path: str) -> Any:
        return client.get(path).raise_for_status().json()

    assert get(f"/v1/cycles/{number}")["unreadable"] == lost
    assert [one["unreadable"] for one in get("/v1/cycles")["items"]] == [None]  # not counted
    own = lost | {"embed": 0}
    assert get("/v1/models/2")["unreadable"] == own
    by_number = {one["number"]: one["unreadable"] for one in get("/v1/models")["items"]}
    assert by_number == {1: dict.fromkeys(lost, 0), 2: own}
    context.engine.dispose()


def test_the_page_of_a_cycle_says_what_it_went_on_without(
    sqlite_context: Context, tmp_path: Path
) -> None:
    project = fill(sqlite_context)
    out = tmp_path / "report.html"
    assert "Left out" not in build(sqlite_context, out).read_text()
    finish(
        sqlite_context,
        "score_pool",
        "s1",
        {"images": 2, "unreadable": 2},
        cycle_id=project.cycle,
    )
    page = build(sqlite_context, out).read_text()
    assert "<dt>Left out</dt><dd>2 pool images not looked at" in page
    assert "e2x doctor --deep" in page

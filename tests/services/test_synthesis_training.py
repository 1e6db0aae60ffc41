"""A network that draws, trained on a project's own pictures: asked for, kept, relied on or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from benchmarks.common.waiting import PATIENCE
from curation.synthesis.bridge import Conditioned, Verdict, Worth, write_verdict
from curation.synthesis.bridge.checkpoint import FILE
from services import context as wiring
from services.config import builders
from services.config.settings import Settings
from services.context import Context
from services.db.tables import CycleState, GeneratorRow, SampleState, Unit, UnitState
from services.errors import Conflict, InvalidRequest
from services.stages import train_generator
from services.synthesis import training
from services.synthesis.drawers import drawer
from tests.services.commands import CommandLine
from tests.services.drawn_world import begin, cycle_of, make_world, rows, work

SIZE = {"side_px": 16, "channels": [16, 24], "token_width": 16}
RECIPE = {"batch": 2, "save_every": 2, "warm_up": 1}
CONFIG = """
[selection]
encoder_height_px = 96
encoder_width_px = 128
encoder_weights = "random"

[workers]
threads = 1
"""
BRIDGE = """
[synthesis]
generator = "bridge"
"""
UNPROVEN = """
[synthesis.parameters]
unproven = true
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """A project with a champion that was trained on sixteen pictures, and a cycle."""
    made = CommandLine(tmp_path_factory.mktemp("trained") / "project")
    made.done("init", made.root)
    configure(made)
    with made.opened() as plain:
        make_world(plain, truth=False)
    return made


def configure(line: CommandLine, more: str = "") -> None:
    (line.root / "e2x.toml").write_text(CONFIG + more)


def project(line: CommandLine) -> Context:
    return wiring.build(Settings(project=line.root))


@pytest.fixture(scope="module")
def trained(line: CommandLine) -> dict[str, Any]:
    """After a training that made way once: what its parts said."""
    context = project(line)
    with context.sessions.begin() as session:
        first = training.request(session, 6, size=SIZE, recipe=RECIPE)
        payload = dict(first.payload)
        session.add(Unit(kind="gate", key="gate:x", queue="train", payload={}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_generator, "LOOK_S", 0.0)
        assert work(context, training.KIND) == "done"
    with context.sessions.begin() as session:
        session.delete(session.scalars(select(Unit).where(Unit.key == "gate:x")).one())
    assert work(context, training.KIND) == "done"
    with context.sessions() as session:
        query = select(Unit.result).where(Unit.kind == training.KIND).order_by(Unit.id)
        results = list(session.scalars(query))
    told = {"results": results, "folder": training.folder_of(context, payload)}
    context.engine.dispose()
    return told


@pytest.mark.whole
def test_it_makes_way_for_a_repair_and_goes_on_where_it_was(
    line: CommandLine, trained: dict[str, Any]
) -> None:
    first, second = trained["results"]
    assert set(first) == {"goes_on"}
    assert (second["generator"], second["step"]) == (1, 6)
    context = project(line)
    with context.sessions() as session:
        row = session.scalars(select(GeneratorRow)).one()
    assert (context.project.root / row.folder / FILE).is_file()
    large = (trained["folder"] / FILE).stat().st_size
    assert (context.project.root / row.folder / FILE).stat().st_size < large / 2
    crops = [json.loads(one) for one in (trained["folder"] / "crops.jsonl").open()]
    assert len(crops) == 16  # the labelled objects; there is no pool
    assert {one["label"] for one in crops} == {1}
    context.engine.dispose()


@pytest.mark.whole
def test_it_is_refused_until_it_has_proven_itself_and_says_how_to_see(
    line: CommandLine, trained: dict[str, Any], tmp_path: Path
) -> None:
    configure(line, BRIDGE)
    shown = line.done("synthesis", "generators")
    assert "G1" in shown.out
    for command in (("run",), ("run", "--cycle", "1")):
        said = line.refused("synthesis", *command)
        assert "not relied on" in said
        assert "G1" in said
        assert "e2x synthesis generators" in said
    plan = line.done("synthesis", "plan", "--json").json
    assert "not relied on" in plan["why"]
    (one,) = line.done("synthesis", "generators", "--json").json["trained"]
    low = Conditioned(40, 1.2, 0.9, 0.95, 0.9)
    file = tmp_path / "verdict.json"
    write_verdict(tmp_path, Verdict(one["id"], low, Worth(0.0, "brick", 0.01)))
    assert "follows what hurt" in line.done("synthesis", "verdict", "1", file).out
    assert "not relied on" in line.refused("synthesis", "run")
    write_verdict(tmp_path, Verdict("0" * 32, low, None))
    assert "says nothing of them" in line.refused("synthesis", "verdict", "1", file)
    good = Conditioned(40, 2.0, 1.5, 0.95, 0.9)
    write_verdict(tmp_path, Verdict(one["id"], good, Worth(0.0, "brick", 0.01)))
    assert "may draw" in line.done("synthesis", "verdict", "1", file).out
    assert line.done("synthesis", "plan", "--json").json["generator"].startswith("bridge:")
    context = project(line)
    with drawer(context) as generator:
        generator.require_ready()
    with context.sessions.begin() as session:
        session.scalars(select(GeneratorRow)).one().verdict = None
    context.engine.dispose()
    (tmp_path / "no.json").write_text("[1]")
    assert "no verdict" in line.refused("synthesis", "verdict", "1", tmp_path / "no.json")
    assert "no trained generator 7" in line.refused("synthesis", "verdict", "7", file)


@pytest.mark.whole
def test_it_draws_for_a_cycle_with_the_encoder_of_the_project(
    line: CommandLine, trained: dict[str, Any]
) -> None:
    configure(line, BRIDGE + "enabled = true\ncandidates = 1\nbudget_images = 4\n" + UNPROVEN)
    context = project(line)
    begin(context, 1)
    assert work(context) == "done"
    told = cycle_of(context, 1).drawing
    assert told is not None
    drawn = rows(context)
    assert drawn, told
    assert {row.generator for row in drawn} == {"bridge"}
    assert {row.parameters["unproven"] for row in drawn if row.parameters} == {True}
    assert all(row.state in (SampleState.KEPT, SampleState.REFUSED) for row in drawn)
    assert not any("region vector" in row.reason for row in drawn)
    context.engine.dispose()


@pytest.mark.parametrize(
    ("generator", "model", "said"),
    [
        ("bridge", None, "e2x synthesis train"),
        ("diffusers", "no-such-folder", "there is no folder"),
        ("diffusers", ".", "no model_index.json"),
    ],
)
def test_weights_that_are_not_there_are_told_and_the_repair_goes_on(
    sqlite_context: Context, tmp_path: Path, generator: str, model: str | None, said: str
) -> None:
    parameters = {} if model is None else {"model": str(tmp_path / model)}
    context, cycle_id = make_world(sqlite_context, generator=generator, parameters=parameters)
    begin(context, cycle_id)
    assert work(context) == "dead"
    cycle = cycle_of(context, cycle_id)
    assert said in str(cycle.note)
    assert cycle.state == CycleState.TRAINING  # on the frames that teach
    assert rows(context) == []
    with context.sessions() as session:
        unit = session.scalars(select(Unit).where(Unit.kind == "synthesize")).one()
    assert unit.error_code == "generator_unusable"


@pytest.mark.parametrize("name", ["compose", "diffusers", "bridge"])
def test_every_generator_can_be_named_by_the_settings_alone(name: str) -> None:
    made = builders.generator(Settings(synthesis={"generator": name}))
    assert made.name == name


def test_two_are_not_trained_at_once_and_slips_are_refused(sqlite_context: Context) -> None:
    context, _ = make_world(sqlite_context)
    with context.sessions.begin() as session:
        unit = training.request(session, 5)
        assert unit.queue == "train"
        assert unit.priority < 0
    with context.sessions.begin() as session, pytest.raises(Conflict, match="being trained"):
        training.request(session, 5)
    for steps, minutes in ((0, None), (5, 0.0)):
        with context.sessions.begin() as session, pytest.raises(InvalidRequest, match="1 step"):
            training.request(session, steps, minutes)


def test_only_what_waits_now_makes_a_training_make_way(sqlite_context: Context) -> None:
    context, _ = make_world(sqlite_context)
    with context.sessions.begin() as session:
        training.request(session, 5)
        session.add(Unit(kind="scan", key="scan:x", queue="explain", payload={}))
        session.flush()
        assert not training.others_wait(session)
        other = Unit(kind="train", key="train:x", queue="train", payload={})
        session.add(other)
        session.flush()
        assert training.others_wait(session)
        other.state = UnitState.LEASED  # another worker has it
        session.flush()
        assert not training.others_wait(session)


@pytest.mark.whole
def test_the_api_asks_for_a_training_and_lists_who_was_trained(
    line: CommandLine, trained: dict[str, Any]
) -> None:
    from services.api.app import create_app
    from services.api.auth import project_token
    from tests.services.api_server import error_of, serving

    configure(line)
    context = project(line)
    headers = {"Authorization": f"Bearer {project_token(context)}"}
    with (
        serving(create_app(context)) as (url, _),
        httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=60 * PATIENCE) as client,
    ):
        (one,) = client.get("/generators").json()["items"]
        assert (one["number"], one["steps"]) == (1, 6)
        assert "G1" in one["why_not"]
        asked = client.post("/generators", json={"steps": 9, "minutes": 5.0})
        assert asked.status_code == 202
        error_of(client.post("/generators", json={}), 409, "conflict")
    with context.sessions() as session:
        unit = session.get_one(Unit, asked.json()["unit"])
    assert unit.payload["seconds"] == 300
    context.engine.dispose()

"""Failure modes over the cycles, on both databases: identity, size, state, and what is spent."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_model
from benchmarks.common.waiting import PATIENCE
from curation import modes as clustering
from curation.modes.states import ModeState
from services.api.app import create_app
from services.api.auth import project_token
from services.context import Context
from services.cycle import cycles
from services.db.tables import (
    Audit,
    FailureRow,
    FailureState,
    ModeMember,
    ModeRow,
    ModeSighting,
    Role,
)
from services.failures import findings
from services.models import registry
from services.modes import recognise, trends
from services.report.trends import sparkline
from services.selection import inputs
from services.store.region_index import open_index
from tests.services.api_server import Switch
from tests.services.builders import add_champion, make_failure, make_image
from tests.services.commands import CommandLine
from tests.services.mode_loop import ModeLoop
from tests.services.test_report import read

RAIN, NIGHT = 0, 1
RAINY, DARK = "missed car 1", "missed car 2"
"""Names: the mode with more failures gets the first number."""


def repair(loop: ModeLoop) -> int:
    """One cycle: of five cars missed in rain one is left, of three at night two; its number."""
    frames = range(1, 9)
    loop.scan(frames, {n: RAIN if n <= 5 else NIGHT for n in frames})
    cycle = loop.select()
    assert loop.states() == {RAINY: "being_fixed", DARK: "being_fixed"}
    assert set(loop.asked(cycle)) == {RAINY, DARK}
    loop.label(cycle)
    loop.gate(cycle, promote=True)
    loop.scan(frames, {5: RAIN, 6: NIGHT, 7: NIGHT})
    loop.finish(cycle)
    return cycle


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModeLoop]:
    """A project after that cycle; not to be changed."""
    line = CommandLine(tmp_path_factory.mktemp("modes") / "project")
    line.done("init", line.root)
    with line.opened() as context:
        loop = ModeLoop(context)
        repair(loop)
        yield loop


@pytest.fixture
def repaired(original: ModeLoop, tmp_path: Path) -> Iterator[ModeLoop]:
    """A copy of it."""
    line = CommandLine(tmp_path / "project")
    shutil.copytree(original.context.project.root, line.root)
    loop = copy.copy(original)
    with line.opened() as context:
        loop.reopen(context)
        yield loop


def sizes(loop: ModeLoop, name: str) -> list[int]:
    with loop.context.sessions() as session:
        row = session.scalars(select(ModeRow).where(ModeRow.name == name)).one()
        (found,) = trends.trends(session, [row])
    return [size for _, size in found.sizes]


def steps(loop: ModeLoop, name: str) -> list[tuple[int, str]]:
    with loop.context.sessions() as session:
        row = session.scalars(select(ModeRow).where(ModeRow.name == name)).one()
        return [(step.cycle, step.state) for step in trends.changes(session, row.id)]


def test_a_mode_is_opened_worked_on_fixed_and_re_opened(context: Context) -> None:
    loop = ModeLoop(context)
    first = repair(loop)
    assert loop.states() == {RAINY: "fixed", DARK: "being_fixed"}

    # Of the rain one of five is left: nothing is spent on it, everything goes to the night.
    second = loop.select()
    assert set(loop.asked(second)) == {DARK}
    assert loop.states() == {RAINY: "fixed", DARK: "being_fixed"}
    loop.label(second)
    loop.gate(second, promote=False)
    loop.finish(second)
    assert loop.states()[DARK] == "being_fixed"  # a refused challenger proves nothing

    # Two cars in other frames are missed for the same cause: the mode is known by that alone.
    loop.scan([9, 10], {9: RAIN, 10: RAIN})
    third = loop.select()
    assert RAINY in loop.asked(third)
    assert steps(loop, RAINY) == [
        (first, "open"),
        (first, "being_fixed"),
        (first, "fixed"),
        (third, "re_opened"),
        (third, "being_fixed"),
    ]
    assert steps(loop, DARK) == [(first, "open"), (first, "being_fixed")]
    assert (sizes(loop, RAINY), sizes(loop, DARK)) == ([5, 1, 3], [3, 2, 2])

    loop.label(third)
    loop.gate(third, promote=True)
    loop.scan(range(1, 11), {})
    loop.finish(third)
    assert loop.states() == {RAINY: "fixed", DARK: "fixed"}
    with loop.context.sessions() as session:
        rows = session.scalars(select(ModeRow)).all()
        counts = [(one.places, one.failing) for one in trends.trends(session, rows)]
    assert counts == [(7, 0), (3, 0)]


def test_with_every_mode_fixed_nothing_is_asked(repaired: ModeLoop) -> None:
    with repaired.context.sessions.begin() as session:
        for row in session.scalars(select(FailureRow).where(FailureRow.label == "car")):
            if row.place in (f"{106:064x}", f"{107:064x}"):  # the night is fixed, too
                row.state = FailureState.FIXED
        recognise.settle(session, repaired.context.settings)
    assert repaired.states() == {RAINY: "fixed", DARK: "fixed"}
    second = repaired.select()
    assert repaired.asked(second) == []
    assert repaired.states() == {RAINY: "fixed", DARK: "fixed"}
    with repaired.context.sessions() as session:
        cycle = cycles.find(session, second)
        assert (cycle.state, "nothing to label" in str(cycle.error)) == ("done", True)
    assert (sizes(repaired, RAINY), sizes(repaired, DARK)) == ([5, 1], [3, 0])


def test_a_cancelled_cycle_leaves_its_modes_open(repaired: ModeLoop) -> None:
    repaired.scan([11, 12, 13], {11: 2, 12: 2, 13: 2})
    cycle = repaired.select()
    assert repaired.states()["missed car 3"] == "being_fixed"
    with repaired.context.sessions.begin() as session:
        cycles.cancel(session, repaired.context, cycle, "test")
    assert repaired.states() == {RAINY: "fixed", DARK: "being_fixed", "missed car 3": "open"}
    assert steps(repaired, "missed car 3") == [
        (cycle, "open"),
        (cycle, "being_fixed"),
        (cycle, "open"),
    ]


def test_after_a_rollback_a_fixed_mode_is_open_again(repaired: ModeLoop) -> None:
    loop = repaired
    with loop.context.sessions.begin() as session:
        registry.rollback(session, "test")
        recognise.settle(session, loop.context.settings)
    assert loop.states() == {RAINY: "re_opened", DARK: "being_fixed"}
    with loop.context.sessions() as session:
        last = session.scalars(select(Audit).where(Audit.action == "mode").order_by(Audit.id)).all()
    assert last[-1].detail["why"] == "0 new; model 1 fails 5 of 5"


def test_judging_again_changes_nothing(repaired: ModeLoop) -> None:
    loop = repaired
    before = loop.states()
    for _ in range(2):
        with loop.context.sessions.begin() as session:
            recognise.settle(session, loop.context.settings)
    assert loop.states() == before
    with loop.context.sessions() as session:
        assert len(session.scalars(select(Audit).where(Audit.action == "mode")).all()) == 5


def test_a_plan_names_modes_and_stores_nothing(repaired: ModeLoop) -> None:
    loop = repaired
    loop.scan([9, 11, 12], {9: RAIN, 11: 2, 12: 2})
    with loop.context.sessions() as session:
        rows = session.scalars(
            select(FailureRow).where(
                FailureRow.model_id == loop.champion().id,
                FailureRow.state == FailureState.EXPLAINED,
            )
        ).all()
    assert len(rows) == 6
    # Without vectors of this encoder the places alone tell: frame 9 cannot be known by them.
    found = known_by(loop, "another encoder")
    assert {one.name for one in found.values()} == {RAINY, DARK, "missed car 3"}
    assert {one.name: one.state for one in found.values()} == {
        RAINY: ModeState.REOPENED,
        DARK: ModeState.BEING_FIXED,
        "missed car 3": ModeState.OPEN,
    }
    assert loop.states() == {RAINY: "fixed", DARK: "being_fixed"}


def known_by(loop: ModeLoop, encoder: str) -> dict[str, recognise.Recognised]:
    champion = loop.champion()
    names = tuple(champion.class_names)
    evidence = inputs.evidence_of(loop.context, champion.id, loop.encoder, names)
    transform = open_index(loop.context, loop.encoder, loop.width).metric.apply
    found = clustering.cluster(evidence, transform)
    return recognise.recognise(loop.context, champion, found, encoder, transform)


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"PK\x03\x04")])
def test_a_lost_or_damaged_file_leaves_the_places(
    repaired: ModeLoop, damage: Callable[[Path], object]
) -> None:
    loop = repaired
    with loop.context.sessions() as session:
        for sighting in session.scalars(select(ModeSighting)):
            damage(loop.context.project.modes / str(sighting.file))
    assert {one.name for one in known_by(loop, loop.encoder).values()} == {RAINY, DARK}


def test_what_a_later_model_misses_too_is_at_the_same_place(repaired: ModeLoop) -> None:
    loop = repaired
    with loop.context.sessions() as session:
        rows = session.scalars(select(FailureRow).order_by(FailureRow.id)).all()
        assert len({row.place for row in rows}) == 8
        for row in rows:
            assert row.place == f"{100 + int(row.id, 16) % 100:064x}"
        members = session.scalars(select(ModeMember)).all()
    assert len(members) == 8


@pytest.mark.parametrize("kind", ["false_positive", "false_negative"])
def test_a_false_car_is_not_the_missed_car_at_the_same_box(
    sqlite_context: Context, kind: str
) -> None:
    """Reports of operators have no object that would tell them apart."""
    with sqlite_context.sessions.begin() as session:
        first, image = add_champion(session), make_image(5, role=Role.FIELD)
        second = make_model(2)
        session.add_all([image, second])
        session.flush()
        findings.insert(
            session,
            image.id,
            [make_failure(1, image, first, kind="false_positive", truth_index=None)],
        )
        later = make_failure(2, image, second, kind=kind, truth_index=None)
        findings.insert(session, image.id, [later])
        assert (later.place == f"{1:064x}") is (kind == "false_positive")


# --- what people see


def test_commands_and_page_show_modes(repaired: ModeLoop) -> None:
    line = CommandLine(repaired.context.project.root)
    listed = line.done("modes").out
    for word in (RAINY, DARK, "being fixed", "fixed", "1 of 5", "2 of 3"):
        assert word in listed
    assert listed.index(DARK) < listed.index(RAINY)  # what is fixed comes last
    assert line.done("modes", "list").out == listed
    assert "others hold" not in listed
    short = line.done("modes", "--limit", "1").out
    assert DARK in short
    assert RAINY not in short
    assert "1 of 2; the others hold 5 failures" in short
    rows = line.done("modes", "--json").json
    assert [(row["name"], row["state"]) for row in rows] == [
        (DARK, "being_fixed"),
        (RAINY, "fixed"),
    ]
    assert rows[1]["trend"] == [{"cycle": 1, "size": 5}]
    assert [r["name"] for r in line.done("modes", "--state", "fixed", "--json").json] == [RAINY]
    one = line.done("modes", "show", str(rows[1]["id"])).out
    for word in (RAINY, "fixed", "model 2 fails 1 of 5", "images asked for", "10001.png"):
        assert word in one
    detail = line.done("modes", "show", str(rows[1]["id"]), "--json").json
    assert [step["state"] for step in detail["changes"]] == ["open", "being_fixed", "fixed"]
    assert len(detail["exemplars"]) == 4
    assert "no failure mode 99" in line.refused("modes", "show", "99")
    assert "being fixed" in line.done("cycle", "show").out
    members = line.done("failures", "list", "--mode", str(rows[1]["id"]), "--json").json
    assert len(members) == 5

    line.done("report", "--no-models")
    file = line.root / "reports" / "report.html"
    page, html = read(file), file.read_text()
    assert "Failure modes over the cycles" in page.text
    assert "cycle 1: fixed (model 2 fails 1 of 5)" in page.text
    assert html.count("<svg") == 2
    for address in page.addresses:
        if address.startswith("#"):
            assert f'id="{address[1:]}"' in html, address


def test_a_trend_is_drawn_to_scale() -> None:
    line = sparkline([(1, 8), (2, 0), (4, 4)])
    assert line.points == [(4, 4), (60, 26), (116, 15)]
    assert line.words == "cycle 1: 8, cycle 2: 0, cycle 4: 4"
    assert sparkline([(3, 0)]).points == [(4, 26)]


def test_modes_over_http(repaired: ModeLoop, served: tuple[Switch, str]) -> None:
    switch, address = served
    switch.app = create_app(repaired.context)
    headers = {"Authorization": f"Bearer {project_token(repaired.context)}"}
    with httpx.Client(base_url=f"{address}/v1", headers=headers, timeout=30 * PATIENCE) as client:
        look_at_modes(client)


def look_at_modes(client: httpx.Client) -> None:
    page = client.get("/modes", params={"limit": 1}).json()
    rest = client.get("/modes", params={"limit": 1, "cursor": page["next"]}).json()
    assert [one["name"] for one in page["items"] + rest["items"]] == [RAINY, DARK]
    assert rest["next"] is None
    (fixed,) = client.get("/modes", params={"state": "fixed", "label": "car"}).json()["items"]
    assert (fixed["places"], fixed["failing"], fixed["size"]) == (5, 1, 5)
    detail = client.get(f"/modes/{fixed['id']}").json()
    assert [one["id"] for one in detail["failures"]] == detail["exemplars"] == fixed["exemplars"]
    assert detail["overlays"][0] == f"/v1/failures/{detail['exemplars'][0]}/overlay.png"
    assert detail["changes"][-1]["why"] == "model 2 fails 1 of 5"
    assert client.get("/modes/99").status_code == 404
    assert client.get("/modes", params={"state": "odd"}).status_code == 422
    assert client.get("/modes", headers={"Authorization": "Bearer no"}).status_code == 401

"""Drawn samples on the command line, in the API and in the report: one project for all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.common.waiting import PATIENCE
from services import context as wiring
from services.api.app import create_app
from services.api.auth import project_token
from services.config.settings import Settings
from services.context import Context
from services.db.tables import SampleState
from services.report import build
from services.synthesis import provenance
from tests.services.accounts import trail
from tests.services.api_server import error_of, serving
from tests.services.commands import CommandLine
from tests.services.drawn_world import begin, make_world, rows, work


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line of a project for which samples have been drawn; a person keeps them."""
    made = CommandLine(tmp_path_factory.mktemp("drawn") / "project")
    made.done("init", made.root)
    with made.opened() as plain:
        context, cycle_id = make_world(plain, truth=False, review="person", budget_images=8)
        begin(context, cycle_id)
        assert work(context) == "done"
    return made


@pytest.fixture(scope="module")
def project(line: CommandLine) -> Iterator[Context]:
    context = wiring.build(Settings(project=line.root))
    yield context
    context.engine.dispose()


@pytest.fixture(scope="module")
def client(project: Context) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {project_token(project)}"}
    with (
        serving(create_app(project)) as (url, _),
        httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=60 * PATIENCE) as opened,
    ):
        yield opened


def waiting(context: Context) -> list[int]:
    return [row.id for row in rows(context) if row.state == SampleState.DRAWN]


def state_of(context: Context, sample: int) -> str:
    return next(row.state for row in rows(context) if row.id == sample)


def test_the_plan_says_what_stands_in_the_way(line: CommandLine) -> None:
    told = line.done("synthesis", "plan", "--json").json
    assert told["why"] == ""
    assert not told["enabled"]
    assert told["donor_images"] == 16
    (mode,) = told["modes"]
    assert (mode["failures"], mode["teaching"]) == (6, 4)
    assert "compose" in line.done("synthesis", "plan").out


def test_the_command_line_lists_shows_and_decides(
    line: CommandLine, project: Context, tmp_path: Path
) -> None:
    first, second, *_ = waiting(project)
    listed = line.done("synthesis", "list", "--state", "drawn", "--json").json
    assert {one["id"] for one in listed} == set(waiting(project))
    shown = line.done("synthesis", "show", str(first), "--out", tmp_path / "s.png")
    assert "compose" in shown.out
    assert "reproduces the failure" in shown.out
    read = provenance.read_png((tmp_path / "s.png").read_bytes())
    assert read is not None
    assert read[1]
    line.done("synthesis", "accept", str(first), "--note", "a bus, well put")
    line.done("synthesis", "refuse", str(second))
    told = line.done("synthesis", "show", str(first), "--json").json
    assert (told["state"], told["reason"]) == ("kept", "a bus, well put")
    assert told["decided_by"] not in ("checks", "gate")
    assert state_of(project, second) == "refused"
    assert "no drawn sample 999" in line.refused("synthesis", "show", "999")
    assert "one of these only" in line.refused("synthesis", "withdraw")
    assert "withdrawn" in line.done("synthesis", "withdraw", "--generator", "compose").out
    assert state_of(project, first) == "withdrawn"


def test_what_cannot_be_drawn_now_is_refused_with_the_reason(line: CommandLine) -> None:
    assert "no cycle 7" in line.refused("synthesis", "run", "--cycle", "7")
    assert "asked for" in line.done("synthesis", "run").out
    assert "being drawn" in line.refused("synthesis", "run")


def test_the_api_lists_by_pages_and_shows_all(client: httpx.Client, project: Context) -> None:
    numbers, cursor = list[int](), None
    while True:
        page = client.get(
            "/generated", params={"limit": 5} | ({"cursor": cursor} if cursor else {})
        )
        numbers += [one["id"] for one in page.json()["items"]]
        cursor = page.json()["next"]
        if cursor is None:
            break
    assert numbers == [row.id for row in reversed(rows(project))]
    row = next(row for row in rows(project) if row.image_id is not None)
    shown = client.get(f"/generated/{row.id}").json()
    assert shown["harm"]["mask"]["size"] == [96, 128]
    assert shown["donor"]["role"] == "seed"
    picture = client.get(shown["picture"].removeprefix("/v1"))
    assert picture.headers["content-type"] == "image/png"
    read = provenance.read_png(picture.content)
    assert read is not None
    assert read[0]["key"] == shown["key"]
    refused = next(row for row in rows(project) if row.image_id is None)
    assert client.get(f"/generated/{refused.id}").json()["picture"] is None
    error_of(client.get(f"/generated/{refused.id}/picture.png"), 404, "not_found")
    only = client.get("/generated", params={"state": "refused", "cycle": 1}).json()["items"]
    assert {one["state"] for one in only} == {"refused"}


def test_the_api_decides_and_withdraws(client: httpx.Client, project: Context) -> None:
    sample = next(row.id for row in rows(project) if row.image_id is not None)
    answer = client.post(f"/generated/{sample}/accept", json={"note": "fine"})
    assert (answer.json()["state"], answer.json()["reason"]) == ("kept", "fine")
    withdrawn = client.post("/generated/withdraw", json={"ids": [sample], "note": "no"})
    assert withdrawn.json() == {"changed": 1}
    assert trail(project)[-2:] == ["sample.kept", "sample.withdrawn"]
    error_of(client.post("/generated/withdraw", json={}), 422, "invalid_request")
    error_of(client.post("/generated/withdraw", json={"cycle": 99}), 404, "not_found")
    refused = next(row.id for row in rows(project) if row.image_id is None)
    error_of(client.post(f"/generated/{refused}/accept"), 409, "conflict")


def test_the_report_shows_samples_beside_what_they_were_made_of(
    project: Context, tmp_path: Path
) -> None:
    page = build(project, tmp_path / "report.html").read_text()
    assert "What was drawn for it" in page
    for title in ("Known object", "What hurt", "Drawn"):
        assert f"<strong>{title}</strong>" in page
    assert ", seed " in page
    assert "wait for a person" in page

"""The mirror in MLflow: what is written with a model, and what a real server is told of it."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import delete, select, update

from benchmarks.common.projects import make_model
from benchmarks.common.waiting import PATIENCE
from services.api.app import create_app
from services.cli import doctor_project
from services.config.setting_groups import MlflowSettings
from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import Cycle, DatasetVersion, Mirror, MirroredModel, Model
from services.errors import Conflict
from services.mirror import content, deliver, process, standing
from services.mirror.errors import MirrorUnavailable
from services.models import registration, registry
from services.models.training import Trained
from services.worker import tasks
from services.worker.environment import environment_of
from tests.services.api_server import serving
from tests.services.commands import CommandLine
from tests.services.mlflow_server import Server, metrics, params, tags
from tests.services.pages import sign_in

pytestmark = pytest.mark.timeout(900)
"""The first that needs the server waits for its start."""
HISTORY = {
    "ended": "epochs",
    "steps": 30,
    "cooled_from": None,
    "validation_images": 0,
    "validation_objects": 0,
    "note": "",
    "looks": [
        {"step": 10, "loss": 3.5, "ap50": 0.2},
        {"step": 20, "loss": 2.5, "ap50": None},
        {"step": 30, "loss": 1.25, "ap50": 0.6},
    ],
}
DECISION = {
    "promote": True,
    "against": "1",
    "checks": [
        {
            "name": "holdout mAP",
            "champion": 0.4,
            "challenger": 0.5,
            "bound": 0.39,
            "passed": True,
            "reason": "no worse",
        },
        {
            "name": "AP50 of <car>, right: 1 & 2",
            "champion": None,
            "challenger": None,
            "bound": None,
            "passed": None,
            "reason": "nothing to look at",
        },
    ],
}


def mirrored(context: Context) -> dict[int, MirroredModel]:
    """Rows by the number of the model."""
    with reading(context.sessions) as session:
        rows = session.execute(
            select(Model.number, MirroredModel).join(Model, Model.id == MirroredModel.model_id)
        )
        return {row[0]: row[1] for row in rows}


def with_server(context: Context, url: str, **more: Any) -> Context:
    """The same project with a mirror."""
    wanted = MlflowSettings(tracking_uri=url, **more)
    return replace(context, settings=context.settings.model_copy(update={"mlflow": wanted}))


def trained(context: Context, number: int, **training: Any) -> Model:
    """A model that was trained, with its files, a cycle and its verdict."""
    model = make_model(number, class_names=["background", "car", "bus"])
    folder = context.project.root / model.folder
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes([number]) * 1000)
    (folder / "config.json").write_text(json.dumps({"number": number}))
    told = {"architecture": model.architecture, "epochs": 3, "history": HISTORY, **training}
    with context.sessions.begin() as session:
        dataset = DatasetVersion(id=f"{number:064x}", file="m.json", images=7, boxes=9)
        cycle = Cycle(policy="e2x", budget_boxes=4)
        session.add_all([dataset, cycle])
        session.flush()
        made = Trained(model.id, model.folder, tuple(model.class_names), dataset.id, None, told, {})
        row = registration.register(session, made, cycle.id)
        cycle.challenger_id, cycle.decision = row.id, DECISION
        row.reports = {"holdout": {"map": 0.5, "map50": 0.75, "per_class50": {"car": 0.7}}}
    return model


def promote(context: Context, number: int) -> None:
    with context.sessions.begin() as session:
        registry.promote(session, registry.find(session, str(number)), "test", {})


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_what_changes_a_model_is_to_be_told_in_the_same_transaction(context: Context) -> None:
    trained(context, 1)
    assert {number: row.wanted for number, row in mirrored(context).items()} == {1: 1}
    promote(context, 1)
    trained(context, 2)
    promote(context, 2)
    assert {number: row.wanted for number, row in mirrored(context).items()} == {1: 3, 2: 2}
    with context.sessions.begin() as session:
        registry.rollback(session, "test")
    assert {number: row.wanted for number, row in mirrored(context).items()} == {1: 4, 2: 3}
    with context.sessions() as session:  # and is undone with it
        registry.promote(session, registry.find(session, "2"), "test", {})
        session.rollback()
    assert {number: row.wanted for number, row in mirrored(context).items()} == {1: 4, 2: 3}


def test_without_a_server_nothing_is_scheduled_or_asked(sqlite_context: Context) -> None:
    context = sqlite_context
    trained(context, 1)
    assert tasks.TELL_MLFLOW not in tasks.schedule(context.settings)
    assert not deliver.is_due(context)
    assert process.due(context) is None
    with pytest.raises(Conflict, match=r"E2X_MLFLOW__TRACKING_URI"):
        deliver.run(context)
    with reading(context.sessions) as session:
        assert standing.of_server(session, context.settings.mlflow) is None
        assert session.scalars(select(Mirror)).all() == []


@pytest.mark.parametrize("uri", ["file:///tmp/runs", "mlflow:5000", "http://me:secret@mlflow"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError, match="tracking_uri") as refused:
        MlflowSettings(tracking_uri=uri)
    assert "secret" not in refused.value.errors()[0]["msg"]


def test_a_server_that_is_away_holds_nothing_up_and_is_told_of(
    sqlite_context: Context, nobody: str
) -> None:
    context = with_server(sqlite_context, nobody, timeout_s=1)
    trained(context, 1)
    assert deliver.is_due(context)
    with pytest.raises(MirrorUnavailable):
        deliver.run(context)
    assert not deliver.is_due(context)  # it is waited a while
    promote(context, 1)  # which asks nobody
    with reading(context.sessions) as session:
        found = standing.of_server(session, context.settings.mlflow)
    assert found is not None
    assert (found["failures"], found["waiting"]) == (1, [1])
    assert "MLflow" in found["error"]
    finding = next(doctor_project._mlflow(context))
    assert finding.state == "warn"
    assert "1 exchanges in a row failed" in finding.found
    with context.sessions.begin() as session:
        session.execute(update(Mirror).values(tried_at=utc_now().replace(year=2020)))
    assert deliver.is_due(context)


def test_two_do_not_tell_at_once_and_one_that_died_is_waited_for(
    sqlite_context: Context, nobody: str
) -> None:
    context = with_server(sqlite_context, nobody)
    trained(context, 1)
    held = deliver._Hold(context)
    assert not deliver.is_due(context)
    with pytest.raises(Conflict, match="another process"):
        deliver.run(context)
    with context.sessions.begin() as session:
        session.execute(update(Mirror).values(busy_until=utc_now().replace(year=2020)))
    assert deliver.is_due(context)
    with pytest.raises(Conflict, match="another process"):
        held.renew()


def test_what_a_run_says(sqlite_context: Context) -> None:
    context = sqlite_context
    trained(context, 1, weights={"source": "package", "detail": None}, unreadable=["a", "b"])
    with reading(context.sessions) as session:
        told = content.told_of(session, session.scalars(select(Model)).one())
    assert told.params["dataset.version"] == f"{1:064x}"
    assert told.params["training.weights.source"] == "package"
    assert told.params["training.unreadable"] == "a, b"
    assert told.metrics["holdout/ap50/car"] == 0.7
    assert told.metrics["gate/holdout mAP/challenger"] == 0.5
    names = [*told.metrics, *told.params]
    assert all(content.key(name) == name for name in names)
    for name in ("training_curve.svg", "gate.svg"):
        assert ElementTree.fromstring(told.texts[name]).tag.endswith("svg")
    assert "&lt;car&gt;" in told.texts["gate.svg"]


def test_the_command_line_says_what_is_not_told(line: CommandLine, nobody: str) -> None:
    assert "no MLflow server is set" in line.refused("mlflow", "status")
    with (line.root / "e2x.toml").open("a") as file:
        file.write(f'\n[mlflow]\ntracking_uri = "{nobody}"\ntimeout_s = 1\n')
    with line.opened() as context:
        trained(context, 1)
    line.refused("mlflow", "sync", code=1)
    found = line.done("mlflow", "status", "--json").json
    assert found["waiting"] == [1]
    assert "MLflow" in found["error"]
    assert "no" in line.done("mlflow", "status").out


def test_the_page_of_a_model_says_what_is_not_told(sqlite_context: Context, nobody: str) -> None:
    trained(sqlite_context, 1)
    for url in ("", nobody):
        app = create_app(with_server(sqlite_context, url))
        name, _, value = sign_in(app, "viewer", "viewer").partition("=")
        with serving(app) as (address, _):
            headers = {"accept": "text/html"}
            with httpx.Client(
                cookies={name: value}, headers=headers, timeout=120 * PATIENCE
            ) as viewer:
                page = viewer.get(f"{address}/models/1")
        assert page.status_code == 200, page.text
        assert ("not told yet" in page.text) is bool(url)


@pytest.fixture
def told(
    sqlite_context: Context, mlflow_server: Server, request: pytest.FixtureRequest
) -> tuple[Context, Server, str]:
    """A project with a mirror of its own in the server; the name of its experiment and model."""
    name = request.node.name
    context = with_server(sqlite_context, mlflow_server.url, experiment=name, model_name=name)
    return context, mlflow_server, name


def test_runs_curves_figures_files_and_the_alias_are_there(
    told: tuple[Context, Server, str],
) -> None:
    context, server, name = told
    trained(context, 1)
    promote(context, 1)
    trained(context, 2)
    assert deliver.run(context).models == [1, 2]
    first, second = server.runs(name)
    assert params(first)["dataset.version"] == f"{1:064x}"
    assert params(first)["training.epochs"] == "3"
    assert (tags(first)["e2x.state"], tags(second)["e2x.state"]) == ("champion", "challenger")
    assert tags(first)["e2x.gate"] == "passed"
    assert metrics(first)["holdout/map50"] == 0.75
    assert metrics(first)["gate/holdout mAP/passed"] == 1.0
    run = first["info"]["run_id"]
    history = server.get("metrics/get-history", run_id=run, metric_key="train/loss")["metrics"]
    assert [(one["step"], one["value"]) for one in history] == [(10, 3.5), (20, 2.5), (30, 1.25)]
    epochs = server.get("metrics/get-history", run_id=run, metric_key="train/epoch")["metrics"]
    assert [(one["step"], one["value"]) for one in epochs] == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert json.loads(server.file(run, "gate.json")) == DECISION
    assert server.file(run, "training_curve.svg").startswith(b"<svg")
    assert server.file(run, "model/model.safetensors") == bytes([1]) * 1000
    assert first["info"]["status"] == "FINISHED"
    assert server.champion(name)["run_id"] == run

    promote(context, 2)
    assert deliver.is_due(context)
    assert deliver.run(context).models == [1, 2]
    assert server.champion(name)["run_id"] == second["info"]["run_id"]
    with context.sessions.begin() as session:
        registry.rollback(session, "test")
    deliver.run(context)
    assert server.champion(name)["run_id"] == run
    assert [tags(one)["e2x.state"] for one in server.runs(name)] == ["champion", "retired"]
    assert not deliver.is_due(context)
    with reading(context.sessions) as session:
        found = standing.of_server(session, context.settings.mlflow)
    assert found is not None
    assert (found["told"], found["waiting"], found["error"]) == (2, [], None)


def test_telling_again_adds_nothing_whatever_was_forgotten(
    told: tuple[Context, Server, str],
) -> None:
    context, server, name = told
    trained(context, 1)
    promote(context, 1)
    deliver.run(context)
    before = server.runs(name)
    for forgotten in ({"sent": 0}, {"sent": 0, "version": None}, {"sent": 0, "run_id": None}):
        with context.sessions.begin() as session:
            session.execute(update(MirroredModel).values(**forgotten))
        assert deliver.run(context).models == [1]
    after = server.runs(name)
    assert [run["info"]["run_id"] for run in after] == [run["info"]["run_id"] for run in before]
    run = after[0]["info"]["run_id"]
    history = server.get("metrics/get-history", run_id=run, metric_key="train/loss")["metrics"]
    assert len(history) == 3
    found = server.get("model-versions/search", filter=f"name = '{name}'")["model_versions"]
    assert len(found) == 1
    with context.sessions.begin() as session:
        session.execute(delete(MirroredModel))  # as of a project of before
        session.add(MirroredModel(model_id=f"{1:064x}"))
    assert deliver.run(context).models == [1]
    assert len(server.runs(name)) == 1


def test_a_run_that_somebody_deleted_is_told_anew(told: tuple[Context, Server, str]) -> None:
    context, server, name = told
    trained(context, 1)
    promote(context, 1)
    deliver.run(context)
    gone = server.runs(name)[0]["info"]["run_id"]
    server.post("runs/delete", run_id=gone)
    with context.sessions.begin() as session:
        session.execute(update(MirroredModel).values(sent=0))
    deliver.run(context)
    (again,) = server.runs(name)
    assert again["info"]["run_id"] != gone
    assert server.champion(name)["run_id"] == again["info"]["run_id"]


def test_a_model_whose_files_are_lost_costs_only_itself(told: tuple[Context, Server, str]) -> None:
    context, server, name = told
    lost = trained(context, 1)
    shutil.rmtree(context.project.root / lost.folder)
    trained(context, 2)
    done = deliver.run(context)
    assert done.models == [2]
    assert list(done.refused) == [1]
    assert not deliver.is_due(context)
    assert mirrored(context)[1].error == done.refused[1]
    finding = next(doctor_project._mlflow(context))
    assert finding.state == "warn"
    assert "model 1 is not taken" in finding.found
    assert len(server.runs(name)) == 2


def test_a_server_that_hangs_delays_only_itself(told: tuple[Context, Server, str]) -> None:
    context, server, name = told
    patient = context.settings.mlflow
    hasty = with_server(
        context, patient.tracking_uri, experiment=name, model_name=name, timeout_s=1
    )
    trained(context, 1)
    with server.hangs():
        with pytest.raises(MirrorUnavailable):
            deliver.run(hasty)
        promote(context, 1)
    assert deliver.run(context).models == [1]
    assert server.champion(name)["version"] == "1"


def test_a_process_of_its_own_tells_it(
    told: tuple[Context, Server, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context, server, name = told
    for variable, value in environment_of(context.settings).items():
        monkeypatch.setenv(variable, value)
    trained(context, 1)
    started = process.due(context)
    assert started is not None
    assert process.due(context) is None  # one at a time
    assert started.wait(240) == 0
    log = context.project.logs / "mlflow.log"
    assert "MLflow was told of models [1]" in log.read_text()
    assert len(server.runs(name)) == 1
    assert process.due(context) is None

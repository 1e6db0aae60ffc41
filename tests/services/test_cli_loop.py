"""The commands of the loop on real rows: ingest, models, failures, units, train, up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from benchmarks.common.projects import make_model
from benchmarks.common.waiting import PATIENCE, wait_until
from curation import explain
from curation.kernel import images
from retrain.gate import Check, Verdict
from services import units
from services.db.tables import (
    Annotation,
    Cycle,
    Explanation,
    FailureRow,
    Image,
    Observation,
    Role,
    Unit,
    UnitState,
)
from services.store.storage import write_npz
from services.worker import supervisor
from tests import bad_images
from tests.services.builders import add_champion, make_failure, make_image
from tests.services.commands import CommandLine

ROOT = Path(__file__).parents[2]


def write_coco(folder: Path, count: int, first_seed: int = 0) -> Path:
    """A COCO folder of one car an image; returns the annotation file."""
    folder.mkdir()
    document: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 1, "name": "car"}],
    }
    for number in range(1, count + 1):
        name = f"{number}.png"
        (folder / name).write_bytes(bad_images.png(first_seed + number))
        document["images"].append({"id": number, "file_name": name, "width": 64, "height": 48})
        box = {"id": number, "image_id": number, "category_id": 1, "bbox": [2, 2, 28, 20]}
        document["annotations"].append(box)
    file = folder / "annotations.json"
    file.write_text(json.dumps(document))
    return file


@pytest.mark.parametrize("group", ["models", "failures", "cycle", "units", "labels"])
def test_lists_of_a_new_project_are_empty(group: str, line: CommandLine) -> None:
    listed = line.done(group, "list", "--json").json
    assert not (listed if isinstance(listed, list) else listed.get(group, listed.get("tasks")))
    assert line.done(group, "list").out


def test_frames_take_their_truth_from_annotations(champion: CommandLine, tmp_path: Path) -> None:
    """A frame of which an object cannot be used is refused: the rest is not the whole truth."""
    file = write_coco(tmp_path / "coco", 3)
    document = json.loads(file.read_text())
    document["annotations"].append(
        {"id": 9, "image_id": 3, "category_id": 1, "bbox": [30, 30, -5, 5]}
    )
    file.write_text(json.dumps(document))
    (file.parent / "other.png").write_bytes(bad_images.png(50))

    ran = champion.run("ingest", file.parent, "--annotations", file, "--json")
    assert [Path(one["file"]).name for one in ran.json["frames"]] == ["1.png", "2.png"]
    refused = {one["file"]: one["message"] for one in ran.json["refused"]}
    assert len(refused) == 2
    assert "annotation 9" in refused[str(file.parent / "3.png")]
    assert "0 times" in refused[str(file.parent / "other.png")]
    with champion.opened() as context, context.sessions() as session:
        field = select(Annotation).join(Image).where(Image.role == Role.FIELD)
        truths = session.scalars(field).all()
        assert [[entry["label"] for entry in row.objects] for row in truths] == [["car"], ["car"]]
        assert all(row.has_truth for row in session.scalars(select(Observation)))


def test_bad_annotations_of_frames_are_one_line(champion: CommandLine, tmp_path: Path) -> None:
    frame = tmp_path / "frame.png"
    frame.write_bytes(bad_images.png(1))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "frame.png").write_bytes(bad_images.png(2))
    cases = {tmp_path / "nowhere": "does not exist", broken: "JSON", plain: "no annotations"}
    for source, said in cases.items():
        assert said in champion.refused("ingest", frame, "--annotations", source)
    both = ("--annotations", broken, "--missed", "car:1,1,20,20")
    assert "either" in champion.refused("ingest", frame, *both)


def test_a_bad_source_costs_its_neighbours_nothing(line: CommandLine, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("[]")
    good = write_coco(tmp_path / "good", 2)
    ran = line.run("import", broken, tmp_path / "nowhere", good, "--role", "seed")
    assert ran.code == 2
    assert ran.err.count("error: ") == 2
    assert "2 images added" in ran.out


def test_models_are_promoted_and_rolled_back(champion: CommandLine) -> None:
    with champion.opened() as context, context.sessions.begin() as session:
        figures = {"map": 0.41, "map50": 0.66, "found": 7, "objects": 9}
        session.add(make_model(2, parent_id=f"{1:064x}", reports={"holdout": figures}))
        session.add(make_image(1, Role.FIELD))

    listed = champion.done("models", "list", "--json").json
    assert [(row["number"], row["state"]) for row in listed] == [
        (2, "challenger"),
        (1, "champion"),
    ]
    assert "0.660" in champion.done("models", "list").out
    assert "model 1" in champion.done("models", "show", "2").out
    assert champion.done("models", "show", f"{2:064x}", "--json").json["number"] == 2
    assert "Gate" not in champion.done("models", "show", "2").out
    flips = Check("negative flips", 0.0, 0.07, 0.04, False, "7 of 100 are missed now")
    with champion.opened() as context, context.sessions.begin() as session:
        decision = Verdict(False, (flips,)).to_dict()
        session.add(
            Cycle(policy="e2x", budget_boxes=9, challenger_id=f"{2:064x}", decision=decision)
        )
    shown = champion.done("models", "show", "2").out
    assert "Gate: do not promote" in shown
    assert "7 of 100 are missed now" in shown
    assert champion.done("models", "show", "2", "--json").json["decision"] == decision
    assert champion.done("models", "show", "1", "--json").json["decision"] is None
    champion.done("models", "promote", "2", "--reason", "better at night")
    assert champion.done("models", "show", "2", "--json").json["state"] == "champion"
    assert [row["kind"] for row in champion.done("units", "list", "--json").json["units"]] == [
        "scan"
    ]
    champion.refused("models", "promote", "2")
    assert "model 1" in champion.done("models", "rollback").out
    champion.refused("models", "rollback")
    assert "models list" in champion.refused("models", "show", "77")


@pytest.fixture
def failed(champion: CommandLine) -> CommandLine:
    """Two failures, the first explained: blue on the left, red on the right."""
    with champion.opened() as context, context.sessions.begin() as session:
        data = bad_images.png(1)
        identity = images.content_hash(data)
        frame = make_image(1, Role.FIELD, id=identity, file=f"{identity}.png", name="night.png")
        (context.project.images / frame.file).write_bytes(data)
        session.add(frame)
        session.flush()
        model = session.get_one(type(make_model()), f"{1:064x}")
        first = make_failure(0xABC << 244, frame, model)
        session.add_all([first, make_failure(0xDEF << 244, frame, model, kind="false_positive")])
        session.flush()
        segments = np.repeat(np.arange(2, dtype=np.int32), 32)[None].repeat(48, 0)
        write_npz(
            context.project.explanations / "one.npz",
            segments=segments,
            values=np.array([-0.5, 0.5], np.float32),
            standard_errors=np.array([0.1, 0.1], np.float32),
        )
        session.add(
            Explanation(
                id="e" * 64,
                failure_id=first.id,
                method="e2x",
                parameters={"num_samples": 8},
                encoder_version="none",
                file="one.npz",
                regions=[
                    {"box": [0, 0, 32, 48], "weight": 0.6, "only_with": 1},
                    {"box": [40, 0, 64, 48], "weight": 0.4},
                ],
                score=0.2,
                baseline_score=0.1,
                seconds=0.5,
            )
        )
    return champion


def test_a_failure_is_shown_and_drawn(failed: CommandLine, tmp_path: Path) -> None:
    assert len(failed.done("failures", "list", "--json").json) == 2
    only = failed.done("failures", "list", "--kind", "false_positive", "--json").json
    assert [row["kind"] for row in only] == ["false_positive"]
    assert "night.png" in failed.done("failures", "list", "--label", "car").out

    picture = tmp_path / "why.png"
    shown = failed.done("failures", "show", "abc", "--out", picture).out
    first, second = (line for line in shown.splitlines() if "60%" in line or "40%" in line)
    assert "region 2" in first
    assert "region" not in second
    pixels = np.asarray(Pillow.open(picture).convert("RGB")).astype(int)
    difference = pixels - np.asarray(bad_images.picture(1)).astype(int)
    left, right = difference[40:, 2:28].mean((0, 1)), difference[40:, 36:60].mean((0, 1))
    assert left[2] > left[0]  # what hurts is blue
    assert right[0] > right[2]  # what supports is red

    plain = failed.done("failures", "show", "def", "--json").json
    assert plain["picture"] is None
    assert "failures list" in failed.refused("failures", "show", "999")
    assert "several" in failed.refused("failures", "show", "")


def test_a_failure_is_explained_by_a_method_whose_cost_was_told(failed: CommandLine) -> None:
    told = failed.done("failures", "explain", "abc", "--json").json
    costs = {one["method"]: one for one in told["methods"]}
    assert set(costs) == set(explain.names())
    assert costs["lime"]["passes"] == 1000
    assert not costs["vebi"]["offered"]
    assert "superpixels" in costs["exact_shapley"]["why_not"]
    assert "fitted" in failed.refused("failures", "explain", "abc", "--method", "vebi")
    assert "of which method" in failed.refused("failures", "explain", "abc", "--samples", "9")
    wanted = ("failures", "explain", "abc", "--method", "lime", "--samples", "64")
    for _ in range(2):
        (one,) = failed.done(*wanted, "--json").json["asked"]
        assert (one["method"], one["state"]) == ("lime", "waiting")
    shown = failed.done("failures", "explain", "abc").out
    assert "not offered" not in shown
    assert "waiting" in shown
    (unit,) = failed.done("units", "list", "--json").json["units"]
    assert unit["kind"] == "explain_asked"


def test_units_are_shown_and_redriven(line: CommandLine) -> None:
    with line.opened() as context, context.sessions.begin() as session:
        for number in range(3):
            units.enqueue(session, "scan", f"scan:{number}", {"image": "x", "model": "y"})
        for unit_id in (1, 2):
            claim = units.claim(session, unit_id, "test", 60.0)
            assert claim is not None
            units.fail(session, claim, "no_such_image", "Traceback …\nno image x", False, 0.0)

    listed = line.done("units", "list", "--state", "dead", "--json").json
    assert [row["id"] for row in listed["units"]] == [2, 1]
    assert listed["counts"]["queued"] == 1
    assert "no image x" in line.done("units", "show", "1").out
    line.refused("units", "redrive")
    line.refused("units", "redrive", "3")
    line.refused("units", "redrive", "44")
    line.done("units", "redrive", "1")
    line.done("units", "redrive", "--all")
    with line.opened() as context, context.sessions() as session:
        assert {unit.state for unit in session.scalars(select(Unit))} == {UnitState.QUEUED}


def test_training_needs_a_seed_set_and_no_champion(line: CommandLine) -> None:
    assert "--role seed" in line.refused("train")
    with line.opened() as context, context.sessions.begin() as session:
        add_champion(session)
    assert "cycle run" in line.refused("train")


def test_a_small_seed_set_is_trained_on_in_this_process(line: CommandLine, tmp_path: Path) -> None:
    (line.root / "e2x.toml").write_text(
        "[detector]\nweights = 'random'\ninput_height_px = 64\ninput_width_px = 64\n"
        "[training]\nepochs = 1\nbatch_size = 4\n[workers]\nthreads = 1\n"
    )
    write_coco(tmp_path / "seed", 8)
    write_coco(tmp_path / "holdout", 2, first_seed=40)
    line.done("import", tmp_path / "seed", "--role", "seed")
    line.done("import", tmp_path / "holdout", "--role", "holdout")
    said = line.done("train").out
    assert "model 1 is the champion" in said
    assert "cannot be read" not in said
    [model] = line.done("models", "list", "--json").json
    assert model["state"] == "champion"
    assert model["reports"]["holdout"]["images"] == 2
    found = {row["what"]: row for row in line.run("doctor", "--json").json}
    assert found["models"]["state"] == "ok"
    assert "unreadable" not in found


def test_up_runs_until_it_is_interrupted(line: CommandLine) -> None:
    (line.root / "e2x.toml").write_text("[api]\nport = 0\n[ingest]\nwatch_folder = 'inbox'\n")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "services.cli", "up"],
        env={**os.environ, "E2X_PROJECT": str(line.root)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        for row in process.stdout:
            said += row
            if "logs:" in row:
                break
        assert "watch" in said
        assert str(line.root / "state" / "api-token") in said.replace("\n", "")
        with line.opened() as context:
            up = supervisor.running(context.project)
            assert up is not None
            token = (line.root / "state" / "api-token").read_text()
            answer = httpx.get(
                f"{up['api_url']}/v1/models", headers={"Authorization": f"Bearer {token}"}
            )
            assert answer.status_code == 200
            assert "up already" in line.refused("up")
            doctor = {row["what"]: row for row in line.run("doctor", "--json").json}
            assert doctor["services"]["found"].startswith("up: ")
            process.send_signal(signal.SIGINT)
            assert process.wait(60 * PATIENCE) == 0
            wait_until(lambda: supervisor.running(context.project) is None, 10, "all stopped")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_failures_of_one_mode_and_model(failed: CommandLine) -> None:
    assert failed.done("failures", "list", "--mode", "3", "--json").json == []
    assert len(failed.done("failures", "list", "--model", "1", "--json").json) == 2
    assert len(failed.done("failures", "list", "--limit", "1", "--json").json) == 1
    with failed.opened() as context, context.sessions.begin() as session:
        session.scalars(select(Image).where(Image.role == Role.FIELD)).one().group = "night"
        session.get_one(FailureRow, f"{0xABC << 244:064x}").mechanism = "background"
    for options, many in (
        (("--mode", "0"), 2), (("--drive", "night"), 2), (("--drive", "day"), 0),
        (("--mechanism", "background"), 1), (("--since", "2020-01-01"), 2),
        (("--until", "2020-01-01"), 0), (("--drive", "night", "--kind", "false_positive"), 1),
    ):  # fmt: skip
        assert len(failed.done("failures", "list", *options, "--json").json) == many, options
    with failed.opened() as context, context.sessions() as session:
        assert len(session.scalars(select(FailureRow)).all()) == 2
        field = select(Image).where(Image.role == Role.FIELD)
        assert session.scalars(field).one().name == "night.png"

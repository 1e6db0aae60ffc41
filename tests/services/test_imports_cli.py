"""``e2x import``, ``e2x ingest`` and ``e2x labels``: what they take in, refuse and say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from services.cli import make_app
from services.config.settings import get_settings
from services.context import Context
from services.db.tables import (
    Annotation,
    Cycle,
    CycleState,
    Image,
    LabelTask,
    Observation,
    Role,
    TaskState,
)
from tests import bad_images
from tests.services.builders import add_champion
from tests.services.label_queue import answered

Run = Callable[..., Result]
CAR = {"box": [2.0, 2.0, 30.0, 30.0], "label": "car"}


@pytest.fixture
def run(sqlite_context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The command line on the project of ``sqlite_context``."""
    monkeypatch.setenv("E2X_PROJECT", str(sqlite_context.project.root))
    monkeypatch.setenv("E2X_DATABASE_URL", str(sqlite_context.engine.url))
    monkeypatch.setenv("COLUMNS", "200")
    app = make_app()

    def invoke(*arguments: Any) -> Result:
        return CliRunner().invoke(app, [str(one) for one in arguments])

    yield invoke
    get_settings.cache_clear()


def _coco(folder: Path, files: dict[str, bytes], label: str = "car") -> Path:
    """A COCO folder with one box in each image."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (name, data) in enumerate(files.items(), 1):
        (folder / name).write_bytes(data)
        images.append({"id": number, "file_name": name})
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [2, 2, 20, 20]}
        )
    categories = [{"id": 1, "name": label}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def _seed(run: Run, tmp_path: Path) -> None:
    folder = _coco(tmp_path / "seed", {"a.png": bad_images.png(11), "b.png": bad_images.png(12)})
    assert run("import", folder, "--role", "seed").exit_code == 0


def test_bad_images_are_problems_and_their_neighbours_come_in(
    run: Run, sqlite_context: Context, tmp_path: Path
) -> None:
    bad = {f"{name}.jpg": make() for name, make in bad_images.BAD.items()}
    odd = {f"{name}.jpg": make() for name, make in bad_images.ODD.items()}
    result = run("import", _coco(tmp_path / "mixed", bad | odd), "--role", "seed", "--json")
    assert result.exit_code == 1
    [report] = json.loads(result.stdout).values()
    refused = " ".join(problem["where"] for problem in report["problems"])
    assert all(name in refused for name in bad)
    assert len(report["problems"]) == report["images_left_out"] == len(bad)
    assert report["images_added"] == len(odd)
    with sqlite_context.sessions() as session:
        names = set(session.scalars(select(Image.name)))
    assert names == set(odd)


def test_importing_again_adds_nothing(run: Run, tmp_path: Path) -> None:
    folder = _coco(tmp_path / "seed", {"a.png": bad_images.png(1)})
    run("import", folder, "--role", "seed")
    [report] = json.loads(run("import", folder, "--role", "seed", "--json").stdout).values()
    assert (report["images_added"], report["images_known"]) == (0, 1)


def test_parts_are_disjoint_and_together_everything(
    run: Run, sqlite_context: Context, tmp_path: Path
) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(bad_images.png(number))
    parts = []
    for part in ("1/2", "2/2"):
        result = run("import", folder, "--role", "pool", "--part", part, "--block", 2, "--json")
        parts.append(next(iter(json.loads(result.stdout).values())))
    assert [one["images_added"] for one in parts] == [4, 2]
    assert [one["problems"] for one in parts] == [[], []]


@pytest.mark.parametrize("part", ["half", "0/2", "3/2", "1-2", "1/0"])
def test_a_part_that_is_none_is_refused(run: Run, tmp_path: Path, part: str) -> None:
    folder = _coco(tmp_path / "seed", {"a.png": bad_images.png(1)})
    result = run("import", folder, "--role", "pool", "--part", part)
    assert result.exit_code == 2
    assert "1/N" in result.stderr or "K/N" in result.stderr


def test_the_pool_keeps_no_labels(run: Run, sqlite_context: Context, tmp_path: Path) -> None:
    folder = _coco(tmp_path / "pool", {"a.png": bad_images.png(1)})
    assert run("import", folder, "--role", "pool").exit_code == 0
    with sqlite_context.sessions() as session:
        assert session.scalars(select(Annotation)).all() == []


def test_a_holdout_image_is_never_trained_on(run: Run, tmp_path: Path) -> None:
    folder = _coco(tmp_path / "set", {"a.png": bad_images.png(1)})
    run("import", folder, "--role", "holdout")
    result = run("import", folder, "--role", "seed")
    assert result.exit_code == 1
    assert "role holdout" in result.stdout


def test_a_file_outside_the_data_set_is_not_read(
    run: Run, sqlite_context: Context, tmp_path: Path
) -> None:
    folder = _coco(tmp_path / "set", {"a.png": bad_images.png(1)})
    (tmp_path / "secret.png").write_bytes(bad_images.png(2))
    file = folder / "annotations.json"
    file.write_text(file.read_text().replace('"a.png"', '"../secret.png"'))
    assert run("import", folder, "--role", "seed").exit_code == 1
    with sqlite_context.sessions() as session:
        assert session.scalars(select(Image)).all() == []


def test_a_source_that_is_missing_is_one_line(run: Run, tmp_path: Path) -> None:
    result = run("import", tmp_path / "nowhere", "--role", "seed")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert "Traceback" not in result.stderr


def test_frames_come_in_with_their_words(run: Run, sqlite_context: Context, tmp_path: Path) -> None:
    _seed(run, tmp_path)
    for number, words in enumerate(({"objects": [CAR]}, {"reports": [{"kind": "missed", **CAR}]})):
        (tmp_path / f"f{number}.png").write_bytes(bad_images.png(20 + number))
        (tmp_path / f"f{number}.json").write_text(json.dumps(words))
    result = run("ingest", tmp_path / "f?.png", "--json")
    assert result.exit_code == 0
    assert len(json.loads(result.stdout)["frames"]) == 2
    with sqlite_context.sessions() as session:
        rows = session.scalars(select(Observation).order_by(Observation.id)).all()
    assert [(row.has_truth, len(row.reports)) for row in rows] == [(True, 0), (False, 1)]


def test_bad_frames_are_refused_and_their_neighbours_come_in(run: Run, tmp_path: Path) -> None:
    _seed(run, tmp_path)
    folder = tmp_path / "frames"
    folder.mkdir()
    for name, make in {**bad_images.BAD, "good": bad_images.png_bytes}.items():
        (folder / f"{name}.jpg").write_bytes(make())
    result = run("ingest", folder, "--empty", "--json")
    assert result.exit_code == 1
    outcome = json.loads(result.stdout)
    assert [Path(one["file"]).stem for one in outcome["frames"]] == ["good"]
    assert {Path(one["file"]).stem for one in outcome["refused"]} == set(bad_images.BAD)
    assert all(one["message"] for one in outcome["refused"])


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (None, "nothing is said"),
        ("{", "not JSON"),
        ('{"objekts": []}', "Extra inputs"),
        ('{"objects": [{"box": [1, 2, 3], "label": "car"}]}', "box"),
        ('{"objects": [{"box": [20, 2, 3, 9], "label": "car"}]}', "inverted"),
        ('{"objects": [{"box": [1, 2, 3000, 9], "label": "car"}]}', "leaves"),
        ('{"objects": [{"box": [1, 2, 9, 9], "label": "cat"}]}', "unknown class"),
        ('{"reports": [{"kind": "odd", "box": [1, 2, 9, 9], "label": "car"}]}', "kind"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_words_that_cannot_be_understood_are_refused(
    run: Run, sqlite_context: Context, tmp_path: Path, said: str | None, complaint: str
) -> None:
    _seed(run, tmp_path)
    (tmp_path / "f.png").write_bytes(bad_images.png(20))
    if said is not None:
        (tmp_path / "f.json").write_text(said)
    result = run("ingest", tmp_path / "f.png")
    assert result.exit_code == 1
    assert complaint in result.stdout
    with sqlite_context.sessions() as session:
        assert session.scalars(select(Observation)).all() == []


@pytest.mark.parametrize("option", [("--missed", "car:1,2,3"), ("--false", "1,2,9,9")])
def test_an_option_that_is_no_box_says_the_form(
    run: Run, tmp_path: Path, option: tuple[str, str]
) -> None:
    (tmp_path / "f.png").write_bytes(bad_images.png(20))
    result = run("ingest", tmp_path / "f.png", *option)
    assert result.exit_code == 2
    assert "LABEL:X1,Y1,X2,Y2" in result.stderr


@pytest.fixture
def task(run: Run, sqlite_context: Context, tmp_path: Path) -> int:
    """An open label task of a cycle that has another one beside it."""
    _seed(run, tmp_path)
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in (30, 31):
        (folder / f"{number}.png").write_bytes(bad_images.png(number))
    assert run("import", folder, "--role", "pool").exit_code == 0
    with sqlite_context.sessions.begin() as session:
        champion = add_champion(session)
        cycle = Cycle(
            policy="e2x", budget_boxes=9, champion_id=champion.id, state=CycleState.LABELLING
        )
        session.add(cycle)
        session.flush()
        for image in session.scalars(select(Image).where(Image.role == Role.POOL)):
            session.add(
                LabelTask(cycle_id=cycle.id, image_id=image.id, prelabels=[{**CAR, "score": 0.4}])
            )
        session.flush()
        number = session.scalars(select(LabelTask.id).order_by(LabelTask.id)).first()
    assert number is not None
    return number


def test_tasks_go_out_as_coco_and_answers_come_back_once(
    run: Run, sqlite_context: Context, tmp_path: Path, task: int
) -> None:
    out = tmp_path / "out"
    assert run("labels", "export", "--out", out).exit_code == 0
    document = json.loads((out / "annotations.json").read_text())
    assert len(document["images"]) == len(document["annotations"]) == 2
    assert all((out / "images" / one["file_name"]).is_file() for one in document["images"])
    answered(document)["annotations"][0]["bbox"] = [500, 500, 9, 9]  # one bad answer, one good
    (out / "annotations.json").write_text(json.dumps(document))
    first = json.loads(run("labels", "import", out, "--author", "ann", "--json").stdout)
    assert (first["submitted"], first["boxes"], len(first["problems"])) == (1, 1, 1)
    again = run("labels", "import", out, "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["submitted"] == 0
    with sqlite_context.sessions() as session:
        answers = session.scalars(select(Annotation).where(Annotation.author == "ann")).all()
        states = sorted(session.scalars(select(LabelTask.state)))
    assert len(answers) == 1
    assert states == [TaskState.SUBMITTED, TaskState.WAITING]


def test_tasks_are_listed(run: Run, task: int) -> None:
    listed = json.loads(run("labels", "list", "--json").stdout)
    assert listed["counts"] == {"waiting": 2}
    assert task in [one["id"] for one in listed["tasks"]]
    assert "waiting" in run("labels", "list").stdout


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3}'])
def test_a_file_that_is_not_coco_is_refused(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "labels.json"
    file.write_text(text)
    result = run("labels", "import", file)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("option", ["--missed", "--false"])
def test_shares_for_pixels_are_told(
    run: Run, sqlite_context: Context, tmp_path: Path, option: str
) -> None:
    _seed(run, tmp_path)
    (tmp_path / "f.png").write_bytes(bad_images.png(20))

    result = run("ingest", tmp_path / "f.png", option, "car:0.1,0.2,0.5,0.6")

    assert result.exit_code == 1
    assert "coordinates look normalised: give x1, y1, x2, y2 in pixels" in result.stdout
    assert "[6.4, 9.6, 32.0, 28.8] of this image of 64x48" in result.stdout
    with sqlite_context.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Observation)) == 0


def test_annotations_of_another_size_are_refused(
    run: Run, sqlite_context: Context, tmp_path: Path
) -> None:
    _seed(run, tmp_path)
    said = _coco(tmp_path / "said", {"f.png": bad_images.png(20)}) / "annotations.json"
    document = json.loads(said.read_text())
    document["images"][0] |= {"width": 64, "height": 48}
    said.write_text(json.dumps(document))
    (tmp_path / "f.png").write_bytes(bad_images.png(20, 128, 96))

    result = run("ingest", tmp_path / "f.png", "--annotations", said)

    assert result.exit_code == 1
    assert "it is 128x96 but spoken of as 64x48" in result.stdout

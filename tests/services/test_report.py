"""The report page: complete, self-contained, bounded, and undisturbed by lost files."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from benchmarks.common.projects import make_model
from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from retrain.ssd import build as build_network
from services.context import Context
from services.db.tables import (
    CandidateRow,
    Cycle,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    Model,
    ModeRow,
    ModeSighting,
)
from services.errors import NotFound
from services.report import ReportExtra, Tile, build, builder, predictor
from tests.services.builders import add_champion
from tests.services.commands import CommandLine
from tests.services.report_project import NAMES, fill, make_predict

LIMIT = 1_700_000
"""Room for the small pictures and one failure of each of twelve modes, not for three."""
THUMBS = 6
"""In the table of modes: two of each of three."""


class Reader(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def pictures(self) -> list[bytes]:
        found = [a for a in self.addresses if a.startswith("data:image/jpeg;base64,")]
        return [base64.b64decode(address.partition(",")[2]) for address in found]


def read(file: Path) -> Reader:
    return Reader(file.read_text(encoding="utf-8"))


def mark_fixed(context: Context, failures: list[str], model_id: str) -> None:
    """As the scan after a promotion does."""
    with context.sessions.begin() as session:
        for name in failures:
            row = session.get_one(FailureRow, name)
            row.state, row.fixed_by = FailureState.FIXED, model_id


def test_needs_nothing_but_itself(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    out = tmp_path / "folder" / "report.html"
    assert build(sqlite_context, out, predict=make_predict(project)) == out
    page = read(out)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "iframe" not in page.tags
    for address in page.addresses:
        assert address.startswith(("data:image/", "#"))
    assert not re.search(r"https?://|//cdn|@import|url\(", out.read_text())
    assert "prefers-color-scheme: dark" in out.read_text()
    assert "default-src 'none'; img-src data:" in out.read_text()  # if something slips in yet


def test_every_picture_decodes(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    page = read(build(sqlite_context, tmp_path / "r.html", predict=make_predict(project)))
    assert len(page.pictures) == THUMBS + 6 * 4 + 3  # before, why, where, after; one sample a mode
    for data in page.pictures:
        with Pillow.open(io.BytesIO(data)) as picture:
            picture.load()
            assert picture.width in (120, 240, 400)


def test_says_what_happened(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    text = read(build(sqlite_context, tmp_path / "r.html", predict=make_predict(project))).text
    for title in (
        "1. Missed car 1",
        "2. False car 2",
        "3. Missed car 3, most are taken for another class",
        "Gate: promote",
        "holdout mAP",
        "must reach 0.4900",
        "skipped: no siblings were given",
        "the best is missed car 1",
        "After retraining, model 2",
        "taken for background",
        "model 1 → model 2",
        "12 images, 34 boxes",
        "labelled: 1 car",
        "like a harmful region, 0.71",
        "1 car (revision 1, annotator)",
        "model 2, champion (dataset dddddddd)",
    ):
        assert title in text
    for name in project.failures:
        assert name[:8] in text


def test_fixed_is_what_the_new_model_does(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    mark_fixed(sqlite_context, project.failures[:1], project.challenger)
    predict = make_predict(project)
    page = read(build(sqlite_context, tmp_path / "r.html", predict=predict))
    # The challenger shows a car at the box: right for a missed and a mistaken one, wrong where
    # there is none.
    assert page.text.count("Missed car fixed by model 2") == 1
    assert page.text.count("Missed car right with model 2, still open") == 1
    assert page.text.count("No car there not fixed") == 2
    assert page.text.count("Car, taken for bus right with model 2, still open") == 2

    with sqlite_context.sessions.begin() as session:
        session.get_one(Cycle, project.cycle).promoted = False
    text = read(build(sqlite_context, tmp_path / "r.html", predict=predict)).text
    assert text.count("right with model 2, not promoted") == 3


def test_a_later_model_that_fixed_it_is_shown(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        third = make_model(3, class_names=NAMES)
        session.add(third)
        session.flush()
        number_three = third.id
    mark_fixed(sqlite_context, project.failures[:1], number_three)
    text = read(build(sqlite_context, tmp_path / "r.html", predict=make_predict(project))).text
    assert text.count("Missed car fixed later, by model 3") == 1
    assert text.count("After retraining, model 3") == 1
    assert text.count("After retraining, model 2") == len(project.failures) - 1


def test_saved_models_are_run_and_a_corrupt_one_costs_its_own_pictures(
    sqlite_context: Context, tmp_path: Path
) -> None:
    project = fill(sqlite_context)
    config = DetectorConfig("ssdlite_efficientnet_lite0", tuple(NAMES), (64, 96), min_scale=0.15)
    with sqlite_context.sessions() as session:
        folders = [
            sqlite_context.project.root / session.get_one(Model, name).folder
            for name in (project.champion, project.challenger)
        ]
    for folder in folders:
        SsdDetector(build_network(config).eval(), config).save(folder)
    whole = read(build(sqlite_context, tmp_path / "r.html", predict=predictor(sqlite_context)))
    assert len(whole.pictures) == THUMBS + 6 * 4 + 3
    assert "After retraining, model 2" in whole.text

    (weights,) = folders[1].glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    page = read(build(sqlite_context, tmp_path / "r.html", predict=predictor(sqlite_context)))
    assert len(page.pictures) == THUMBS + 6 * 3 + 3
    assert "After retraining" not in page.text


def test_images_that_no_mode_asked_for_are_counted(sqlite_context: Context, tmp_path: Path) -> None:
    fill(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        for candidate in session.scalars(select(CandidateRow)):
            candidate.mode_id = candidate.failure_id = None
        session.scalars(select(Cycle)).one().policy = "random"
    text = read(build(sqlite_context, tmp_path / "r.html")).text
    assert "3 images were asked for by “random” for none of these modes" in text


def test_without_models_it_says_so(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    mark_fixed(sqlite_context, project.failures[:1], project.challenger)
    page = read(build(sqlite_context, tmp_path / "r.html"))
    assert "After retraining" not in page.text
    assert "made without running the detectors" in page.text
    assert page.text.count("Missed car fixed by model 2") == 1
    assert "not fixed" not in page.text
    assert len(page.pictures) == THUMBS + 6 * 3 + 3


def test_no_cycle_yet(sqlite_context: Context, tmp_path: Path) -> None:
    empty = read(build(sqlite_context, tmp_path / "r.html")).text
    assert "No cycle yet" in empty
    assert all(command in empty for command in ("e2x train", "e2x ingest", "e2x cycle run"))

    with sqlite_context.sessions.begin() as session:
        add_champion(session)
    trained = read(build(sqlite_context, tmp_path / "r.html")).text
    assert "e2x train" not in trained
    assert "e2x ingest" in trained


def test_a_cycle_without_failures_says_so(sqlite_context: Context, tmp_path: Path) -> None:
    with sqlite_context.sessions.begin() as session:
        session.add(Cycle(policy="e2x", budget_boxes=10))
    assert "No failure modes yet." in read(build(sqlite_context, tmp_path / "r.html")).text


def test_an_unknown_cycle_is_refused(sqlite_context: Context, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cycle 9"):
        build(sqlite_context, tmp_path / "r.html", [9])
    assert not (tmp_path / "r.html").exists()


def test_the_callers_figures_come_first(sqlite_context: Context, tmp_path: Path) -> None:
    extra = ReportExtra(
        title="A title",
        intro="An <intro>.",
        tiles=[Tile.compare("Siblings failed", 9, 4, lower_is_better=True), Tile("Budget", "100")],
        tables={"E2X beside random": [["", "E2X", "random"], ["fixed", "7", "3"]]},
    )
    fill(sqlite_context)
    page = read(build(sqlite_context, tmp_path / "r.html", extra=extra))
    assert "Siblings failed 9 → 4 Budget 100 E2X beside random E2X random fixed 7 3" in page.text
    assert "An <intro>." in page.text
    assert "intro" not in page.tags


def test_names_from_outside_are_only_text(sqlite_context: Context, tmp_path: Path) -> None:
    fill(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        for image in session.scalars(select(Image)):
            image.name = '"><script>alert(1)</script>'
        for mode in session.scalars(select(ModeRow)):
            mode.name = f'"><img src=x id={mode.id}>'
    page = read(build(sqlite_context, tmp_path / "r.html"))
    assert "script" not in page.tags
    assert "x" not in page.addresses
    assert "<script>alert(1)</script>" in page.text


def test_lost_and_damaged_files_cost_their_own_pictures(
    sqlite_context: Context, tmp_path: Path
) -> None:
    project = fill(sqlite_context)
    whole = len(read(build(sqlite_context, tmp_path / "whole.html")).pictures)
    with sqlite_context.sessions() as session:
        explanation = session.get_one(Explanation, project.failures[0])
        pool = session.scalars(select(Image).where(Image.name == "pool-0.png")).one()
    (sqlite_context.project.explanations / explanation.file).write_bytes(b"PK\x03\x04 cut")
    (sqlite_context.project.images / pool.file).unlink()
    page = read(build(sqlite_context, tmp_path / "r.html"))
    assert len(page.pictures) == whole - 2 - 1
    assert "1. Missed car 1" in page.text


def test_a_cycle_without_a_gate_yet(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        cycle = session.get_one(Cycle, project.cycle)
        cycle.decision = cycle.promoted = cycle.challenger_id = cycle.dataset_version_id = None
        cycle.state = "labelling"
    page = read(build(sqlite_context, tmp_path / "r.html", predict=make_predict(project)))
    assert "Cycle 1 labelling" in page.text
    assert "Gate" not in page.text.partition("Cycle 1 labelling")[2]
    assert "After retraining" not in page.text


def test_room_for_pictures_is_shared_and_the_rest_is_counted(
    sqlite_context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_context, modes=12, failures_a_mode=4)
    everything = read(build(sqlite_context, tmp_path / "all.html"))
    assert everything.text.count("1 more failure of this mode without pictures") == 12

    monkeypatch.setattr(builder, "PICTURE_BYTES", LIMIT)
    out = build(sqlite_context, tmp_path / "r.html")
    page = read(out)
    assert out.stat().st_size < LIMIT + 250_000
    assert all(f"{number}. " in page.text for number in range(1, 13))
    shown = [text.count("failure 0") for text in page.text.split("failures right after")][1:]
    assert min(shown) >= 1  # every mode has its first before any has its third
    assert page.text.count("more failures of this mode without pictures") >= 1


def test_each_cycle_shows_what_it_saw_of_a_mode(sqlite_context: Context, tmp_path: Path) -> None:
    fill(sqlite_context, modes=1)
    with sqlite_context.sessions.begin() as session:
        later = Cycle(policy="e2x", budget_boxes=20, state="labelling")
        session.add(later)
        session.flush()
        seen = ModeSighting(mode_id=1, cycle_id=later.id, key="k", kind="false_negative", size=7)
        session.add(seen)
    text = read(build(sqlite_context, tmp_path / "r.html")).text
    first, second = text.split("Cycle 2 labelling")
    assert "1. Missed car 1 open 2 1 0% 100%" in first
    assert "1. Missed car 1 open 7 0 – –" in second
    assert "cycle 1: 2, cycle 2: 7" in text


def test_modes_keep_their_exemplars_when_a_later_cycle_takes_the_failures(
    sqlite_context: Context, tmp_path: Path
) -> None:
    project = fill(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        for row in session.scalars(select(FailureRow)):
            row.mode_id = None
    page = read(build(sqlite_context, tmp_path / "r.html"))
    assert all(name[:8] in page.text for name in project.failures)


def test_the_command_writes_page_and_overlay(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "project")
    line.done("init", line.root)
    with line.opened() as context:
        project = fill(context, modes=1, failures_a_mode=1)
    assert "report.html" in line.done("report", "--no-models").out
    assert "1. Missed car 1" in read(line.root / "reports" / "report.html").text
    line.done("report", "--no-models", "--cycle", "1", "--out", tmp_path / "one.html")
    assert (tmp_path / "one.html").is_file()
    assert "no cycle 7" in line.refused("report", "--no-models", "--cycle", "7")

    name = project.failures[0]
    shown = line.done("failures", "show", name[:10], "--json").json
    assert shown["id"] == name
    with Pillow.open(shown["picture"]) as picture:
        assert picture.size == (512, 512)
    line.done("failures", "show", name, "--out", tmp_path / "overlay.png")
    assert (tmp_path / "overlay.png").is_file()

"""The report page: complete, self-contained, bounded, and undisturbed by lost files."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from sqlalchemy import select

from services.context import Context
from services.db.tables import Cycle, Explanation, FailureRow, FailureState, Image, ModeRow
from services.errors import NotFound
from services.report import ReportExtra, Tile, build, builder
from services.report.pictures import View, zoom
from tests.services.commands import CommandLine
from tests.services.report_project import fill, make_predict

LIMIT = 1_500_000
"""Room for one failure of each of twelve modes, not for three."""


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


def test_every_picture_decodes(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    page = read(build(sqlite_context, tmp_path / "r.html", predict=make_predict(project)))
    assert len(page.pictures) == 6 * 4 + 3  # before, why, where, after; one sample a mode
    for data in page.pictures:
        with Pillow.open(io.BytesIO(data)) as picture:
            picture.load()
            assert picture.width in (240, 400)


def test_says_what_happened(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    text = read(build(sqlite_context, tmp_path / "r.html", predict=make_predict(project))).text
    for title in (
        "1. Car, missed",
        "2. Car, seen where there is none",
        "3. Car, taken for another class",
        "Gate: promote",
        "holdout mAP",
        "must reach 0.4900",
        "skipped: no siblings were given",
        "the best is “1. Car, missed”",
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
    text = read(build(sqlite_context, tmp_path / "r.html", predict=make_predict(project))).text
    # The challenger shows a car at the box: right for a missed and a mistaken one, wrong where
    # there is none.
    assert len(re.findall(r"Missed car fixed", text)) == 2
    assert len(re.findall(r"No car there not fixed", text)) == 2
    assert len(re.findall(r"Car, taken for bus fixed", text)) == 2


def test_without_models_it_says_so(sqlite_context: Context, tmp_path: Path) -> None:
    project = fill(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        row = session.get_one(FailureRow, project.failures[0])
        row.state, row.fixed_by = FailureState.FIXED, project.challenger
    page = read(build(sqlite_context, tmp_path / "r.html"))
    assert "After retraining" not in page.text
    assert "made without running the detectors" in page.text
    assert len(re.findall(r"Missed car fixed", page.text)) == 1
    assert len(page.pictures) == 6 * 3 + 3


def test_no_cycle_yet(sqlite_context: Context, tmp_path: Path) -> None:
    assert "No cycle yet" in read(build(sqlite_context, tmp_path / "r.html")).text


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
            mode.key = f'"><img src=x id={mode.id}>'
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
    assert "1. Car, missed" in page.text


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
    assert all(f"{number}. Car" in page.text for number in range(1, 13))
    shown = [text.count("failure 0") for text in page.text.split("failures right after")][1:]
    assert min(shown) >= 1  # every mode has its first before any has its third
    assert page.text.count("more failures of this mode without pictures") >= 1


def test_modes_keep_their_exemplars_when_a_later_cycle_takes_the_failures(
    sqlite_context: Context, tmp_path: Path
) -> None:
    project = fill(sqlite_context)
    with sqlite_context.sessions.begin() as session:
        for row in session.scalars(select(FailureRow)):
            row.mode_id = None
    page = read(build(sqlite_context, tmp_path / "r.html"))
    assert all(name[:8] in page.text for name in project.failures)


@pytest.mark.parametrize("size_hw", [(192, 256), (1200, 1600), (400, 3000)])
def test_a_zoom_shows_all_boxes_at_one_scale(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    image = np.zeros((height, width, 3), np.uint8)
    boxes = [
        (width - 30, height - 30, width - 4, height - 2),
        (width - 60, height - 60, width - 40, height - 45),
    ]
    view = zoom(image, boxes, 400)
    assert view.window[2] <= width
    assert view.window[3] <= height
    picture = view.crop(image)
    assert picture.shape[1] == 400
    for box in boxes:
        x1, y1, x2, y2 = view.box(box)
        assert -1e-6 <= x1 < x2 <= picture.shape[1] + 1e-6
        assert -1e-6 <= y1 < y2 <= picture.shape[0] + 1
        assert (x2 - x1) / (box[2] - box[0]) == pytest.approx(view.scale)


def test_large_boxes_are_shown_in_the_whole_frame() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    assert zoom(image, [(10, 10, 180, 90)], 400) == View.whole(image, 400)


def test_the_command_writes_page_and_overlay(tmp_path: Path) -> None:
    line = CommandLine(tmp_path / "project")
    line.done("init", line.root)
    with line.opened() as context:
        project = fill(context, modes=1, failures_a_mode=1)
    assert "report.html" in line.done("report", "--no-models").out
    assert "1. Car, missed" in read(line.root / "reports" / "report.html").text
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

"""The plan: what would be asked for and why, on one page, and nothing is asked for by it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from curation.kernel.types import Detections
from curation.select import names
from services.cli.plan import draw_plan
from services.config import builders
from services.context import Context
from services.db.tables import (
    CandidateRow,
    Cycle,
    FailureRow,
    LabelTask,
    Model,
    ModeRow,
)
from services.errors import InvalidRequest, NotFound
from services.report import predictor
from services.selection import pool_scores
from services.selection.choose import Terms, choose
from tests.services.test_report import read


def test_the_page_shows_queries_and_chosen_images(planned: Context, tmp_path: Path) -> None:
    file = tmp_path / "plan.html"
    draw_plan(planned, file, policy=None, budget_boxes=None, look=True)
    page = read(file)
    assert "1. Missed disc 1 new" in page.text
    assert "share of the harm" in page.text
    assert "harm" in page.text
    assert any(f"{number}.jpg" in page.text for number in range(6))
    assert len(page.pictures) >= 2 + 1
    assert "default-src 'none'; img-src data:" in file.read_text()
    assert not [address for address in page.addresses if not address.startswith("data:image/")]
    with planned.sessions() as session:
        for table in (Cycle, CandidateRow, LabelTask, ModeRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0
        assert session.scalar(select(FailureRow)).mode_id is None


def test_without_a_look_at_the_pool_it_says_so(planned: Context, tmp_path: Path) -> None:
    draw_plan(planned, tmp_path / "plan.html", "whole_image", 3, look=False)
    text = read(tmp_path / "plan.html").text
    assert "has not looked at the pool" in text
    assert "policy whole_image" in text
    assert "budget 3" in text


def test_a_budget_that_buys_nothing_says_so(planned: Context, tmp_path: Path) -> None:
    draw_plan(planned, tmp_path / "plan.html", policy=None, budget_boxes=1, look=True)
    text = read(tmp_path / "plan.html").text
    assert "Nothing is chosen: a budget of 1 boxes buys none of the 6 images" in text
    assert "raise selection.budget_boxes" in text


def test_every_policy_of_the_registry_chooses_in_the_service(planned: Context) -> None:
    with planned.sessions() as session:
        champion = session.scalars(select(Model)).one()
    embedder = builders.region_embedder(planned.settings, builders.load_encoder(planned.settings))
    images = pool_scores.unknown(planned, {})
    looked: list[int] = []
    scores = pool_scores.score(
        planned, champion, images, predictor(planned), lambda: looked.append(1)
    )
    assert len(scores) == len(looked) == 6
    for name in names():
        chosen = choose(planned, champion, embedder, scores, Terms(name, 0, 900))
        assert chosen.candidates, name
        assert sum(candidate.cost_boxes for candidate in chosen.candidates) <= 900


def test_a_detector_that_misses_half_makes_images_cost_twice_as_much(planned: Context) -> None:
    with planned.sessions() as session:
        champion = session.scalars(select(Model)).one()
        images = set(pool_scores.unknown(planned, {}))
    embedder = builders.region_embedder(planned.settings, builders.load_encoder(planned.settings))
    boxes = np.tile(np.array([10, 10, 40, 40], np.float32), (3, 1))
    seen = Detections(boxes, np.full(3, 0.9, np.float32), np.ones(3, np.int64), np.arange(3))
    scores = dict.fromkeys(images, seen)
    for found, price in ((90, 3), (45, 6)):
        champion.reports = {"holdout": {"objects": 90, "found": found, "false_positives": 0}}
        chosen = choose(planned, champion, embedder, scores, Terms("random", 0, 12))
        assert [one.cost_boxes for one in chosen.candidates] == [price] * (12 // price)


def test_what_stands_in_the_way_is_named(
    planned: Context, sqlite_context: Context, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="there are core_set, "):
        draw_plan(planned, tmp_path / "p.html", "best", None, look=False)
    with pytest.raises(NotFound, match="no champion"):
        draw_plan(sqlite_context, tmp_path / "p.html", None, None, look=False)

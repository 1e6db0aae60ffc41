"""Explanations that people ask for: once, by a worker, with a cost told before; deleted again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import func, select

from curation import explain
from curation.explain.what import OFFSETS, What
from services import units
from services.config.setting_groups import ExplanationSettings
from services.context import Context
from services.db.actors import Actor, Door, acting
from services.db.tables import (
    AskedExplanation,
    Audit,
    Explanation,
    FailureRow,
    FailureState,
    Unit,
    UnitState,
)
from services.errors import Conflict, InvalidRequest, NotFound
from services.failures import asked, asked_rows
from services.failures.asked import Wish
from services.store.drawings import attribution_of
from services.store.storage import read_npz
from tests.services.accounts import trail
from tests.services.builders import add_champion, make_failure, make_image
from tests.services.explain_frames import FALSE, MISSED, answer, ask


def units_of(context: Context) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.count()).select_from(Unit)) or 0


def test_what_is_asked_twice_is_answered_once_and_is_not_what_the_loop_works_with(
    small: Context,
) -> None:
    first = ask(small, num_samples=64)
    assert ask(small, num_samples=64) == first
    assert units_of(small) == 1
    assert answer(small) == ["done"]
    assert ask(small, num_samples=64) == first
    assert ask(small, num_samples=65) != first
    with small.sessions() as session:
        row = session.get_one(AskedExplanation, first[0])
        failure = session.get_one(FailureRow, MISSED)
        attribution = attribution_of(small, failure, row)
        assert attribution.values.sum() == pytest.approx(
            (row.score or 0) - (row.baseline_score or 0), abs=1e-3
        )
        assert row.scored >= 60
        assert row.words[1] == "Red raises the score of square, blue lowers it."
        assert session.scalar(select(func.count()).select_from(Explanation)) == 0
        assert failure.state == FailureState.FOUND


def test_a_method_is_laid_beside_the_one_that_the_loop_uses_on_its_superpixels(
    small: Context,
) -> None:
    # By a method that tells the same of a failure alone and beside the frame's others.
    explanation = small.settings.explanation.model_copy(update={"method": "kernel_shap"})
    settings = small.settings.model_copy(update={"explanation": explanation})
    small = replace(small, settings=settings)
    with small.sessions.begin() as session:
        failure = session.get_one(FailureRow, MISSED)
        payload = {"image": failure.image_id, "model": failure.model_id}
        units.enqueue(session, "explain", "explain:test", payload)
    assert answer(small, "explain") == ["done"]
    (same,), (other,) = ask(small, num_samples=16), ask(small, "lime", num_samples=200)
    assert answer(small) == ["done", "done"]
    with small.sessions() as session:
        own = session.scalars(select(Explanation).where(Explanation.failure_id == MISSED)).one()
        kept = read_npz(small.project.explanations / own.file)
        for name in (same, other):
            row = session.get_one(AskedExplanation, name)
            arrays = read_npz(small.project.explanations / str(row.file))
            np.testing.assert_array_equal(arrays["segments"], kept["segments"])
            assert row.agreement is not None
            assert row.agreement["with"] == own.id
        agreed = session.get_one(AskedExplanation, same).agreement or {}
        assert agreed["spearman"] == pytest.approx(1)
        assert agreed["top"] == 1
        agreed = session.get_one(AskedExplanation, other).agreement or {}
        assert -1 <= agreed["spearman"] < 1


def test_an_error_analysis_is_one_unit_and_sums_to_what_the_box_was_moved(small: Context) -> None:
    wishes = [
        Wish(),
        Wish(What.AGAINST, rival="background"),
        Wish(What.CLASS, "disc"),
        *(Wish(what) for what in OFFSETS),
    ]
    names = ask(small, "kernel_shap", wishes, num_samples=64)
    assert len(set(names)) == 7
    assert units_of(small) == 1
    assert answer(small) == ["done"]
    with small.sessions() as session:
        rows = [session.get_one(AskedExplanation, name) for name in names]
        for row in rows:
            arrays = read_npz(small.project.explanations / str(row.file))
            moved = (row.score or 0) - (row.baseline_score or 0)
            assert arrays["values"].sum() == pytest.approx(moved, abs=1e-3), row.question
        text = {row.question: " ".join(row.words) for row in rows}
    assert "Red pulls it left, blue right." in text["left"]
    assert "the object" in text["left"]
    assert "background" in text["against"]
    assert answer(small) == []


def test_a_false_detection_has_no_object_that_its_box_could_miss(small: Context) -> None:
    (name,) = ask(small, "gp_shap", [Wish(What.WIDE)], FALSE, 16)
    assert answer(small) == ["done"]
    with small.sessions() as session:
        words = " ".join(session.get_one(AskedExplanation, name).words)
    assert "the object" not in words
    assert "Red makes it wider, blue narrower." in words


def test_a_cost_is_told_before_and_becomes_what_was_measured(small: Context) -> None:
    def price(method: str) -> asked_rows.Price:
        with small.sessions() as session:
            failure = session.get_one(FailureRow, MISSED)
            every = asked_rows.prices(session, small.settings, failure)
        return next(one for one in every if one.method == method)

    assert price("kernel_shap").passes == 320
    assert price("kernel_shap").seconds is None
    ask(small, num_samples=100)
    answer(small)
    with small.sessions() as session:
        (seconds,) = session.scalars(select(AskedExplanation.seconds)).all()
    assert price("kernel_shap").seconds == pytest.approx((seconds or 0) * 3.2)
    assert price("lime").seconds == pytest.approx((seconds or 0) * 10)
    with small.sessions() as session:
        failure = session.get_one(FailureRow, MISSED)
        offsets = [Wish(what) for what in OFFSETS]
        of_boxes = asked_rows.prices(session, small.settings, failure, lambda _: offsets)
    able = {one.method for one in of_boxes if one.offered}
    assert {"gp_shap", "e2x", "crp"} <= able
    assert "odam" not in able
    assert next(one for one in of_boxes if one.method == "e2x").passes == 32 * 9


def test_deleting_takes_row_file_and_work(small: Context) -> None:
    somebody = Actor("lea", Door.WEB)
    with acting(somebody):
        (done,) = ask(small, num_samples=16)
    assert answer(small) == ["done"]
    (open_one,) = ask(small, num_samples=32)
    both = ask(small, "gp_shap", [Wish(), Wish(What.UP)], num_samples=16)
    with acting(somebody), small.sessions.begin() as session:
        file = asked.forget(session, MISSED, done)
        assert asked.forget(session, MISSED, open_one) is None
        asked.forget(session, MISSED, both[0])
        with pytest.raises(NotFound):
            asked.forget(session, MISSED, done)
        with pytest.raises(NotFound):
            asked.forget(session, FALSE, both[1])
    assert file is not None
    assert trail(small) == ["explanation.ask", *["explanation.delete"] * 3]
    assert answer(small) == ["done"]
    with small.sessions() as session:
        states = session.scalars(select(Unit.state).order_by(Unit.id)).all()
        assert states == [UnitState.DONE, UnitState.CANCELLED, UnitState.DONE]
        left = session.scalars(select(AskedExplanation)).all()
        assert [row.id for row in left] == [both[1]]
        assert left[0].file is not None
    assert not list(small.project.explanations.rglob(f"{both[0]}*"))
    assert ask(small, num_samples=32) == [open_one]
    assert answer(small) == ["done"]


def test_what_failed_says_why_and_is_tried_again(small: Context) -> None:
    (name,) = ask(small, num_samples=16)
    with small.sessions.begin() as session:
        file = session.get_one(FailureRow, MISSED).image_id
    (picture,) = [path for path in small.project.images.rglob("*") if path.is_file()]
    hidden = picture.rename(small.project.root / file)
    assert answer(small) != ["done"]
    with small.sessions.begin() as session:
        unit = session.scalars(select(Unit)).one()
        unit.state, unit.error = UnitState.DEAD, unit.error or "lost"
        (one,) = asked_rows.of_failure(session, MISSED)
        assert one.state == "failed"
        assert one.why
    hidden.rename(picture)
    assert ask(small, num_samples=16) == [name]
    assert answer(small) == ["done"]
    with small.sessions() as session:
        (one,) = asked_rows.of_failure(session, MISSED)
        assert (one.state, one.is_open) == ("done", False)


def test_what_cannot_be_asked_is_said_and_leaves_nothing(small: Context) -> None:
    for wrong, words in (
        ({"method": "tea_leaves"}, "no method"),
        ({"method": "vebi"}, "vebi is not offered .* fitted to labelled images"),
        ({"method": "exact_shapley"}, "at most 14 superpixels, and explanation.num_segments is 20"),
        ({"method": "odam", "num_samples": 10}, "takes no number"),
        ({"num_samples": 1}, "must lie in"),
        ({"method": "odam", "wishes": [Wish(What.LEFT)]}, "gp_shap"),
        ({"wishes": [Wish(What.AGAINST)]}, "a rival"),
        ({"wishes": [Wish(What.AGAINST, rival="square")]}, "a rival"),
        ({"wishes": [Wish(What.CLASS, "bicycle")]}, "no class 'bicycle'"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            ask(small, **wrong)
    with pytest.raises(NotFound):
        ask(small, failure="f" * 64)
    with small.sessions.begin() as session:
        session.get_one(FailureRow, FALSE).state = FailureState.DISMISSED
    with pytest.raises(Conflict, match="dismissed"):
        ask(small, failure=FALSE)
    assert units_of(small) == 0
    with small.sessions() as session:
        assert session.scalars(select(AskedExplanation)).all() == []
        assert session.scalars(select(Audit)).all() == []


def test_no_more_is_asked_than_waits_or_is_kept(
    small: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "MOST_WAITING", 2)
    monkeypatch.setattr(asked, "MOST_KEPT", 3)
    ask(small, num_samples=10)
    ask(small, num_samples=11)
    with pytest.raises(Conflict, match="waited for"):
        ask(small, num_samples=12)
    assert len(ask(small, num_samples=11)) == 1
    answer(small)
    ask(small, num_samples=12)
    with pytest.raises(Conflict, match="delete some"):
        ask(small, num_samples=13)


def test_two_that_ask_the_same_at_once_get_one_answer(context: Context) -> None:
    """On each kind of database: the second finds what the first has committed meanwhile."""
    with context.sessions.begin() as session:
        champion = add_champion(session)
        champion.class_names = ["background", "car"]
        frame = make_image(7)
        session.add(frame)
        session.flush()
        session.add(make_failure(1, frame, champion))
    with ThreadPoolExecutor(4) as pool:
        names = [done.result() for done in [pool.submit(ask, context) for _ in range(4)]]
    assert len({tuple(each) for each in names}) == 1
    with context.sessions() as session:
        row = session.scalars(select(AskedExplanation)).one()
        assert session.get_one(Unit, row.unit_id).state == UnitState.QUEUED


def test_every_method_is_told_with_its_cost_or_why_it_is_not_offered(small: Context) -> None:
    """Also for a question that some cannot answer, and with few enough superpixels for all."""
    with small.sessions() as session:
        failure = session.get_one(FailureRow, MISSED)
        told = {one.method: one for one in asked_rows.prices(session, small.settings, failure)}
        assert set(told) == set(explain.names())
        assert {name for name, one in told.items() if not one.offered} == {"vebi", "exact_shapley"}
        assert all(one.passes for one in told.values() if one.method != "exact_shapley")
        left = asked_rows.prices(session, small.settings, failure, lambda _: [Wish(What.LEFT)])
        of_classes = ("odam", "d_rise", "d_close", "vx_code", "g_came")
        mute = {one.method: one.why_not for one in left if one.method in of_classes}
        assert set(mute.values()) == {"it cannot answer about left"}
    few = replace(
        small,
        settings=small.settings.model_copy(
            update={"explanation": ExplanationSettings(num_segments=9, num_samples=16)}
        ),
    )
    (name,) = ask(few, "exact_shapley")
    assert answer(few) == ["done"]
    with small.sessions() as session:
        row = session.get_one(AskedExplanation, name)
        assert (row.passes, row.to_score) == (2**9, 2**9)
        assert row.file is not None

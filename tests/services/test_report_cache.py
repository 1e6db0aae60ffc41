"""Evaluation reports are kept beside a model, and used for what they were made of alone."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common.projects import make_model
from curation.kernel.images import encode_png
from retrain.report import EvaluationReport, require_comparable
from services.context import Context
from services.db.tables import Annotation, Model, Role
from services.models import datasets, evaluation, summaries
from services.store.storage import put_image
from tests.services.builders import make_image
from tests.services.field_frames import blind

CAR = {"box": [1.0, 1.0, 30.0, 30.0], "label": "car", "ignore": False}


@pytest.fixture
def judged(sqlite_context: Context) -> Context:
    """Two models that see nothing, and a holdout of two images."""
    for number in (1, 2):
        blind().save(sqlite_context.project.models / str(number), None)
    names = list(blind().class_names)
    with sqlite_context.sessions.begin() as session:
        session.add_all(make_model(number, class_names=names) for number in (1, 2))
        for number in range(2):
            picture = np.full((48, 64, 3), 40 * number, np.uint8)
            stored = put_image(sqlite_context, encode_png(picture))
            session.add(make_image(number, Role.HOLDOUT, id=stored.id, file=stored.file))
            session.flush()
            session.add(Annotation(image_id=stored.id, objects=[{**CAR, "label": names[1]}]))
    return sqlite_context


def with_failures(context: Context, **changed: Any) -> Context:
    """The same project after somebody changed ``[failures]``."""
    failures = context.settings.failures.model_copy(update=changed)
    settings = context.settings.model_copy(update={"failures": failures})
    return Context(settings, context.project, context.engine, context.sessions)


def report(context: Context, number: int = 1, **options: Any) -> EvaluationReport:
    with context.sessions() as session:
        holdout = datasets.labelled_set(session, Role.HOLDOUT)
    return evaluation.evaluate_model(context, f"{number:064x}", holdout, **options)


def files(context: Context, number: int = 1) -> list[Path]:
    return sorted((context.project.models / str(number)).glob("report-*"))


@pytest.mark.parametrize("changed", [{"score_threshold": 0.3}, {"iou_threshold": 0.7}])
def test_models_are_comparable_after_a_threshold_was_changed(
    judged: Context, changed: dict[str, float]
) -> None:
    report(judged, 1)
    now = with_failures(judged, **changed)
    require_comparable(report(now, 1), report(now, 2))
    require_comparable(report(judged, 1), report(judged, 2))  # and after it was changed back
    assert len(files(judged)) == 2


def test_a_report_is_read_where_nothing_has_changed(judged: Context) -> None:
    first = report(judged)
    (judged.project.models / "1" / "model.safetensors").unlink()  # it cannot be evaluated again
    assert report(judged) == first


def test_classes_and_labels_make_another_report(judged: Context) -> None:
    names = list(blind().class_names)
    assert report(judged, class_names=names[:2]).class_names == tuple(names[:2])
    assert report(judged).class_names == tuple(names)
    with judged.sessions.begin() as session:
        row = session.query(Annotation).first()
        assert row is not None
        session.add(Annotation(image_id=row.image_id, revision=2, objects=[]))
    assert len(report(judged).objects) == 1
    assert len(files(judged)) == 3


def test_a_damaged_report_is_made_again_and_told(
    judged: Context, caplog: pytest.LogCaptureFixture
) -> None:
    first = report(judged)
    files(judged)[0].write_text('{"map": ')
    with caplog.at_level(logging.WARNING):
        assert report(judged) == first
    assert "evaluated again" in caplog.text


def test_figures_of_a_model_follow_the_thresholds_and_the_labels(judged: Context) -> None:
    def against(context: Context) -> dict[str, Any]:
        model: Model = evaluation.measured(context, f"{1:064x}")
        found: dict[str, Any] = model.reports["holdout"][summaries.AGAINST]
        return found

    first = against(judged)
    changed = against(with_failures(judged, score_threshold=0.3))
    assert (first["score_threshold"], changed["score_threshold"]) == (0.5, 0.3)
    with judged.sessions.begin() as session:
        row = session.query(Annotation).first()
        assert row is not None
        session.add(Annotation(image_id=row.image_id, revision=2, objects=[]))
    assert against(judged)["labelled"] != first["labelled"]

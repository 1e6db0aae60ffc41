"""Field frames that small real detectors look at: ingest, scan and what is stored of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skimage.data
from sqlalchemy import select

from benchmarks.common.projects import make_model
from curation.kernel.images import encode_png
from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from retrain.ssd import build
from services.context import Context
from services.db.tables import (
    Annotation,
    Explanation,
    FailureRow,
    FailureState,
    Model,
    Observation,
    Role,
    Unit,
    UnitState,
)
from services.intake.frames import ingest_frame
from services.models import registry
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import make_image
from tests.tiny_ssd import CLASS_NAMES, tiny_ssd

SURE = 0.99995
"""Working threshold: the small detector shows three discs then, and no square."""
PHANTOM = {"box": [400.0, 20.0, 500.0, 120.0], "label": "square"}
"""An object that it does not show."""


class Field:
    """A project whose champion is a small detector, and one field frame."""

    def __init__(self, context: Context) -> None:
        self.reopen(context)
        self._resident = Resident()
        pixels = np.ascontiguousarray(skimage.data.astronaut())
        self._frame = encode_png(pixels)
        shown = tiny_ssd().predict([pixels])[0].above(SURE)
        self.shown = [
            {"box": [round(float(v), 2) for v in box], "label": CLASS_NAMES[label]}
            for box, label in zip(shown.boxes_xyxy, shown.labels, strict=True)
        ]
        assert 1 < len(self.shown) < 6
        self.first = self.add_model(1, tiny_ssd())
        self.promote(1)

    def reopen(self, context: Context) -> None:
        """Go on in this project under the threshold of the tests."""
        rules = context.settings.failures.model_copy(update={"score_threshold": SURE})
        settings = context.settings.model_copy(update={"failures": rules})
        self.context = Context(settings, context.project, context.engine, context.sessions)

    def add_model(self, number: int, detector: SsdDetector) -> Model:
        """Register a detector."""
        detector.save(self.context.project.models / str(number))
        model = make_model(number, class_names=list(detector.class_names))
        with self.context.sessions.begin() as session:
            session.add(model)
        return model

    def promote(self, number: int) -> None:
        """Make a model the champion; its scans are asked for."""
        with self.context.sessions.begin() as session:
            registry.promote(session, registry.find(session, str(number)), "test", {})

    def add_class(self, label: str) -> None:
        """Bring an object of a new class into the seed set."""
        with self.context.sessions.begin() as session:
            session.add(image := make_image(1, Role.SEED))
            session.flush()
            session.add(Annotation(image_id=image.id, objects=[{**PHANTOM, "label": label}]))

    def say(self, **words: Any) -> None:
        """Send the frame, with its truth or with an operator's words."""
        ingest_frame(self.context, self._frame, "frame.png", **words)

    def scan(self, model: Model | None = None) -> list[dict[str, Any]]:
        """Do the scans that wait, all or those of a model; their results, the oldest first."""
        results = []
        for unit in self._waiting("scan"):
            if model is None or unit.payload["model"] == model.id:
                outcome = shell.run(self.context, self._resident, unit.id, "test")
                with self.context.sessions() as session:
                    done = session.get_one(Unit, unit.id)
                assert outcome == "done", done.error
                results.append(done.result or {})
        return results

    def explains(self) -> int:
        """Explanations that wait."""
        return len(self._waiting("explain"))

    def explain(self) -> None:
        """Explain what is found, as the explain stage leaves it."""
        with self.context.sessions.begin() as session:
            found = select(FailureRow).where(FailureRow.state == FailureState.FOUND)
            for row in session.scalars(found):
                row.state = FailureState.EXPLAINED
                session.add(_explanation(row))
            for unit in session.scalars(select(Unit).where(Unit.kind == "explain")):
                unit.state = UnitState.DONE

    def failures(self) -> list[FailureRow]:
        """All rows, the oldest first."""
        with self.context.sessions() as session:
            return list(
                session.scalars(select(FailureRow).order_by(FailureRow.created_at, FailureRow.id))
            )

    def states(self, kind: str = "false_negative") -> list[str]:
        """States of the failures of a kind, the oldest first."""
        return [row.state for row in self.failures() if row.kind == kind]

    def reports(self) -> list[dict[str, Any]]:
        """What operators said about the frame."""
        with self.context.sessions() as session:
            return list(session.scalars(select(Observation)).one().reports)

    def _waiting(self, kind: str) -> list[Unit]:
        with self.context.sessions() as session:
            query = select(Unit).where(Unit.kind == kind, Unit.state == UnitState.QUEUED)
            return list(session.scalars(query.order_by(Unit.id)))


def blind(*more: str) -> SsdDetector:
    """A detector that shows nothing, of the usual classes and more."""
    config = DetectorConfig(
        "ssdlite_efficientnet_lite0", (*CLASS_NAMES, *more), (96, 96), 0.15, 0.8
    )
    return SsdDetector(build(config).eval(), config)


def _explanation(failure: FailureRow) -> Explanation:
    return Explanation(
        id=failure.id,
        failure_id=failure.id,
        method="test",
        encoder_version="test",
        file="none.npz",
        score=0.0,
        baseline_score=0.0,
        seconds=0.0,
    )


@pytest.fixture
def field(context: Context) -> Field:
    """A frame that nobody has said anything about, before its champion."""
    return Field(context)


@pytest.fixture
def lite(sqlite_context: Context) -> Field:
    """The same on SQLite alone, where the database makes no difference."""
    return Field(sqlite_context)

"""A frame with failures of a small real detector, for what explains them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_model
from curation.kernel import images
from curation.kernel.types import ImageArray
from services.config.setting_groups import ExplanationSettings
from services.context import Context
from services.db.tables import FailureState, Image, Role, Unit, UnitState
from services.failures import asked
from services.failures.asked import Wish
from services.store.storage import put_image
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import make_failure
from tests.tiny_ssd import tiny_ssd

MISSED, FALSE = f"{1:064x}", f"{2:064x}"
RESIDENT = Resident()


@pytest.fixture
def found(sqlite_context: Context, photo: ImageArray) -> Context:
    """A frame with a missed object and a false positive of a small real detector."""
    tiny_ssd().save(sqlite_context.project.models / "tiny")
    data = images.encode_jpeg(photo)
    with sqlite_context.sessions.begin() as session:
        stored = put_image(sqlite_context, data)
        row = Image(
            id=stored.id,
            role=Role.FIELD,
            file=stored.file,
            name="astronaut.jpg",
            width_px=stored.width_px,
            height_px=stored.height_px,
            perceptual_hash=stored.perceptual_hash,
        )
        names = list(tiny_ssd().class_names)
        model = make_model(1, folder="models/tiny", class_names=names)
        session.add_all([row, model])
        session.flush()
        for number, kind in ((1, "false_negative"), (2, "false_positive")):
            label, box = ("square", "disc")[number - 1], [40.0, 60.0, 300.0, 380.0]
            state = FailureState.FOUND
            session.add(
                make_failure(
                    number, row, model, kind=kind, label=label, box=box, state=state, default_box=7
                )
            )
    return sqlite_context


@pytest.fixture
def small(found: Context) -> Context:
    """Few superpixels, and a random encoder: what people look at needs none."""
    explanation = ExplanationSettings(num_segments=20, num_samples=16)
    selection = found.settings.selection.model_copy(update={"encoder_weights": "random"})
    settings = found.settings.model_copy(
        update={"explanation": explanation, "selection": selection}
    )
    return Context(settings, found.project, found.engine, found.sessions)


def ask(
    context: Context,
    method: str = "kernel_shap",
    wishes: Sequence[Wish] = (Wish(),),
    failure: str = MISSED,
    num_samples: int | None = None,
) -> list[str]:
    with context.sessions.begin() as session:
        rows = asked.ask(session, context.settings, failure, method, wishes, num_samples)
        return [row.id for row in rows]


def answer(context: Context, kind: str = "explain_asked") -> list[str]:
    """Work on what is queued; how each unit ended."""
    with context.sessions() as session:
        waiting = select(Unit.id).where(Unit.kind == kind, Unit.state == UnitState.QUEUED)
        ids = session.scalars(waiting.order_by(Unit.id)).all()
    return [shell.run(context, RESIDENT, unit_id, "test") for unit_id in ids]

"""A frame with failures of a small real detector, for what explains them."""

from __future__ import annotations

import pytest

from benchmarks.common.projects import make_model
from curation.kernel import images
from curation.kernel.types import ImageArray
from services.context import Context
from services.db.tables import FailureState, Image, Role
from services.store.storage import put_image
from tests.services.builders import make_failure
from tests.tiny_ssd import tiny_ssd


@pytest.fixture
def found(sqlite_context: Context, photo: ImageArray) -> Context:
    """A frame with a missed object and a false positive of a small real detector."""
    tiny_ssd().save(sqlite_context.project.models / "tiny")
    data = images.encode_jpeg(photo)
    with sqlite_context.sessions.begin() as session:
        stored = put_image(sqlite_context.project, data)
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

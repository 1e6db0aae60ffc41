"""What a selection needs and lacks: vectors of the encoder that is set now.

After a change of the encoder, pool images and failures have vectors of the old one only, which
must not be compared with new ones. The first selection notices and has them made.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services import units
from services.context import Context
from services.cycle import cycles
from services.db.engine import reading
from services.db.tables import (
    Cycle,
    Embedding,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    Role,
)
from services.units.requests import request_embed


@dataclass(frozen=True, slots=True)
class Missing:
    """What has no vectors of an encoder.

    Attributes:
        encoder: its version.
        images: ids of pool images.
        failures: ids of the champion's explained failures, by image.
    """

    encoder: str
    images: list[str]
    failures: dict[str, list[str]]

    def __bool__(self) -> bool:
        return bool(self.images or self.failures)


def missing(context: Context, model_id: str, encoder_version: str) -> Missing:
    """Pool images and failures of a model without vectors of this encoder."""
    embedded = (
        select(Embedding.id)
        .where(Embedding.image_id == Image.id, Embedding.encoder_version == encoder_version)
        .exists()
    )
    explained = (
        select(Explanation.id)
        .where(
            Explanation.failure_id == FailureRow.id,
            Explanation.encoder_version == encoder_version,
        )
        .exists()
    )
    with reading(context.sessions) as session:
        images = session.scalars(
            select(Image.id)
            .where(Image.role == Role.POOL, ~embedded)
            .order_by(Image.id)  # asked twice, the batches are the same
        ).all()
        failures = session.execute(
            select(FailureRow.image_id, FailureRow.id)
            .where(
                FailureRow.model_id == model_id,
                FailureRow.state == FailureState.EXPLAINED,
                ~explained,
            )
            .order_by(FailureRow.id)
        ).all()
    by_image: dict[str, list[str]] = defaultdict(list)
    for image_id, failure_id in failures:
        by_image[image_id].append(failure_id)
    return Missing(encoder_version, list(images), dict(by_image))


def request(session: Session, context: Context, cycle_id: int, lacking: Missing) -> dict[str, Any]:
    """Have the vectors made; the cycle waits for them and selects again."""
    cycle = session.get_one(Cycle, cycle_id)
    request_embed(
        session,
        lacking.images,
        context.settings.selection.batch_images,
        encoder=f"{lacking.encoder}:{cycle_id}",  # they may have been embedded, and lost since
        cycle_id=cycle_id,
    )
    for image_id, failures in lacking.failures.items():
        for failure_id in failures:
            failure = session.get_one(FailureRow, failure_id)
            if failure.state == FailureState.EXPLAINED:  # it may be none any more
                failure.state = FailureState.FOUND
        units.enqueue(
            session,
            "explain",
            f"explain:{image_id}:{lacking.encoder[:16]}:{cycle_id}",
            {"image": image_id, "model": cycle.champion_id},
            cycle_id=cycle_id,
        )
    cycles.gather_again(cycle)
    return {"images_without_vectors": len(lacking.images), "failures": len(lacking.failures)}

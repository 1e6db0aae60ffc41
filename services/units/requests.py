"""Asking for work on images: the two doors through which data enters the pipeline."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from services import tracing, units
from services.db.parts import in_parts
from services.db.tables import Observation, Pointer
from services.units.batches import enqueue_all

CHAMPION = "champion"


def request_scan(session: Session, image_id: str, said: str = "") -> None:
    """Look for failures of the champion in a field image, once while it is the champion.

    Without a champion nothing is asked for: the first promotion scans all field images.

    Args:
        session: the caller's transaction.
        image_id: of the field image.
        said: digest of what was said about it, so that new words make it looked at again.
    """
    pointer = session.get(Pointer, CHAMPION)
    if pointer is not None:
        ask_scan(session, image_id, pointer, said)


def ask_scan(session: Session, image_id: str, pointer: Pointer, said: str = "") -> None:
    """Look for failures of the model that a pointer means, once for each time that it is swapped.

    The pointer's version is part of the key: a model that comes back looks at the field again,
    since the one in between has settled what is fixed.

    Args:
        session: the caller's transaction.
        image_id: of the field image.
        pointer: to the model.
        said: digest of what was said about the image.
    """
    key, payload = _scan(image_id, pointer, said)
    units.enqueue(session, "scan", key, payload)


def ask_scans(
    session: Session, image_ids: Sequence[str], pointer: Pointer, cycle_id: int | None = None
) -> None:
    """The same for many images, whatever was said about them.

    Args:
        session: the caller's transaction.
        image_ids: of field images.
        pointer: to the model.
        cycle_id: the cycle that waits for them.
    """
    wanted = dict(_scan(image_id, pointer, "") for image_id in image_ids)
    traces = _traces_of(session, wanted) if tracing.is_on() else None
    enqueue_all(session, "scan", wanted, cycle_id=cycle_id, traces=traces)


def _traces_of(session: Session, wanted: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The traces of the frames, by the key of the look that is asked for."""
    key_of = {payload["image"]: key for key, payload in wanted.items()}
    found: dict[str, str] = {}
    for part in in_parts(list(key_of)):
        query = select(Observation.image_id, Observation.traceparent).where(
            Observation.image_id.in_(part), Observation.traceparent.is_not(None)
        )
        found |= {
            key_of[image_id]: str(traceparent) for image_id, traceparent in session.execute(query)
        }
    return found


def _scan(image_id: str, pointer: Pointer, said: str) -> tuple[str, dict[str, str]]:
    """Key and payload of a scan."""
    parts = ("scan", image_id, pointer.target, str(pointer.version), said)
    return ":".join(filter(None, parts)), {"image": image_id, "model": pointer.target}


def request_embed(
    session: Session,
    image_ids: Sequence[str],
    batch_images: int,
    encoder: str = "",
    cycle_id: int | None = None,
) -> None:
    """Embed pool images; the same images are asked for only once.

    Args:
        session: the caller's transaction.
        image_ids: of pool images.
        batch_images: images a unit.
        encoder: who asks, when images that are embedded already lack the vectors of an encoder.
        cycle_id: the cycle that waits for them.
    """
    for start in range(0, len(image_ids), batch_images):
        batch = list(image_ids[start : start + batch_images])
        name = hashlib.sha256(",".join([encoder, *batch]).encode()).hexdigest()
        units.enqueue(session, "embed", f"embed:{name}", {"images": batch}, cycle_id=cycle_id)

"""What is lost and can be made again is asked for again: explanations, embeddings, the index.

Rows of files that are gone or damaged go too; the work is then asked for like any other, and the
workers do it. Pictures, labels, manifests and weights cannot be made again.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

import numpy as np
from sqlalchemy import delete, select, update

from curation.kernel.errors import CurationError
from services import units
from services.accounts import audit
from services.context import Context
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import AskedExplanation, Embedding, Explanation
from services.store.embeddings import drop_regions, has_regions
from services.store.region_index import open_index
from services.store.storage import key_of, read_arrays, read_npz
from services.units.requests import request_embed, request_scan
from services.upkeep import rows as upkeep
from services.upkeep.invariants.index import (
    Known,
    by_encoder,
    damage_of,
    embeddings,
    held,
    width_of,
)
from services.upkeep.invariants.rows import never_looked_at


def mend(context: Context) -> Iterator[str]:
    """Ask again for what can be made again, and say what was asked for."""
    yield from _scans(context)
    yield from _explanations(context)
    yield from _embeddings(context)
    yield from _index(context)


def _scans(context: Context) -> Iterator[str]:
    frames = never_looked_at(context)
    if frames:
        with context.sessions.begin() as session:
            for image_id in frames:
                request_scan(session, image_id)
            audit.record(session, "mend", "scans", frames=len(frames))
        yield f"{len(frames)} frames are looked at"


def _explanations(context: Context) -> Iterator[str]:
    answered = AskedExplanation.file.is_not(None)
    with reading(context.sessions) as session:
        rows = session.execute(select(Explanation.id, Explanation.file)).all()
        looked_at = session.execute(
            select(AskedExplanation.id, AskedExplanation.file).where(answered)
        ).all()
    gone = [one.id for one in looked_at if _is_lost(context, str(one.file))]
    for part in in_parts(gone):  # whoever wants to see one again asks again
        with context.sessions.begin() as session:
            session.execute(delete(AskedExplanation).where(AskedExplanation.id.in_(part)))
            audit.record(session, "mend", "asked_explanations", lost=len(part))
    if gone:
        yield f"{len(gone)} explanations that people had asked for were lost"
    lost = [row.id for row in rows if _is_lost(context, row.file)]
    for part in in_parts(lost):
        with context.sessions.begin() as session:
            session.execute(delete(Explanation).where(Explanation.id.in_(part)))
            audit.record(session, "mend", "explanations", lost=len(part))
    asked = upkeep.explain_again(context)
    if lost or asked:
        yield f"{len(lost)} explanations were lost; {asked} frames are explained again"


def _is_lost(context: Context, file: str) -> bool:
    """Whether an explanation cannot be read; a store that does not answer is told as that."""
    try:
        read_arrays(context, key_of(context, context.project.explanations, file))
    except (CurationError, OSError):
        return True
    return False


def _embeddings(context: Context) -> Iterator[str]:
    """Images whose vectors are gone are embedded again."""
    lost: dict[str, list[Known]] = defaultdict(list)
    checked: dict[str, bool] = {}
    for row in embeddings(context):
        if row.file not in checked:
            path = context.project.inside(context.project.embeddings, row.file)
            checked[row.file] = bool(damage_of(path))
        if checked[row.file]:
            lost[row.encoder].append(row)
    for encoder, rows in lost.items():
        images = sorted(row.image for row in rows)
        with context.sessions.begin() as session:
            for part in in_parts(images):
                session.execute(
                    delete(Embedding).where(
                        Embedding.encoder_version == encoder,
                        Embedding.image_id.in_(part),
                    )
                )
            size = context.settings.selection.batch_images
            request_embed(session, images, size, encoder=_once(encoder))
            audit.record(session, "mend", "embeddings", images=len(images))
        yield f"{len(images)} images are embedded again"


def _index(context: Context) -> Iterator[str]:
    """What is not in the index is put into it; a damaged index is put aside.

    Vectors that only the lost index held are made anew.
    """
    for encoder, known in by_encoder(embeddings(context)).items():
        folder = context.project.index / encoder[:16]
        try:
            images = held(context, encoder) or set()
        except (CurationError, OSError, ValueError):
            aside = folder.with_name(f"{folder.name}.damaged-{secrets.token_hex(4)}")
            folder.rename(aside)
            images = set()
            yield f"index/{folder.name} is damaged: put aside as {aside.name}, delete it at will"
        strangers = images - set(known)
        if strangers:
            opened = open_index(context, encoder, width_of(folder))
            for image in sorted(strangers):
                opened.delete(image)
            yield f"{len(strangers)} images without an embedding are out of index/{folder.name}"
        files = {row.file for row in known.values() if row.image not in images or not row.indexed}
        for file in sorted(files):
            _ask_index(context, encoder, file, images)
        if files:
            yield f"{len(files)} files of vectors are put into index/{folder.name} again"
        slimmed = _slim(context, known, files)
        if slimmed:
            yield f"{slimmed} files no longer hold the vectors that index/{folder.name} holds too"


def _slim(context: Context, known: Mapping[str, Known], asked: Collection[str]) -> int:
    """Take the regions out of the files of an earlier version that the index stands for."""
    done = 0
    for file in sorted({row.file for row in known.values()} - set(asked)):
        path = context.project.embeddings / file
        arrays = read_npz(path)
        if has_regions(arrays):
            drop_regions(path, arrays)
            done += 1
    return done


def _ask_index(context: Context, encoder: str, file: str, held: Collection[str]) -> None:
    """Ask for a file to be indexed; where it does not tell all of it, for the images' vectors.

    Args:
        context: wiring.
        encoder: of the vectors.
        file: of a batch.
        held: images in the index.
    """
    arrays = read_npz(context.project.embeddings / file)
    with context.sessions.begin() as session:
        mine = (Embedding.file == file, Embedding.encoder_version == encoder)
        stored = list(
            session.scalars(select(Embedding.image_id).where(*mine).order_by(Embedding.row))
        )
        # Some of its images were embedded anew since, or the index that held them is lost.
        gone = not has_regions(arrays) and not set(stored) <= set(held)
        if gone or len(stored) != len(arrays["counts"]):
            session.execute(delete(Embedding).where(*mine))
            request_embed(session, stored, len(stored), encoder=_once(encoder))
            return
        session.execute(update(Embedding).where(*mine).values(indexed=False))
        width = (
            int(np.shape(arrays["vectors"])[1])
            if has_regions(arrays)
            else width_of(context.project.index / encoder[:16])
        )
        payload = {"file": file, "images": stored, "encoder": encoder, "width": width}
        units.enqueue(session, "index", _once(f"index:{file}"), payload)


def _once(name: str) -> str:
    """A key of its own: what has the plain one is done already."""
    return f"{name}:{secrets.token_hex(4)}"

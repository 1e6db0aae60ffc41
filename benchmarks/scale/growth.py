"""A pool of any size, in bulk: what the import, embed and index stages would leave.

Ids are hashes, as those of files are; the files are those of a few hundred real pictures, which the
rows share. Perceptual hashes are drawn, else nearly all would be near-duplicates of each other.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, select

from benchmarks.scale import world
from benchmarks.scale.world import Real
from curation.index.protocol import PoolIndex
from curation.kernel.types import Detections
from services.context import Context
from services.db.base import utc_now
from services.db.tables import Cycle, CycleState, Embedding, Image, Role, Unit, UnitState
from services.models import registry
from services.store.region_index import open_index

A_UNIT = 32
"""Images of an embedded batch, the default of ``selection.batch_images``."""
A_CHUNK = 256 * A_UNIT
NOISE = 0.02


def grow(context: Context, real: Real, images: int) -> float:
    """Bring the pool to so many images; seconds of a core.

    The index is sealed once at the end where the service would have sealed at all, and coded as it
    does it: sealing every 50 000 regions takes longer and ends in the same shards.
    """
    index = open_index(context, real.encoder, real.drawn.width)
    began, first = time.process_time(), world.pool_size(context)
    for start in range(first, images, A_CHUNK):
        numbers = range(start, min(images, start + A_CHUNK))
        names = [hashlib.sha256(f"pool {number}".encode()).hexdigest() for number in numbers]
        rng = np.random.default_rng((5, start))
        vectors = real.drawn.draw(len(names), rng)
        index.add(names, list(vectors), [real.boxes_xyxy] * len(names))
        _rows(context, real, names, rng)
        if index.uncoded() >= 20 * A_CHUNK:
            index.compress()
        print(f"\rpool: {numbers.stop} of {images} images", end="", flush=True)
    print()
    _close(context, index)
    return time.process_time() - began


def _close(context: Context, index: PoolIndex) -> None:
    if index.waiting() >= context.settings.selection.seal_rows:
        index.seal()
    else:
        index.compress()


def _rows(context: Context, real: Real, names: list[str], rng: np.random.Generator) -> None:
    shared = rng.integers(len(real.pictures), size=len(names))
    hashes = rng.integers(2**63, size=len(names), dtype=np.uint64) * 2 + 1
    now, images, embeddings, units = utc_now(), [], [], []
    for row, name in enumerate(names):
        picture = real.pictures[int(shared[row])]
        images.append(
            {
                "id": name,
                "role": Role.POOL,
                "file": picture.file,
                "name": f"{name[:8]}.png",
                "width_px": picture.width_px,
                "height_px": picture.height_px,
                "perceptual_hash": f"{int(hashes[row]):016x}",
                "created_at": now,
            }
        )
    for first in range(0, len(names), A_UNIT):
        part = names[first : first + A_UNIT]
        file = f"{real.encoder[:16]}/{hashlib.sha256(','.join(part).encode()).hexdigest()[:32]}.npz"
        _wholes(context.project.embeddings / file, real, shared[first : first + A_UNIT], rng)
        embeddings += [
            {
                "image_id": name,
                "encoder_version": real.encoder,
                "file": file,
                "row": row,
                "regions": real.drawn.regions,
                "indexed": True,
            }
            for row, name in enumerate(part)
        ]
        units += [_unit("embed", file, part, now), _unit("index", file, part, now)]
    with context.sessions.begin() as session:
        session.execute(insert(Image), images)
        session.execute(insert(Embedding), embeddings)
        session.execute(insert(Unit), units)


def _wholes(path: Path, real: Real, rows: np.ndarray, rng: np.random.Generator) -> None:
    noise = NOISE * rng.standard_normal((len(rows), real.wholes.shape[1]), np.float32)
    vectors = real.wholes[rows] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = np.full(len(rows), real.drawn.regions, np.int64)
    np.savez_compressed(path, counts=counts, wholes=vectors.astype(np.float16))


def _unit(kind: str, file: str, images: list[str], now: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "key": f"{kind}:{file}",
        "queue": kind,
        "state": UnitState.DONE,
        "payload": {"images": images},
        "result": {"images": len(images)},
        "attempts": 1,
        "token": 1,
        "queued_at": now,
        "not_before": now,
        "created_at": now,
        "finished_at": now,
    }


def look_at_all(context: Context, real: Real) -> None:
    """A cycle that is done, for which the champion has looked at the whole pool."""
    found = world.detections_of(context, real)
    with context.sessions.begin() as session:
        champion = registry.require_champion(session)
        cycle = Cycle(
            policy="entropy", budget_boxes=1, champion_id=champion.id, state=CycleState.DONE
        )
        session.add(cycle)
        session.flush()
        number = cycle.id
        query = select(Image.id).where(Image.role == Role.POOL).order_by(Image.id)
        names = session.scalars(query).all()
    folder = context.project.runs / f"cycle-{number}"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(6)
    for batch, first in enumerate(range(0, len(names), A_UNIT)):
        part = names[first : first + A_UNIT]
        seen = [found[row] for row in rng.integers(len(found), size=len(part))]
        _write(folder / f"pool-{batch:05d}.npz", part, seen)


def _write(file: Path, names: Sequence[str], seen: Sequence[Detections]) -> None:
    """A file of scores as the stage writes it, but for the wait for the disk."""
    np.savez_compressed(
        file,
        images=np.array(names),
        counts=np.array([len(one) for one in seen], np.int64),
        boxes=np.concatenate([one.boxes_xyxy for one in seen]),
        scores=np.concatenate([one.scores for one in seen]),
        labels=np.concatenate([one.labels for one in seen]),
        default_boxes=np.concatenate([one.default_boxes for one in seen]),
    )

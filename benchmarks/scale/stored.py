"""What lies on the disk for an image of the pool, with all of its regions.

Vectors drawn around those of a few hundred real pictures (:mod:`benchmarks.retrieval.vectors`) go
through the index stage, batch by batch, beside their rows; the pictures are not counted.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from benchmarks.common.projects import make_context
from benchmarks.retrieval.vectors import Source, source
from benchmarks.scale.pictures import SIZE_WH
from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.kernel.types import FloatArray
from services import units
from services.context import Context
from services.db import migrate
from services.db.tables import Embedding, Image, Role, Unit, UnitState
from services.demo import street
from services.stages import index as index_stage
from services.store.storage import write_npz
from services.units.pipeline import StageContext
from services.units.resident import Resident

IMAGES_A_UNIT = 32
ENCODER = "5ca1e" + 59 * "0"


def measure(sizes: list[int], real: int) -> list[dict[str, Any]]:
    """Bytes an image at each of rising sizes, around so many real pictures."""
    vectors, wholes = real_vectors(real)
    drawn, found = source(vectors), []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = make_context(root / "project", f"sqlite:///{root / 'scale.db'}")
        migrate.upgrade(context.engine)
        for size in sizes:
            found.append(grow(context, drawn, wholes, size))
            print(found[-1], flush=True)
        context.engine.dispose()
    return found


def grow(context: Context, drawn: Source, wholes: FloatArray, images: int) -> dict[str, Any]:
    """Bring a project to so many pool images through the index stage; bytes an image."""
    boxes = np.tile(np.array([0, 0, 64, 64], np.float32), (drawn.regions, 1))
    with context.sessions() as session:
        first = session.scalar(select(func.count()).select_from(Image)) or 0
    rng = np.random.default_rng((4, first))
    began = time.process_time()
    for start in range(first, images, IMAGES_A_UNIT):
        names = [f"{number:064x}" for number in range(start, min(images, start + IMAGES_A_UNIT))]
        file = f"{ENCODER[:16]}/{start:032x}.npz"
        write_npz(
            context.project.embeddings / file,
            counts=np.full(len(names), drawn.regions, np.int64),
            vectors=drawn.draw(len(names), rng).reshape(-1, drawn.width).astype(np.float16),
            boxes=np.tile(boxes, (len(names), 1)),
            wholes=wholes[rng.integers(len(wholes), size=len(names))].astype(np.float16),
        )
        payload = {"file": file, "images": names, "encoder": ENCODER, "width": drawn.width}
        with context.sessions.begin() as session:
            session.add_all(_row(name) for name in names)
            session.flush()
            session.add_all(
                Embedding(
                    image_id=name,
                    encoder_version=ENCODER,
                    file=file,
                    row=row,
                    regions=drawn.regions,
                )
                for row, name in enumerate(names)
            )
            unit_id = units.enqueue(session, "index", f"index:{file}", payload)
            assert unit_id is not None
        _indexed(context)
    bytes_of = {
        "database": _bytes(Path(str(context.engine.url.database)).parent, "*.db*"),
        "index": _bytes(context.project.index),
        "embeddings": _bytes(context.project.embeddings),
    }
    return {
        "images": images,
        "regions_an_image": drawn.regions,
        "seconds_of_a_core": time.process_time() - began,
        "bytes_an_image": {name: size / images for name, size in bytes_of.items()},
        "bytes_an_image_in_all": sum(bytes_of.values()) / images,
    }


def _row(name: str) -> Image:
    return Image(
        id=name,
        file=f"{name[:2]}/{name}.jpg",
        name=f"{name[-8:]}.jpg",
        role=Role.POOL,
        width_px=SIZE_WH[0],
        height_px=SIZE_WH[1],
        perceptual_hash=name[-16:],
    )


def _indexed(context: Context) -> None:
    """Do the index unit that waits, as a worker does."""
    with context.sessions.begin() as session:
        waits = select(Unit.id).where(Unit.kind == "index", Unit.state == UnitState.QUEUED)
        claim = units.claim(session, session.scalars(waits).one(), "benchmark", 600.0)
    assert claim is not None
    store = index_stage.run(StageContext(context, Resident(), lambda: None), claim)
    with context.sessions.begin() as session:
        units.finish(session, claim, store(session))


def _bytes(folder: Path, pattern: str = "**/*") -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


def real_vectors(count: int) -> tuple[FloatArray, FloatArray]:
    """Regions [I, R, W] and whole images [I, D] of street scenes."""
    embedder = RegionEmbedder(TimmEncoder())
    scenes = street.generate(street.WorldConfig(), "pool", count, 7)
    found = [embedder.embed_pool([scene.image])[0] for scene in scenes]
    return np.stack([one.vectors for one in found]), np.stack([one.whole for one in found])

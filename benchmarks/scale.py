"""What a pool costs as the project grows: importing an image, and what lies on the disk for it.

Import: each size is one more import into the same project of distinct 640 x 480 JPEG files, so that
a cost that grows with what is there already would show in the later ones. Stored: vectors drawn
around those of a few hundred real pictures (:mod:`benchmarks.retrieval.vectors`) go through the
index stage, batch by batch, beside their rows; the pictures themselves are not counted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture
from sqlalchemy import event, func, select

from benchmarks.common import bars
from benchmarks.common.machine import machine, versions
from benchmarks.common.projects import make_context
from benchmarks.retrieval.vectors import Source, source
from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.kernel import files
from curation.kernel.types import FloatArray
from services import units
from services.context import Context
from services.db import migrate
from services.db.tables import Embedding, Image, Role, Unit, UnitState
from services.demo import street
from services.intake.imports import import_dataset
from services.stages import index as index_stage
from services.store.storage import write_npz
from services.units.pipeline import StageContext
from services.units.resident import Resident

OUT = Path(__file__).parent / "results" / "scale.json"
SIZE_WH = (640, 480)
IMAGES_A_SECOND = 100.0
BYTES_AN_IMAGE = 20_000.0
IMAGES_A_UNIT = 32
ENCODER = "5ca1e" + 59 * "0"


def write_pictures(
    folder: Path, count: int, rng: np.random.Generator, size_wh: tuple[int, int] = SIZE_WH
) -> None:
    """Distinct pictures with large shapes and some noise, so that they compress as photos do."""
    folder.mkdir(parents=True)
    width, height = size_wh
    for number in range(count):
        shapes = Picture.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8))
        smooth = np.asarray(shapes.resize(size_wh, Picture.Resampling.BICUBIC), np.int16)
        pixels = (smooth + rng.integers(-8, 8, (height, width, 3))).clip(0, 255).astype(np.uint8)
        Picture.fromarray(pixels).save(folder / f"{number:06}.jpg", quality=85)


def measure(context: Context, folder: Path) -> dict[str, Any]:
    """Import a folder as pool images: what that took, and what importing it again did."""
    queries = 0

    def count(*_: object) -> None:
        nonlocal queries
        queries += 1

    event.listen(context.engine, "before_cursor_execute", count)
    wall, processor = time.perf_counter(), time.process_time()
    report = import_dataset(context, folder, Role.POOL)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    event.remove(context.engine, "before_cursor_execute", count)
    again = import_dataset(context, folder, Role.POOL)
    return {
        "images": report.images_added,
        "images_a_second_of_a_core": report.images_added / processor,
        "images_a_second_of_the_clock": report.images_added / wall,
        "queries_an_image": queries / report.images_added,
        "added_when_imported_again": again.images_added,
    }


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


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--stored", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument(
        "--real", type=int, default=400, help="pictures that vectors are drawn around"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = make_context(root / "project", f"sqlite:///{root / 'scale.db'}")
        migrate.upgrade(context.engine)
        steps = []
        for step, size in enumerate(chosen.sizes):
            write_pictures(root / f"pool{step}", size, rng)
            steps.append(measure(context, root / f"pool{step}"))
            print(steps[-1], flush=True)
    real, wholes = real_vectors(chosen.real)
    drawn = source(real)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = make_context(root / "project", f"sqlite:///{root / 'scale.db'}")
        migrate.upgrade(context.engine)
        stored = []
        for size in chosen.stored:
            stored.append(grow(context, drawn, wholes, size))
            print(stored[-1], flush=True)
    slowest = min(one["images_a_second_of_a_core"] for one in steps)
    growth = steps[-1]["queries_an_image"] / steps[0]["queries_an_image"]
    result = {
        "command": "python -m benchmarks.scale " + " ".join(sys.argv[1:]),
        "machine": machine(),
        "versions": versions(),
        "import": steps,
        "stored": stored,
        "bars": {
            "import_images_a_second_of_a_core": bars.entry(slowest, bound=IMAGES_A_SECOND),
            "stored_bytes_an_image": bars.entry(
                stored[-1]["bytes_an_image_in_all"], bound=BYTES_AN_IMAGE, sense="<="
            ),
            "import_queries_an_image_last_to_first": bars.entry(growth, bound=1.1, sense="<="),
        },
    }
    files.write_json(chosen.out, result)


if __name__ == "__main__":
    main()

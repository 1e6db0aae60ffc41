"""What importing a pool costs as the project grows: images a second of a core, queries an image.

Each size is one more import into the same project of distinct 640 x 480 JPEG files, so that a cost
that grows with what is there already would show in the later ones.
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
from sqlalchemy import event

from benchmarks.common import bars
from benchmarks.common.machine import machine, versions
from benchmarks.common.projects import make_context
from curation.kernel import files
from services.context import Context
from services.db import migrate
from services.db.tables import Role
from services.intake.imports import import_dataset

OUT = Path(__file__).parent / "results" / "scale.json"
SIZE_WH = (640, 480)
IMAGES_A_SECOND = 100.0


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


def main() -> None:
    """Measure, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024])
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
    slowest = min(one["images_a_second_of_a_core"] for one in steps)
    growth = steps[-1]["queries_an_image"] / steps[0]["queries_an_image"]
    result = {
        "command": "python -m benchmarks.scale " + " ".join(sys.argv[1:]),
        "machine": machine(),
        "versions": versions(),
        "import": steps,
        "bars": {
            "import_images_a_second_of_a_core": bars.entry(slowest, bound=IMAGES_A_SECOND),
            "import_queries_an_image_last_to_first": bars.entry(growth, bound=1.1, sense="<="),
        },
    }
    files.write_json(chosen.out, result)


if __name__ == "__main__":
    main()

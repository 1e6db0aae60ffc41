"""The street world on disk: one COCO folder a split, made once for a seed and a size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from services.demo.sizes import DemoSize
from services.demo.street import SPLITS, Scene, Split, WorldConfig, draw_scene, write_coco
from services.units.threads import cores

DONE_FILE = "world.json"
WORTH_A_PROCESS = 200
"""Scenes that are drawn while a process starts."""
AT_ONCE = 8
"""Scenes a message between processes."""


def make_world(
    folder: Path, size: DemoSize, seed: int, on_scene: Callable[[str, int, int], None]
) -> None:
    """Write every split to ``folder / split``; a finished world is left as it is.

    Args:
        folder: where.
        size: images of each split.
        seed: the same seed and size give the same bytes.
        on_scene: told split, scenes done and scenes in all.
    """
    wanted = {"seed": seed, "pool_share": size.pool_share, **size.splits}
    done = folder / DONE_FILE
    if done.is_file() and json.loads(done.read_text()) == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    config = WorldConfig(pool_share=size.pool_share)
    processes = max(1, min(cores(), sum(size.splits.values()) // WORTH_A_PROCESS))
    # Spawned, since a fork would take the threads of the progress bar for its own.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for split in SPLITS:
            count = size.splits[split]

            def told(number: int, split: str = split, count: int = count) -> None:
                on_scene(split, number, count)

            drawing = pool if processes > 1 else None
            write_coco(_scenes(config, split, count, seed, drawing), folder / split, told)
    done.write_text(json.dumps(wanted))


def _scenes(
    config: WorldConfig, split: Split, count: int, seed: int, pool: ProcessPoolExecutor | None
) -> Iterator[Scene]:
    """Scenes of a split in their order, drawn by all cores where there is a pool."""
    draw = partial(draw_scene, config, split, seed=seed)
    if pool is None:
        return map(draw, range(count))
    return pool.map(draw, range(count), chunksize=AT_ONCE)

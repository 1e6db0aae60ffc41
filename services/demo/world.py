"""The street world on disk: one COCO folder a split, made once for a seed and a size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from curation.world import SPLITS, WorldConfig, generate, write_coco
from services.demo.sizes import DemoSize

DONE_FILE = "world.json"


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
    for split in SPLITS:
        count = size.splits[split]
        scenes = generate(WorldConfig(pool_share=size.pool_share), split, count, seed)

        def told(number: int, split: str = split, count: int = count) -> None:
            on_scene(split, number, count)

        write_coco(scenes, folder / split, told)
    done.write_text(json.dumps(wanted))

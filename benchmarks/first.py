"""The first detector's own schedule against the best fixed one, found by search.

    python -m benchmarks.first --world street --size 60 240 --seed 0
    python -m benchmarks.first --world bccd --size 60 240 --data DATA --seed 0 1 2

Each seed set is trained on by patience (the default), and by epochs in numbers that give about
``--search`` steps; the best of these is chosen by the test set itself, which no project can do: it
is the bar to come near. Runs of earlier calls stay in the JSON and are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import machine
from benchmarks.common.bars import entry
from benchmarks.detectors import WORLDS, figures, items_of, manifests, show
from curation.kernel.manifest import Manifest
from retrain.config import ARCHITECTURES, DetectorConfig, TrainConfig
from retrain.evaluate import evaluate
from retrain.memory import keep_freed_memory
from retrain.plan import History
from retrain.trainer import train

RESULTS = Path(__file__).parent / "results" / "first.json"
SIZES = (60, 240, 1000)
SEARCH = (100, 200, 400, 800, 1600)
BAR = -0.03
"""AP50 of the default minus that of the best fixed schedule."""
KEY = ("world", "images", "seed", "schedule", "input_size_hw", "batch_size")


def sets(
    world: str, size: int, data: Path, scratch: Path, seed: int
) -> tuple[Manifest, Manifest, Path]:
    """Seed set of a size, test set, image folder."""
    if world == "street":
        return _street(size, scratch, seed)
    training, testing, root = manifests(world, data, scratch, seed)
    order = np.random.default_rng(seed).permutation(len(training.items))[:size]
    rows = tuple(training.items[row] for row in sorted(order))
    return Manifest(training.class_names, rows), testing, root


def _street(size: int, scratch: Path, seed: int) -> tuple[Manifest, Manifest, Path]:
    from services.demo import street as world

    parts = []
    splits: dict[world.Split, int] = {"seed": size, "holdout": 150}
    for split, count in splits.items():
        scenes = world.generate(world.WorldConfig(), split, count, seed)
        parts.append(tuple(items_of(world.write_coco(scenes, scratch / split), scratch)))
    return Manifest(world.CLASS_NAMES, parts[0]), Manifest(world.CLASS_NAMES, parts[1]), scratch


def schedules(images: int, search: list[int], batch: int) -> Iterator[tuple[str, int]]:
    """Names and epochs, the default first; equal numbers of epochs come once."""
    yield "patience", 0
    known = set[int]()
    for steps in search:
        epochs = max(1, round(steps / math.ceil(images / batch)))
        if epochs not in known:
            known.add(epochs)
            yield f"{epochs} epochs", epochs


def measure(
    arguments: argparse.Namespace, size: int, seed: int, done: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Runs that are not there yet."""
    usual_hw, min_scale = WORLDS[arguments.world]
    input_hw = tuple(arguments.input or usual_hw)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        training, testing, root = sets(arguments.world, size, arguments.data, scratch, seed)
        detector = DetectorConfig(
            ARCHITECTURES[0], training.class_names, input_hw, min_scale=min_scale, max_scale=0.8
        )
        batch = arguments.batch_size
        for name, epochs in schedules(len(training.items), arguments.search, batch):
            run: dict[str, Any] = {"world": arguments.world, "images": len(training.items)}
            run |= {"seed": seed, "schedule": name}
            run |= {"input_size_hw": list(input_hw), "batch_size": batch}
            if any(all(one[key] == run[key] for key in KEY) for one in done):
                continue
            config = TrainConfig(
                epochs=epochs, batch_size=batch, seed=seed, num_threads=arguments.threads
            )
            told: list[History] = []
            began = time.monotonic()
            trained = train(
                config,
                detector,
                training,
                root,
                scratch / f"model-{epochs}",
                on_progress=show,
                on_history=told.append,
            )
            seconds = time.monotonic() - began
            report = evaluate(trained, testing, root)
            history = told[0].to_dict()
            yield {
                **run,
                "steps": history["steps"],
                "train_seconds": round(seconds, 1),
                "command": " ".join(["python -m benchmarks.first", *sys.argv[1:]]),
                "history": history,
                **figures(report),
            }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """By world and size: the default's AP50 minus the best fixed schedule's, mean over seeds."""
    by_set: dict[tuple[str, int, str, int], list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        size = "x".join(map(str, run["input_size_hw"]))
        by_set[run["world"], run["images"], size, run["seed"]].append(run)
    gaps: dict[str, list[float]] = defaultdict(list)
    for (world, images, size, _), group in sorted(by_set.items()):
        own = [run["map50"] for run in group if run["schedule"] == "patience"]
        fixed = [run["map50"] for run in group if run["schedule"] != "patience"]
        if own and fixed:
            gaps[f"{world}_{images}_{size}"].append(own[0] - max(fixed))
    return {
        name: entry(float(np.mean(values)), min(values), max(values), bound=BAR)
        for name, values in gaps.items()
    }


def store(runs: list[dict[str, Any]]) -> None:
    result = {
        "machine": machine.machine("cpu"),
        "versions": machine.versions(),
        "seeds": sorted({run["seed"] for run in runs}),
        "bars": summary(runs),
        "runs": runs,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--world", choices=("street", "bccd"), required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--size", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--seed", type=int, nargs="*", default=[0])
    parser.add_argument("--search", type=int, nargs="*", default=list(SEARCH), help="steps")
    parser.add_argument("--input", type=int, nargs=2, metavar=("H", "W"), help="without: usual")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    keep_freed_memory()
    runs = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    print("| world | images | seed | schedule | steps | AP50 | train s |")
    print("|---|---|---|---|---|---|---|")
    for size in arguments.size:
        for seed in arguments.seed:
            for run in measure(arguments, size, seed, runs):
                runs.append(run)
                store(runs)
                print(
                    f"\r| {run['world']} | {run['images']} | {seed} | {run['schedule']} | "
                    f"{run['steps']} | {run['map50']:.3f} | {run['train_seconds']} |",
                    flush=True,
                )
    for name, bar in summary(runs).items():
        print(f"{name}: {bar['value']:+.3f} (bar {bar['bar']}), {'met' if bar['met'] else 'not'}")


if __name__ == "__main__":
    main()

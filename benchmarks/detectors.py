"""AP50 of each architecture on each world: trains, evaluates, prints a table, writes JSON.

    python benchmarks/detectors.py --world carla --data DATA --epochs 12 --size 304 512

Worlds: ``street`` (generated; the plain part: no planted cause), ``street-away`` (the same for
causes that stand far from the object: it shows dummies that do not count), ``carla`` (trains on
four of five blocks of 20 consecutive frames of town01 and town02, tests on the fifth; boxes under
12 px a side are ignored), ``bccd`` (the published split). Runs of earlier calls stay in the JSON, a
run with the same key is replaced. Trained models stay in ``--keep`` (``benchmarks/.cache``, outside
version control), where the benchmarks of explanations find them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import machine
from benchmarks.common.bars import entry
from benchmarks.loop.worlds import STREETS
from curation import formats
from curation.kernel.images import content_hash
from curation.kernel.manifest import Manifest, ManifestItem
from retrain.config import ARCHITECTURES, MIXED_PRECISION, DetectorConfig, TrainConfig
from retrain.engine import Progress
from retrain.evaluate import evaluate
from retrain.memory import keep_freed_memory
from retrain.plan import History
from retrain.report import EvaluationReport
from retrain.trainer import train
from services.demo import street as scenes

RESULTS = Path(__file__).parent / "results" / "detectors.json"
CACHE = Path(__file__).parent / ".cache"
STREET_BAR = 0.80
BLOCK = 20
MIN_SIDE_PX = 12
WORLDS = {  # input size, smallest default box
    "street": ((192, 256), 0.06),
    "street-away": ((192, 256), 0.06),
    "carla": ((304, 512), 0.04),
    "bccd": ((240, 320), 0.06),
}


def items_of(annotations: Path, root: Path, min_side_px: float = 0) -> list[ManifestItem]:
    """The images of one annotation file, in file-name order."""
    imported = formats.load(annotations, min_side_px=min_side_px)
    return [
        ManifestItem(
            image=content_hash(image.path.read_bytes()),
            file=str(image.path.relative_to(root)),
            width_px=image.width_px,
            height_px=image.height_px,
            boxes_xyxy=tuple(
                (float(a), float(b), float(c), float(d)) for a, b, c, d in image.boxes_xyxy
            ),
            labels=image.labels,
            ignore=image.ignore,
        )
        for image in sorted(imported.items, key=lambda entry: entry.path)
    ]


def manifests(world: str, data: Path, scratch: Path, seed: int) -> tuple[Manifest, Manifest, Path]:
    """Training set, test set, image folder."""
    if world in STREETS:
        return street(scratch, seed, STREETS[world])
    root = data / world / "images"
    if world == "bccd":
        cells = ("background", "RBC", "WBC", "Platelets")
        parts = [items_of(data / f"bccd/{part}.json", root) for part in ("trainval", "test")]
        return Manifest(cells, tuple(parts[0])), Manifest(cells, tuple(parts[1])), root
    names = ("background", "vehicle", "bike", "motobike", "traffic_light", "traffic_sign")
    sides: tuple[list[ManifestItem], list[ManifestItem]] = ([], [])
    for town in ("town01", "town02"):
        for row, item in enumerate(items_of(data / f"carla/{town}.json", root, MIN_SIDE_PX)):
            sides[(row // BLOCK) % 5 == 4].append(item)
    return Manifest(names, tuple(sides[0])), Manifest(names, tuple(sides[1])), root


def street(scratch: Path, seed: int, config: scenes.WorldConfig) -> tuple[Manifest, Manifest, Path]:
    """A seed set, the demo's where the configuration is its own, and a plain holdout."""
    parts = []
    sizes: dict[scenes.Split, int] = {"seed": 300, "holdout": 150}
    for split, count in sizes.items():
        annotations = scenes.write_coco(
            scenes.generate(config, split, count, seed), scratch / split
        )
        parts.append(tuple(items_of(annotations, scratch)))
    return Manifest(scenes.CLASS_NAMES, parts[0]), Manifest(scenes.CLASS_NAMES, parts[1]), scratch


def measure(arguments: argparse.Namespace, architecture: str, seed: int) -> dict[str, Any]:
    """Train and evaluate once."""
    size, min_scale = WORLDS[arguments.world]
    size = tuple(arguments.size or size)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        training, testing, root = manifests(arguments.world, arguments.data, folder, seed)
        detector_config = DetectorConfig(
            architecture,
            training.class_names,
            size,
            min_scale=arguments.min_scale or min_scale,
            max_scale=0.8,
        )
        config = TrainConfig(
            epochs=arguments.epochs,
            max_steps=arguments.max_steps,
            batch_size=arguments.batch_size,
            learning_rate=arguments.learning_rate,
            mixed_precision=arguments.mixed_precision,
            weights=arguments.weights,
            seed=seed,
            num_threads=arguments.threads,
        )
        told: list[History] = []
        start = time.monotonic()
        detector = train(
            config,
            detector_config,
            training,
            root,
            folder / "model",
            on_progress=show,
            on_history=told.append,
        )
        trained_s = time.monotonic() - start
        weights = json.loads((folder / "model" / "config.json").read_text())["weights"]
        kept = kept_folder(arguments.keep, arguments.world, architecture, seed)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(folder / "model", kept)
        report = evaluate(detector, testing, root)
        total_s = time.monotonic() - start
    return {
        "world": arguments.world,
        "architecture": architecture,
        "seed": seed,
        "input_size_hw": size,
        "min_scale": detector_config.min_scale,
        "epochs": arguments.epochs,
        "steps": told[0].steps,
        "weights": weights["source"],
        "images": [len(training.items), len(testing.items)],
        "train_seconds": round(trained_s, 1),
        "evaluate_seconds": round(total_s - trained_s, 1),
        "threads": torch.get_num_threads(),
        "command": " ".join(["python", *sys.argv]),
        **figures(report),
    }


def kept_folder(cache: Path, world: str, architecture: str, seed: int = 0) -> Path:
    """Where the last trained model of this kind is kept."""
    return cache / f"{world}-{architecture}-{seed}"


def figures(report: EvaluationReport) -> dict[str, Any]:
    return {
        "map": report.map,
        "map50": report.map50,
        "per_class50": {name: entry.ap50 for name, entry in report.per_class.items()},
        "objects": {name: entry.num_objects for name, entry in report.per_class.items()},
        "per_size50": dict(report.per_size50),
        "found_share": report.found_share,
        "false_positives": report.false_positives,
    }


def show(progress: Progress) -> None:
    if progress.step % 20 == 0 or progress.step == progress.steps:
        line = f"\r  step {progress.step}/{progress.steps} loss {progress.loss:.2f}"
        print(f"{line} {progress.eta_s:.0f} s to go   ", end="", file=sys.stderr, flush=True)


def store(run: dict[str, object]) -> None:
    """Put a run beside those of earlier calls."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"runs": []}
    identity = ("world", "architecture", "seed", "input_size_hw", "epochs")
    run = json.loads(json.dumps(run))
    runs = [r for r in known["runs"] if any(r[key] != run[key] for key in identity)] + [run]
    street_runs = [
        r["map50"]
        for r in runs
        if r["world"] == "street" and r["architecture"] == "ssdlite_efficientnet_lite0"
    ]
    bars = {}
    if street_runs:
        bars["street_plain_ap50"] = entry(
            sorted(street_runs)[len(street_runs) // 2],
            min(street_runs),
            max(street_runs),
            bound=STREET_BAR,
        )
    result = {
        "machine": machine.machine("cuda" if torch.cuda.is_available() else "cpu"),
        "versions": machine.versions(),
        "command": run["command"],
        "seeds": sorted({r["seed"] for r in runs}),
        "bars": bars,
        "runs": runs,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--world", choices=WORLDS, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--architecture", choices=ARCHITECTURES, nargs="*", default=ARCHITECTURES)
    parser.add_argument("--epochs", type=int, default=12, help="0: by patience, as `e2x train`")
    parser.add_argument("--max-steps", type=int, default=0, help="of a training by patience")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--weights", default="auto", help="or a file; see retrain.weights")
    parser.add_argument("--mixed-precision", choices=MIXED_PRECISION, default="no")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--min-scale", type=float)
    parser.add_argument("--seed", type=int, nargs="*", default=[0])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=CACHE)
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    keep_freed_memory()
    print("| world | architecture | weights | input | epochs | seed | AP50 | mAP | train s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for architecture in arguments.architecture:
        for seed in arguments.seed:
            run = measure(arguments, architecture, seed)
            store(run)
            size = "×".join(str(side) for side in run["input_size_hw"])
            print(
                f"\r| {run['world']} | {architecture} | {run['weights']} | {size} | "
                f"{run['epochs']} | {seed} | {run['map50']:.3f} | {run['map']:.3f} | "
                f"{run['train_seconds']} |"
            )
            for name, value in run["per_class50"].items():
                shown = "-" if value is None else f"{value:.3f}"
                print(f"    {name}: {shown} of {run['objects'][name]} objects")


if __name__ == "__main__":
    main()

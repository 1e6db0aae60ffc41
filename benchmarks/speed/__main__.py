"""The command; see the package."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.common import machine
from benchmarks.detectors import CACHE
from benchmarks.speed import embedding, floor, growth, precision, rivals, workers
from benchmarks.speed.scene import Clock, Row, Scene, bar, load
from curation import explain
from curation.kernel.detector import Precision
from curation.kernel.files import write_json
from retrain.memory import keep_freed_memory

RESULTS = Path(__file__).parents[1] / "results"
PARTS = (
    *("floor", "growth", "memory", "workers"),
    *("lime", "captum", "embedding", "precision"),
)
PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-image", "captum", "lime")
DEFAULT_METHOD = "gp_shap"
FLOOR_BAR = {"cpu": 1.15, "gpu": 1.25}
COMPARED = {"cpu": ["bf16"], "gpu": ["bf16", "fp16"]}


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    clock = Clock(given.clock, given.device)
    first, *others = given.detectors
    scene = None
    for part in given.part:
        scene = scene or load(given.models / first, given.data, given.device, given.precision)
        tables, bars = run(part, given, clock, scene, others)
        for title, rows in tables.items():
            show(title, rows)
        show("bars", [{"name": name, **entry} for name, entry in bars.items()])
        if given.write:
            write(part, given, tables, bars)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--models", type=Path, default=CACHE)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=[
            "carla-ssdlite_efficientnet_lite0-0",
            "bccd-ssdlite320_mobilenet_v3_large-0",
            "bccd-ssd300_vgg16-0",
        ],
        help="the first is measured in every part, the others in floor and precision only",
    )
    parser.add_argument("--samples", type=int, default=16, help="K of E2X")
    parser.add_argument("--rows", type=int, help="rows a pass; without: the method's own choice")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--reference-pairs", type=int, default=2000)
    parser.add_argument("--reference-segments", type=int, default=50)
    parser.add_argument("--references", type=int, default=2, help="detections beside captum")
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="fp32",
        help="of the explained scores and of their bare passes; the unpruned floor, the memory "
        "part and the precision part start from fp32",
    )
    parser.add_argument(
        "--compared",
        nargs="+",
        choices=("bf16", "fp16"),
        help="of the precision part; without: both, or on a CPU, which has no fp16, bf16",
    )
    parser.add_argument("--images", type=int, default=8, help="of the precision part")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true", help="benchmarks/results/speed-*.json")
    given = parser.parse_args()
    given.compared = given.compared or COMPARED[hardware(given.device)]
    return given


def run(
    part: str, given: argparse.Namespace, clock: Clock, scene: Scene, others: list[str]
) -> tuple[dict[str, list[Row]], dict[str, Row]]:
    """Tables and bars of one part."""
    k, rows, rounds, kind = given.samples, given.rows, given.rounds, hardware(given.device)
    if part == "floor":
        row, ratio = floor.measure(scene, clock, rounds, k, rows)
        beside = [
            load(given.models / name, given.data, given.device, given.precision) for name in others
        ]
        more = [floor.measure(one, clock, max(3, rounds // 3), k, rows)[0] for one in beside]
        stages = floor.stages(scene, clock, rounds, k, rows)
        judged = bar(ratio, FLOOR_BAR[kind], at_most=True)
        return {"floor": [row, *more], "stages": stages}, {f"floor_ratio_{kind}": judged}
    if part == "growth":
        return {
            "samples": growth.samples(scene, clock, max(3, rounds // 2), rows),
            "detections": growth.detections(scene, clock, max(3, rounds // 2), k, rows),
            "segments": growth.segments(scene, clock, max(3, rounds // 2), k, rows),
        }, {}
    if part == "memory":
        return {"memory": growth.memory(given.models / scene.name, scene, k)}, {}
    if part == "workers":
        folder = given.models / scene.name
        table = workers.measure(folder, scene, given.device, given.precision, rounds)
        return {"workers": table}, {}
    if part == "lime":
        table, ratio = rivals.lime(scene, clock, rounds, rows)
        return {"lime": table}, {"vs_lime": bar(ratio, 30, at_most=False)}
    if part == "captum":
        ours = [explain.get("e2x", num_samples=k, batch_size=rows), explain.get(DEFAULT_METHOD)]
        table = rivals.captum(
            scene, clock, given.reference_segments, given.reference_pairs, given.references, ours
        )
        # of the default method, whatever the others reach; an upper bound meets nothing
        own = next(entry for entry in table if entry["method"] == DEFAULT_METHOD)
        passed = bar([own["times_faster"]], 10, at_most=False) | {"low": None, "high": None}
        passed["met"] = passed["met"] and own["ratio_is"] != "at most"
        return {"captum": table}, {"vs_captum": passed}
    if part == "precision":
        folders = [given.models / name for name in (scene.name, *others)]
        table = precision.measure(
            folders, given.data, given.device, clock, given.compared, given.images
        )
        return {"precision": table}, {}
    row, share = embedding.measure(scene, clock, rounds, given.device)
    return {"embedding": [row]}, {"embedding_share": bar(share, 0.85, at_most=False)}


def show(title: str, rows: list[Row]) -> None:
    print(f"\n{title}")
    for row in rows:
        print("  " + "  ".join(f"{key} {_short(value)}" for key, value in row.items()), flush=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def hardware(device: str) -> str:
    return "gpu" if device.startswith("cuda") else "cpu"


def write(
    part: str, given: argparse.Namespace, tables: dict[str, list[Row]], bars: dict[str, Row]
) -> None:
    """Put one part into the result file; the other parts stay as their last run left them."""
    kind = hardware(given.device)
    file = RESULTS / f"speed-{kind}.json"
    before: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    RESULTS.mkdir(exist_ok=True)
    write_json(
        file,
        {
            "command": "python -m benchmarks.speed --write; the command of each part is in parts",
            "machine": machine.machine(given.device),
            "versions": machine.versions(PACKAGES),
            "seeds": {"methods": 0, "reference": 1, "bootstrap": 0},
            "bars": before.get("bars", {}) | bars,
            "not_measured": [] if kind == "gpu" else ["floor_ratio_gpu: no GPU here"],
            "parts": before.get("parts", {}) | {part: command(part, given)},
            "tables": before.get("tables", {}) | tables,
        },
    )


def command(part: str, given: argparse.Namespace) -> str:
    rows = f" --rows {given.rows}" if given.rows else ""
    if given.precision != "fp32":
        rows += f" --precision {given.precision}"
    if part == "precision":
        rows += f" --compared {' '.join(given.compared)} --images {given.images}"
    return (
        f"python -m benchmarks.speed --part {part} --detectors {' '.join(given.detectors)} "
        f"--samples {given.samples}{rows} --rounds {given.rounds} --reference-pairs "
        f"{given.reference_pairs} --reference-segments {given.reference_segments} --references "
        f"{given.references} --threads {given.threads} --clock {given.clock} --write"
    )


if __name__ == "__main__":
    main()

"""The command; see the package."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.common.units import Units
from benchmarks.detectors import CACHE
from benchmarks.loop.table import environment
from benchmarks.synthesis import (
    arms,
    harm,
    leaks,
    material,
    pictures,
    prepare,
    recipes,
    repair,
    report,
    reproduction,
    spoiled,
    training,
)
from benchmarks.synthesis.material import Material
from curation.kernel.files import write_json
from curation.synthesis.blend import BLENDINGS
from curation.synthesis.composite import BLENDING
from curation.synthesis.game import GameRules
from retrain.memory import keep_freed_memory

SCENES, DRAWN = 25, 40
"""Of each seed, for the pictures alone."""
RESULTS = Path(__file__).parents[1] / "results" / "synthesis.json"
UNITS = RESULTS.with_name("synthesis-units.jsonl")
LOOP_UNITS = RESULTS.with_name("loop-street-units.jsonl")
GROUP = 5
"""Arms of which all seeds are done before the next: a world is loaded once for each group."""


def rows_of(arguments: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """The rows of one seed; misses that are done are not done again."""
    size = f"{arguments.blending}-{arguments.coalitions}-{arguments.num_samples}"
    of_world = "" if arguments.world == "street" else f"{arguments.world}-"
    path = arguments.cache / f"reproduction-{of_world}{seed}-{size}.jsonl"
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {row["miss"] for row in known}
    if arguments.report:
        return known
    if arguments.world == "carla":
        ready = prepare.carla(arguments.cache, arguments.data, seed)
    else:
        ready = prepare.ready(arguments.cache, seed)
    rules = GameRules(coalitions=arguments.coalitions)
    misses = recipes.dealt(ready.misses)[: arguments.misses or None]
    misses = misses[arguments.first :: arguments.every]
    with path.open("a") as file:
        for miss in misses:
            if miss.name in done:
                continue
            print(f"  seed {seed} {miss.name} {miss.cause}", file=sys.stderr, flush=True)
            own = list(
                reproduction.measure(ready, miss, arguments.blending, rules, arguments.num_samples)
            )
            file.writelines(json.dumps(row) + "\n" for row in own)
            file.flush()
            known += own
    return known


def main() -> None:
    parser = argparse.ArgumentParser(description="Can the missing sample be made?")
    parser.add_argument(
        "--part",
        choices=("reproduction", "pictures", "training", "leaks", "checks"),
        default="reproduction",
    )
    parser.add_argument("--world", choices=("street", "carla"), default="street")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="with CARLA")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 3])
    parser.add_argument("--misses", type=int, default=0, help="of a seed at most; 0 for all")
    parser.add_argument("--every", type=int, default=1, help="takes each Nth miss")
    parser.add_argument("--first", type=int, default=0, help="of these; so processes share")
    parser.add_argument("--report", action="store_true", help="of what is done, does nothing new")
    parser.add_argument(
        "--arms", nargs="*", choices=arms.BY_NAME, help="of training; default: those of the world"
    )
    parser.add_argument("--epochs", type=int, default=10, help="of the first detector")
    parser.add_argument("--finetune-epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--units", type=Path, default=UNITS, help="of training, appended to")
    parser.add_argument("--blending", choices=BLENDINGS, default=BLENDING)
    parser.add_argument("--coalitions", type=int, default=64, help="of the transplant game")
    parser.add_argument("--num-samples", type=int, default=128, help="of the explanation")
    parser.add_argument("--cache", type=Path, default=CACHE / "synthesis")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="file whose part is written anew"
    )
    arguments = parser.parse_args()
    if arguments.part == "pictures" and arguments.world != "street":
        parser.error("--part pictures draws from the street world's own renderer")
    if arguments.arms is None:
        arguments.arms = arms.OF_WORLD[arguments.world]
    keep_freed_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reached: dict[str, Any]
    told: dict[str, Any]
    if arguments.part == "pictures":
        reached, told = pictures.measure(arguments.seeds, SCENES, DRAWN), {"scenes": SCENES}
    elif arguments.part == "leaks":
        drawn = [arms.BY_NAME[name].around for name in arms.OF_WORLD[arguments.world]]
        looked_at = [name for name in (arms.BLAMED, arms.POOL) if name in drawn]
        of_seeds = [drawn_from(arguments, seed) for seed in arguments.seeds]
        reached, told = leaks.reached(of_seeds, looked_at), {}
    elif arguments.part == "checks":
        reached, told = spoiled.measure([drawn_from(arguments, seed) for seed in arguments.seeds])
    elif arguments.part == "training":
        reached, told = trained(arguments)
    else:
        reached, told = reproduced(arguments)
    part = arguments.part
    if arguments.world != "street":
        reached = {f"{name}@{arguments.world}": said for name, said in reached.items()}
        part += f"_{arguments.world}"
    for name, entry in reached.items():
        print(name, json.dumps(entry))
    known = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    known.setdefault("bars", {}).update(reached)
    known.setdefault("parts", {})[part] = {
        **environment("python -m benchmarks.synthesis " + " ".join(sys.argv[1:])),
        "seeds": arguments.seeds,
        **told,
    }
    write_json(arguments.results, known)


def drawn_from(arguments: argparse.Namespace, seed: int) -> Material:
    """What the arms of one seed draw from."""
    sizes = arguments.epochs, arguments.threads, arguments.num_samples
    if arguments.world == "carla":
        return material.carla(arguments.data, seed, *sizes)
    return material.street(seed, *sizes)


def trained(arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Bars of training, and what is told beside them; units that are done are not done again.

    What decides most comes first: arms are asked for in order, and of one group of arms all seeds.
    """
    size = f"e{arguments.epochs} f{arguments.finetune_epochs} K{arguments.num_samples}"
    units, street = Units(arguments.units), arguments.world == "street"
    of_world = {} if street else {"world": arguments.world}

    def key(seed: int, arm: str) -> dict[str, Any]:
        return {"part": "training", "seed": seed, "arm": arm, "size": size, **of_world}

    for start in range(0, len(arguments.arms), GROUP):
        for seed in () if arguments.report else arguments.seeds:
            asked = arguments.arms[start : start + GROUP]
            waiting = [name for name in asked if not units.has(key(seed, name))]
            if not waiting:
                continue
            source = drawn_from(arguments, seed)
            for name in waiting:
                begun = time.process_time()
                print(f"  seed {seed} {name}", file=sys.stderr, flush=True)
                result = training.measure(
                    arms.BY_NAME[name], source, arguments.finetune_epochs, arguments.threads
                )
                seconds = time.process_time() - begun
                units.add(key(seed, name), result | {"seconds": round(seconds, 1)})
    wanted = [
        unit
        for unit in units.done
        if unit["size"] == size
        and unit["seed"] in arguments.seeds
        and unit.get("world", "street") == arguments.world
    ]
    if street:
        wanted += repair.borrowed(Units(LOOP_UNITS, read_only=True).done, wanted)
    lines = repair.table(wanted)
    repair.show(lines)
    by_arm = repair.by_arm(wanted)
    reached = repair.reached(wanted) if street else harm.reached(by_arm)
    return reached, {"size": size, "table": lines, "holdout": harm.told(by_arm)}


def reproduced(arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Bars of reproduction, and what is told beside them."""
    rows = [row for seed in arguments.seeds for row in rows_of(arguments, seed)]
    lines = report.table(rows)
    report.show(lines)
    return report.reached(rows, recipes.CHOSEN), {
        "misses": len({row["miss"] for row in rows}),
        "frames": len({row["miss"].split("#")[0] for row in rows}),
        "recipe": recipes.CHOSEN,
        "table": lines,
    }


if __name__ == "__main__":
    main()

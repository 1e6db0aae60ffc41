"""The command; see the package."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.detectors import CACHE
from benchmarks.loop.table import environment
from benchmarks.synthesis import (
    arms,
    pictures,
    prepare,
    recipes,
    report,
    reproduction,
    training,
)
from curation.kernel.files import write_json
from curation.synthesis.blend import BLENDINGS
from curation.synthesis.composite import BLENDING
from curation.synthesis.game import GameRules
from retrain.memory import keep_freed_memory

SCENES, DRAWN = 25, 40
"""Of each seed, for the pictures alone."""
RESULTS = Path(__file__).parents[1] / "results" / "synthesis.json"


def rows_of(arguments: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """The rows of one seed; misses that are done are not done again."""
    size = f"{arguments.blending}-{arguments.coalitions}-{arguments.num_samples}"
    path = arguments.cache / f"reproduction-{seed}-{size}.jsonl"
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {row["miss"] for row in known}
    if arguments.report:
        return known
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
        "--part", choices=("reproduction", "pictures", "training"), default="reproduction"
    )
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 3])
    parser.add_argument("--misses", type=int, default=0, help="of a seed at most; 0 for all")
    parser.add_argument("--every", type=int, default=1, help="takes each Nth miss")
    parser.add_argument("--first", type=int, default=0, help="of these; so processes share")
    parser.add_argument("--report", action="store_true", help="of what is done, does nothing new")
    parser.add_argument("--arms", nargs="*", choices=arms.BY_NAME, default=list(arms.BY_NAME))
    parser.add_argument("--count", type=int, default=80, help="drawn samples of an arm, at most")
    parser.add_argument("--finetune-epochs", type=int, default=4)
    parser.add_argument("--blending", choices=BLENDINGS, default=BLENDING)
    parser.add_argument("--coalitions", type=int, default=64, help="of the transplant game")
    parser.add_argument("--num-samples", type=int, default=128, help="of the explanation")
    parser.add_argument("--cache", type=Path, default=CACHE / "synthesis")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="file whose part is written anew"
    )
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reached: dict[str, Any]
    told: dict[str, Any]
    if arguments.part == "pictures":
        reached, told = pictures.measure(arguments.seeds, SCENES, DRAWN), {"scenes": SCENES}
    elif arguments.part == "training":
        reached, told = {}, {"table": trained(arguments)}
    else:
        reached, told = reproduced(arguments)
    for name, entry in reached.items():
        print(name, json.dumps(entry))
    known = json.loads(arguments.results.read_text()) if arguments.results.exists() else {}
    known.setdefault("bars", {}).update(reached)
    known.setdefault("parts", {})[arguments.part] = {
        **environment("python -m benchmarks.synthesis " + " ".join(sys.argv[1:])),
        "seeds": arguments.seeds,
        **told,
    }
    write_json(arguments.results, known)


def trained(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A line for each seed and arm; those that are done are not done again."""
    size = f"{arguments.blending}-{arguments.coalitions}-{arguments.misses}-{arguments.count}"
    path = arguments.cache / f"training-{size}-{arguments.finetune_epochs}.jsonl"
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(unit["seed"], unit["arm"]) for unit in known}
    rules = GameRules(coalitions=arguments.coalitions)
    for seed in arguments.seeds:
        waiting = [name for name in arguments.arms if (seed, name) not in done]
        if not waiting or arguments.report:
            continue
        ready = prepare.ready(arguments.cache, seed)
        misses = recipes.dealt(ready.misses)[: arguments.misses or None]
        ready = replace(ready, misses=tuple(misses))
        for name in waiting:
            print(f"  seed {seed} {name}", file=sys.stderr, flush=True)
            unit = {"seed": seed, "arm": name} | training.measure(
                arms.BY_NAME[name],
                ready,
                arguments.cache / f"training-{seed}",
                arguments.count,
                arguments.finetune_epochs,
                arguments.blending,
                rules,
                arguments.num_samples,
            )
            known.append(unit)
            with path.open("a") as file:
                file.write(json.dumps(unit) + "\n")
    wanted = [unit for unit in known if unit["seed"] in arguments.seeds]
    for unit in wanted:
        print(json.dumps(unit))
    return wanted


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

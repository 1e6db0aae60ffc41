"""The command; see the package."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.units import Key, Units
from benchmarks.detectors import CACHE
from benchmarks.loop import bars, cycles, field_bars, real, retrieval, table, training, worlds
from benchmarks.loop.arms import ARMS, BY_NAME, COUNTED, DEALS, FIELD_ARMS
from benchmarks.loop.prepare import Prepared, prepare, train_base
from curation.kernel.files import write_json
from retrain.memory import keep_freed_memory

RESULTS = Path(__file__).parents[1] / "results"
MODES, SINGLE, ROOM, SPLITS = "modes", "single_failures", "room", "mode_splits"
"""Of the retrieval part, beside the arms."""
RETRIEVAL_KEYS = ("useful", "enrichment", "boxes")
CYCLE_KEYS = (
    *("slice_ap50", "siblings_fixed_first", "siblings_fixed", "siblings_failed", "reopened"),
    *("map50", "negative_flips", "boxes", "images", "useful_images"),
)
TRAINING_KEYS = (
    *("slice_ap50", "siblings_fixed", "siblings_failed", "map50", "negative_flips"),
    *("boxes", "images", "useful_images", "seconds"),
)
FIELD_KEYS = (
    *("slice_ap50", "siblings_fixed", "judges_fixed", "parents_fixed", "map50", "negative_flips"),
    *("boxes", "images", "useful_images", "parents", "judges"),
)
BESIDE = ("rival", "budget", "noise_floor", "by_lot")
"""What is told beside a bar, where it has it."""


def wanted(arguments: argparse.Namespace, seed: int) -> list[tuple[str, int | None]]:
    """Arms and budgets of one seed, in order."""
    if arguments.part == "retrieval":
        return [(arm, None) for arm in [*arguments.arms, MODES, SINGLE, ROOM, SPLITS]]
    if arguments.part == "cycles":
        return [(arm, budget) for budget in arguments.budgets for arm in cycles.ARMS]
    if arguments.part == "field":
        asked = [(arm, budget) for budget in arguments.budgets for arm in arguments.arms]
        return [*((arm, 0) for arm in arguments.deals), *asked]
    floor: list[tuple[str, int | None]] = [(training.SAME_DATA, 0)]
    if "random" not in arguments.arms:  # pairs of arms on more seeds need no noise floor
        floor = []
    return floor + [(arm, budget) for budget in arguments.budgets for arm in arguments.arms]


def run_seed(arguments: argparse.Namespace, seed: int, units: Units) -> None:
    """All units of one seed that are not done yet."""
    open_units = [
        (arm, budget)
        for arm, budget in wanted(arguments, seed)
        if not units.has(_key(arguments, seed, arm, budget))
    ]
    if not open_units:
        return
    folder = CACHE / "loop" / "-".join([arguments.world, *world_size(arguments), str(seed)])
    prepared = ready(arguments, seed, folder)
    for arm, budget in open_units:
        print(f"  seed {seed} {arm} {budget or ''}", file=sys.stderr, flush=True)
        result = measured(arguments, arm, budget, prepared, folder)
        units.add(_key(arguments, seed, arm, budget), result)


def _key(arguments: argparse.Namespace, seed: int, arm: str, budget: int | None) -> Key:
    size = sizes(arguments)
    return {"part": arguments.part, "seed": seed, "arm": arm, "budget": budget, "size": size}


def ready(arguments: argparse.Namespace, seed: int, folder: Path) -> Prepared:
    """The world, its base detector, and what selection needs."""
    if arguments.world in worlds.STREETS:
        pool, share, field = arguments.pool, arguments.share, arguments.field
        world = worlds.street(folder, arguments.world, seed, pool, share, field)
        base = folder / "base"
    elif arguments.world == "carla":  # seeds deal out the other towns
        world = real.carla(arguments.data, seed)
        base = CACHE / "loop" / f"carla-e{arguments.epochs}-base"
    else:
        world = real.bccd(arguments.data, seed)
        base = folder / "base"
    train_base(world, base, arguments.epochs, arguments.threads)
    parameters = {"num_samples": arguments.num_samples} if arguments.num_samples else {}
    return prepare(world, base, folder, arguments.method, parameters)


def measured(
    arguments: argparse.Namespace, arm: str, budget: int | None, prepared: Prepared, folder: Path
) -> dict[str, Any]:
    """One unit of work."""
    if arguments.part in ("training", "field"):
        return training.measure(
            arm, budget or 0, prepared, folder, arguments.finetune_epochs, arguments.threads
        )
    if arguments.part == "cycles":
        own = folder / "cycles" / sizes(arguments).replace(" ", "-")
        return cycles.measure(
            arm, budget or 0, prepared, own, arguments.finetune_epochs, arguments.threads
        )
    if arm == MODES:
        return retrieval.mode_precision(prepared)
    if arm == SINGLE:
        return retrieval.single_failures(prepared)
    if arm == ROOM:
        return retrieval.room(prepared)
    if arm == SPLITS:
        return retrieval.mode_splits(prepared)
    return retrieval.measure(BY_NAME[arm], prepared, arguments.top)


def sizes(arguments: argparse.Namespace) -> str:
    """What a unit depends on besides its key."""
    parts = [arguments.method, f"K{arguments.num_samples}", *world_size(arguments)]
    trained = arguments.part != "retrieval"
    parts.append(f"f{arguments.finetune_epochs}" if trained else f"top{arguments.top}")
    return " ".join(parts)


def world_size(arguments: argparse.Namespace) -> list[str]:
    """What the world and its base detector depend on besides the seed."""
    if arguments.world == "bccd":
        return [f"e{arguments.epochs}"]
    if arguments.world == "carla":
        return [f"e{arguments.epochs}", f"block{real.BLOCK}"]
    images = [f"pool{arguments.pool}", f"share{arguments.share}", f"field{arguments.field}"]
    return [f"e{arguments.epochs}", *images]


def report(arguments: argparse.Namespace, units: Sequence[dict[str, Any]]) -> None:
    """Print the table, put it into the world's result file, draw the plot."""
    own = [unit for unit in units if unit["part"] == arguments.part]
    own.sort(key=lambda unit: unit["seed"])  # intervals do not depend on what was done first
    arms = [unit for unit in own if unit["arm"] not in (MODES, SINGLE, ROOM, SPLITS)]
    keys: Sequence[str] = TRAINING_KEYS
    details: dict[str, Any] = {}
    if arguments.part == "training":
        arms = table.with_seconds(arms)
        reached = bars.training_bars(arms)
        details = {"leads": bars.leads(arms)}
        arms = bars.full_protocol(arms)
    elif arguments.part == "field":
        arms = table.whole(arms)
        keys, reached = FIELD_KEYS, field_bars.field_bars(arms)
        details = {
            "deals": field_bars.deals(arms),
            "counted": field_bars.above(arms, COUNTED.name, [FIELD_ARMS[0].name]),
            "e2x": field_bars.above(arms, FIELD_ARMS[0].name, [a.name for a in FIELD_ARMS[1:]]),
        }
        arms += table.same_start(arms, [unit for unit in units if unit["part"] == "training"])
    elif arguments.part == "cycles":
        keys, reached = CYCLE_KEYS, bars.cycle_bars(arms)
    else:
        keys = RETRIEVAL_KEYS
        modes = [unit for unit in own if unit["arm"] == MODES]
        single = [unit for unit in own if unit["arm"] == SINGLE]
        reached = bars.retrieval_bars(arms, modes, single)
        details = {
            "modes": [{"seed": m["seed"], **m["result"]} for m in modes],
            **{
                name: table.means([unit["result"] for unit in own if unit["arm"] == name])
                for name in (SINGLE, ROOM, SPLITS)
            },
        }
    found = table.rows(arms, keys)
    show(found, keys, reached)
    show_leads(details.get("leads", {}))
    path = RESULTS / f"loop-{arguments.world}.json"
    known = json.loads(path.read_text()) if path.exists() else {"bars": {}, "parts": {}}
    known["bars"].update(reached)
    known["parts"][arguments.part] = {
        **table.environment("python -m benchmarks.loop " + " ".join(sys.argv[1:])),
        "size": sizes(arguments),
        "seeds": sorted({unit["seed"] for unit in arms}),
        "table": found,
        **details,
    }
    write_json(path, known)
    if arguments.part == "training":
        floor = [row["slice_ap50"][0] for row in found if row["arm"] == training.SAME_DATA]
        table.plot(found, floor[0] if floor else None, path.with_suffix(".png"))


def show(found: Sequence[dict[str, Any]], keys: Sequence[str], reached: dict[str, Any]) -> None:
    """The table as Markdown."""
    print(f"| arm | budget | seeds | {' | '.join(keys)} |")
    print("|---" * (3 + len(keys)) + "|")
    for row in found:
        cells = ["-" if not row[k] else "{:.3f} [{:.3f}, {:.3f}]".format(*row[k]) for k in keys]
        print(f"| {row['arm']} | {row['budget'] or ''} | {row['seeds']} | {' | '.join(cells)} |")
    for name, entry in reached.items():
        state = "met" if entry["met"] else "not met"
        if entry["value"] is None:
            print(f"{name}: not measured")
        else:
            shown = "{value:.3f} [{low:.3f}, {high:.3f}], bar {bar:.3f}".format(**entry)
            told = ", ".join(f"{key} {entry[key]}" for key in BESIDE if key in entry)
            print(f"{name}: {shown} {state} {told}".rstrip())


def show_leads(leads: dict[int, dict[str, dict[str, Any]]]) -> None:
    """A line for each arm that E2X is compared with, at each budget."""
    line = "e2x above {}: {value:+.1f} [{low:+.1f}, {high:+.1f}] points of slice AP, {seeds} seeds"
    for budget, arms in leads.items():
        print(f"with {budget} boxes:")
        for arm, lead in arms.items():
            print(line.format(arm, **lead))


def main() -> None:
    parser = argparse.ArgumentParser(description="Does explaining find better data?")
    parser.add_argument("--world", choices=(*worlds.STREETS, "carla", "bccd"), default="street")
    parser.add_argument(
        "--part", choices=("retrieval", "training", "field", "cycles"), default="retrieval"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--arms",
        nargs="*",
        choices=BY_NAME,
        help="of retrieval, training and field, whose default are all of theirs; cycles has its "
        "own three",
    )
    parser.add_argument(
        "--deals", nargs="*", choices=DEALS, default=list(DEALS), help="of field: frames alone"
    )
    parser.add_argument("--budgets", type=int, nargs="*", default=[30, 75, 150], help="in boxes")
    parser.add_argument("--top", type=int, default=100, help="images retrieved")
    parser.add_argument("--pool", type=int, default=2000, help="images, street")
    parser.add_argument("--share", type=float, default=0.0125, help="of the pool, each cause")
    parser.add_argument("--field", type=int, default=200, help="images, street")
    parser.add_argument("--epochs", type=int, default=10, help="of the base detector")
    parser.add_argument("--finetune-epochs", type=int, default=4)
    parser.add_argument("--method", default="e2x", help="of explanation")
    parser.add_argument("--num-samples", type=int, default=0, help="K; 0 for the method's own")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 leaves them")
    parser.add_argument(
        "--units",
        type=Path,
        help="file of finished units, appended to; what is in it is not done again, so delete "
        "lines that a change of the code concerns; default: in the folder of models",
    )
    arguments = parser.parse_args()
    if arguments.arms is None:
        own = (*FIELD_ARMS, COUNTED) if arguments.part == "field" else ARMS
        arguments.arms = [arm.name for arm in own]
    keep_freed_memory()
    units = Units(arguments.units or CACHE / "loop" / f"{arguments.world}.jsonl")
    for seed in arguments.seeds:
        run_seed(arguments, seed, units)
    size = sizes(arguments)
    report(arguments, [u for u in units.done if u["size"] == size and u["seed"] in arguments.seeds])


if __name__ == "__main__":
    main()

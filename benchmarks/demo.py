"""The demo over several seeds, E2X beside another selection policy: a table and its JSON.

    python -m benchmarks.demo --seeds 0 1 2 --compare random

Each seed has its own world, first detector and mistakes of the annotator; within a seed both
policies start from the same detector and spend the same budget. A seed that has its result already
is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from services.demo.run import DemoOptions, run_demo
from services.demo.sizes import DemoSize

RESULTS = Path(__file__).parent / "results" / "demo.json"
PACKAGES = ("torch", "torchvision", "timm", "faiss-gpu", "celery", "sqlalchemy", "scikit-image")
ROWS = {
    "failures_before": "field failures before",
    "failures_after": "field failures after",
    "siblings_failed_before": "siblings failed before",
    "siblings_failed_after": "siblings failed after",
    "map50_before": "holdout AP50 before",
    "map50_after": "holdout AP50 after",
    "negative_flips": "negative flips",
    "boxes_labelled": "boxes labelled",
    "promoted": "promoted",
}


def main() -> None:
    """Run what is missing, then print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--compare", default="random")
    parser.add_argument("--folder", type=Path, default=Path("demo/seeds"))
    given = parser.parse_args()
    console = Console()
    results = [
        _result(given.folder / str(seed), seed, given.compare, console) for seed in given.seeds
    ]
    console.print(_table(results, given.compare))
    summary = _summary(results, given.compare)
    console.print_json(json.dumps(summary["bars"]))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(summary, indent=1) + "\n")


def _result(folder: Path, seed: int, compare: str, console: Console) -> dict[str, Any]:
    done = folder / "result.json"
    if not done.is_file():
        console.rule(f"seed {seed}")
        run_demo(DemoOptions(folder.resolve(), DemoSize(), seed, compare), console)
    result: dict[str, Any] = json.loads(done.read_text())
    return result


def _summary(results: list[dict[str, Any]], compare: str) -> dict[str, Any]:
    fixed = {
        name: [_fixed(result if name == "e2x" else result[compare]) for result in results]
        for name in ("e2x", compare)
    }
    pairs = list(zip(fixed["e2x"], fixed[compare], strict=True))
    seeds = " ".join(str(result["seed"]) for result in results)
    return {
        "command": f"python -m benchmarks.demo --seeds {seeds} --compare {compare}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "versions": {name: version(name) for name in PACKAGES},
        "seeds": [result["seed"] for result in results],
        "bars": {
            "siblings_fixed_over_random": {
                "value": sum(fixed["e2x"]) / max(1, sum(fixed[compare])),
                "low": min(ours - theirs for ours, theirs in pairs),
                "high": max(ours - theirs for ours, theirs in pairs),
                "bar": "more siblings fixed than by the other policy, on every seed",
                "met": all(ours > theirs for ours, theirs in pairs),
            },
            "gate_passes": {
                "value": sum(result["promoted"] > 0 for result in results),
                "low": None,
                "high": None,
                "bar": "a challenger is promoted on every seed",
                "met": all(result["promoted"] > 0 for result in results),
            },
        },
        "results": results,
    }


def _fixed(result: dict[str, Any]) -> int:
    return int(result["siblings_failed_before"] - result["siblings_failed_after"])


def _table(results: list[dict[str, Any]], compare: str) -> Table:
    table = Table(title="The loop over seeds", title_justify="left")
    table.add_column("")
    for result in results:
        table.add_column(f"E2X, seed {result['seed']}", justify="right")
        table.add_column(compare, justify="right")
    for key, title in ROWS.items():
        cells = [str(side[key]) for result in results for side in (result, result[compare])]
        table.add_row(title, *cells)
    cells = [str(_fixed(side)) for result in results for side in (result, result[compare])]
    table.add_row("siblings fixed", *cells)
    return table


if __name__ == "__main__":
    main()

"""The demo over several seeds: what it gives as intervals, and beside another selection policy.

    python -m benchmarks.demo --seeds 0 1 2 3 4
    python -m benchmarks.demo --seeds 0 1 2 --compare random
    python -m benchmarks.demo --markdown                       # the table of results/demo.json

Each seed has its own world, first detector and mistakes of the annotator. The figures of one seed
are the same to the last digit with the same packages and others with the next PyTorch, as a
training that rounds otherwise ends elsewhere: they are one draw, like another seed's. So what is
promised is an interval: in which the next run, of whatever seed or PyTorch, falls 95 times of 100.

With ``--compare`` both policies start from the same detector and spend the same budget. A seed that
has its result already is not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks.common import machine
from services.demo.run import DemoOptions, run_demo
from services.demo.sizes import DemoSize
from services.units import threads

RESULTS = Path(__file__).parent / "results" / "demo.json"
PACKAGES = ("torch", "torchvision", "timm", "faiss-gpu", "celery", "sqlalchemy", "scikit-image")
SURE = 0.95
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the table.

    Attributes:
        title: for people.
        value: of a seed's result.
        form: how it is written.
        most: greatest value that there is; None: none.
    """

    title: str
    value: Callable[[Result], float]
    form: str = ".0f"
    most: float | None = None


def _fixed(result: Result) -> int:
    return int(result["siblings_failed_before"] - result["siblings_failed_after"])


ROWS: dict[str, Row] = {
    "failures_before": Row("failures in the field, before", lambda r: r["failures_before"]),
    "failures_after": Row("failures in the field, after", lambda r: r["failures_after"]),
    "siblings_failed_before": Row(
        "unseen siblings failed, before", lambda r: r["siblings_failed_before"]
    ),
    "siblings_failed_after": Row(
        "unseen siblings failed, after", lambda r: r["siblings_failed_after"]
    ),
    "siblings_fixed": Row("siblings fixed", _fixed),
    "map50_before": Row("holdout AP50, before", lambda r: r["map50_before"], ".3f", 1.0),
    "map50_after": Row("holdout AP50, after", lambda r: r["map50_after"], ".3f", 1.0),
    "negative_flips": Row("negative flips", lambda r: r["negative_flips"], ".1%", 1.0),
    "boxes_labelled": Row("boxes labelled", lambda r: r["boxes_labelled"]),
    "promoted": Row("challengers promoted", lambda r: r["promoted"], ".0f", 2.0),
}
MAY_BE_BELOW_0 = frozenset({"siblings_fixed"})


def main() -> None:
    """Run what is missing, then print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--compare", default=None, help="another selection policy beside")
    parser.add_argument("--folder", type=Path, default=Path("demo/seeds"))
    parser.add_argument("--markdown", action="store_true", help="only print what was measured")
    given = parser.parse_args()
    if given.markdown:
        print(markdown(json.loads(RESULTS.read_text())))
        return
    if len(set(given.seeds)) < 2:
        parser.error("an interval takes at least two different seeds")
    threads.set_variables(threads.cores())  # as the command does, before PyTorch loads
    console = Console()
    results = [
        _result(given.folder / str(seed), seed, given.compare, console) for seed in given.seeds
    ]
    found = summary(results, given.compare)
    console.print(_table(found))
    if found["bars"]:
        console.print_json(json.dumps(found["bars"]))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def _result(folder: Path, seed: int, compare: str | None, console: Console) -> Result:
    done = folder / "result.json"
    known: Result = json.loads(done.read_text()) if done.is_file() else {}
    if not known or (compare is not None and compare not in known):
        console.rule(f"seed {seed}")
        run_demo(DemoOptions(folder.resolve(), DemoSize(), seed, compare), console)
        known = json.loads(done.read_text())
    return known


def summary(results: Sequence[Result], compare: str | None = None) -> dict[str, Any]:
    """What the results file holds.

    Args:
        results: ``result.json`` of each seed, at least two.
        compare: the policy that ran beside; None: none did.

    Returns:
        Intervals of E2X and of the policy, the bars of the comparison, and every result.
    """
    seeds = " ".join(str(result["seed"]) for result in results)
    beside = f" --compare {compare}" if compare else ""
    sides = {"e2x": list(results)}
    if compare:
        sides[compare] = [result[compare] for result in results]
    return {
        "command": f"python -m benchmarks.demo --seeds {seeds}{beside}",
        "machine": machine.machine(),
        "versions": machine.versions(PACKAGES),
        "seeds": [result["seed"] for result in results],
        "intervals": {side: intervals(of_side) for side, of_side in sides.items()},
        "bars": _bars(sides["e2x"], sides[compare]) if compare else {},
        "results": list(results),
    }


def intervals(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Median and range of each figure, and where the next run falls.

    Args:
        results: of at least two seeds.

    Returns:
        By figure ``median``, ``low`` and ``high`` of those seen, and ``next_low`` and
        ``next_high``: the interval in which one more run lies with a probability of 95 %, if runs
        scatter normally, cut to what the figure can be.

    Source:
        Prediction interval of a further observation: mean +- t(n - 1) s sqrt(1 + 1/n); Hahn and
        Meeker, "Statistical Intervals", 1991, section 4.7.
    """
    found = {}
    for key, row in ROWS.items():
        values = [float(row.value(result)) for result in results]
        count, mean = len(values), statistics.fmean(values)
        spread = statistics.stdev(values) * (1 + 1 / count) ** 0.5
        reach = float(stats.t.ppf((1 + SURE) / 2, count - 1)) * spread
        least = -float("inf") if key in MAY_BE_BELOW_0 else 0.0
        most = float("inf") if row.most is None else row.most
        found[key] = {
            "median": statistics.median(values),
            "low": min(values),
            "high": max(values),
            "next_low": round(max(least, mean - reach), 4),
            "next_high": round(min(most, mean + reach), 4),
        }
    return found


def _bars(ours: Sequence[Result], theirs: Sequence[Result]) -> dict[str, Any]:
    pairs = [(_fixed(one), _fixed(other)) for one, other in zip(ours, theirs, strict=True)]
    return {
        "siblings_fixed_over_random": {
            "value": sum(one for one, _ in pairs) / max(1, sum(other for _, other in pairs)),
            "low": min(one - other for one, other in pairs),
            "high": max(one - other for one, other in pairs),
            "bar": "more siblings fixed than by the other policy, on every seed",
            "met": all(one > other for one, other in pairs),
        },
        "gate_passes": {
            "value": sum(result["promoted"] > 0 for result in ours),
            "low": None,
            "high": None,
            "bar": "a challenger is promoted on every seed",
            "met": all(result["promoted"] > 0 for result in ours),
        },
    }


def _cells(found: dict[str, Any]) -> list[list[str]]:
    """Title, median, range, the next run: for each side in turn; a header first."""
    several = len(found["intervals"]) > 1
    header = [""]
    for side in found["intervals"]:
        of = f" ({side})" if several else ""
        header += [f"median{of}", f"range{of}", f"the next run{of}"]
    rows = [header]
    for key, row in ROWS.items():
        cells = [row.title]
        for of_side in found["intervals"].values():
            one = of_side[key]

            def text(name: str, one: dict[str, float] = one, form: str = row.form) -> str:
                return format(one[name], form)

            cells += [text("median"), f"{text('low')} to {text('high')}"]
            cells.append(f"{text('next_low')} to {text('next_high')}")
        rows.append(cells)
    return rows


def markdown(found: dict[str, Any]) -> str:
    """The table for a page, with what it was made by."""
    header, *rows = _cells(found)
    lines = [
        f"`{found['command']}`, PyTorch {found['versions']['torch']}, {found['machine']}:",
        "",
        f"| {' | '.join(header)} |",
        f"|---|{'---:|' * (len(header) - 1)}",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]
    return "\n".join(lines)


def _table(found: dict[str, Any]) -> Table:
    header, *rows = _cells(found)
    table = Table(title=f"The demo over {len(found['seeds'])} seeds", title_justify="left")
    for number, title in enumerate(header):
        table.add_column(title, justify="right" if number else "left")
    for cells in rows:
        table.add_row(*cells)
    return table


if __name__ == "__main__":
    main()

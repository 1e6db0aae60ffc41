"""The command; see the package."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.common.units import Units
from benchmarks.detectors import CACHE
from benchmarks.fidelity import (
    away,
    cases,
    choices,
    faithfulness,
    figure2,
    figure2_report,
    inside,
    methods,
    mistakes,
    pairs,
    ranks,
    references,
    report,
    results,
    rivals,
    rivals_report,
    sanity,
    shares,
)
from benchmarks.fidelity.sizes import FULL, SMALL, Sizes
from benchmarks.fidelity.study import Study, load
from curation.kernel.detector import Precision
from retrain.memory import keep_freed_memory

WORLDS = (*cases.WORLDS, cases.AWAY)
Part = Callable[[Study, Sizes], Iterator[dict[str, Any]]]
Rows = dict[str, list[dict[str, Any]]]
PARTS: dict[str, dict[str, Part]] = {
    "exact": {"exact": references.exact},
    "converged": {"converged": references.converged},
    "ranks": {"ranks": references.ranks},
    "figure2": {"figure2": figure2.figure2},
    "faithfulness": {
        "recovery": faithfulness.recovery,
        "faithfulness": faithfulness.faithfulness,
    },
    "pointing": {"pointing": faithfulness.pointing},
    "shares": {"shares": shares.shares},
    "choices": {"choices": choices.choices},
    "sanity": {
        "weights": sanity.weights,
        "classes": sanity.classes,
    },
    "pairs": {"pairs": pairs.pairs},
    "inside": {"relevance": inside.relevance, "fgvis": inside.adversarial},
    "rivals": {"rival_curves": rivals.curves},
    "harms": {"rival_harms": rivals.harms},
    "away": {"away": away.away},
    "mistakes": {"pulled_boxes": mistakes.offsets, "lookalikes": mistakes.lookalikes},
}


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    units = Units((given.cache or given.models / "fidelity") / "units.jsonl", given.report)
    sizes = sizes_of(given)
    chosen = list(PARTS) if "all" in given.part else given.part
    rows: Rows = {name: [] for part in chosen for name in PARTS[part]}
    for study in studies(given, units):
        for part in chosen:
            for name, work in PARTS[part].items():
                for row in work(study, sizes):
                    rows[name].append(row)
                    show(name, row, len(rows[name]))
    for own, parts in results.by_file(chosen).items():
        names = {name for part in parts for name in PARTS[part]}
        here = {name: made for name, made in rows.items() if name in names}
        tables, bars = summary(here)
        for title, table in tables.items():
            report.print_table(title, table)
        report.print_table("bars", [{"name": name, **entry} for name, entry in bars.items()])
        if given.write:
            results.write(given, parts, sizes, tables, bars, kinds_of(here), own=own)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=[*PARTS, "all"], default=["all"])
    parser.add_argument("--models", type=Path, default=CACHE)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=cases.WORLDS)
    parser.add_argument("--architectures", nargs="+", default=[results.DEFAULT_ARCHITECTURE])
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument(
        "--images",
        type=int,
        help="a world in exact, converged, faithfulness, away, choices, figure2 and rivals, "
        "whatever the size says; at other numbers of segments, at published cost and with a PDA "
        "reference as many as the next three say",
    )
    parser.add_argument("--others", type=int, default=0, help="images at other numbers of segments")
    parser.add_argument("--published", type=int, default=0, help="images at published cost")
    parser.add_argument("--pda", type=int, default=0, help="images with a PDA reference")
    parser.add_argument(
        "--asked", type=int, nargs="+", help="superpixels of figure2, 200 among them"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="fp32",
        help="of all passes, references too",
    )
    parser.add_argument("--cache", type=Path, help="default: fidelity in the folder of models")
    parser.add_argument("--report", action="store_true", help="of what is in the cache alone")
    parser.add_argument(
        "--write",
        action="store_true",
        help="fidelity.json, of other architectures under their name; parts that did not run "
        "stay as they are there",
    )
    given = parser.parse_args()
    given.data = given.data.resolve()  # the files of a set are told by whole paths
    return given


def sizes_of(given: argparse.Namespace) -> Sizes:
    """How much is asked for."""
    sizes = FULL if given.size == "full" else SMALL
    if given.asked:
        sizes = replace(sizes, figure2_asked=tuple(given.asked))
    if given.images is None:
        return sizes
    each = dict.fromkeys(given.worlds, given.images)
    return replace(
        sizes,
        exact_images=each,
        converged_images=each,
        faithful_images=each,
        other_images=dict.fromkeys(given.worlds, given.others),
        choice_images=given.images,
        rival_images=each,
        rival_planted=given.images,
        away_images=given.images,
        published_images=dict.fromkeys(given.worlds, given.published),
        figure2_images=each,
        pda_images=dict.fromkeys(given.worlds, given.pda),
    )


def studies(given: argparse.Namespace, units: Units) -> Iterator[Study]:
    """One for each detector that is there."""
    for name in (methods.OURS, *methods.RIVALS, *methods.OTHERS):
        if not methods.known(name):
            print(f"{name}: no such method, skipped", file=sys.stderr)
    for world in given.worlds:
        for architecture in given.architectures:
            folder = given.models / f"{world}-{architecture}-0"
            if (folder / "config.json").exists():
                yield load(folder, units, given.data, given.device, given.precision)
            else:
                print(f"{folder.name}: no such detector, skipped", file=sys.stderr)


def show(name: str, row: dict[str, Any], count: int) -> None:
    if count % 10 == 0:
        print(f"{name} {count} {row.get('image')}", file=sys.stderr, flush=True)


def summary(rows: Rows) -> tuple[dict[str, report.Table], dict[str, report.Row]]:
    """All tables and bars of the parts that ran."""
    found = {name: rows.get(name, []) for part in PARTS.values() for name in part}
    tables = {
        "exact": report.agreement(found["exact"]),
        "converged": report.agreement(found["converged"]),
        "ranks": report.agreement(found["ranks"]),
        "faithfulness": report.simple(
            found["faithfulness"],
            ("method", "kind"),
            ("deletion", "insertion", "deletion_seen", "insertion_seen"),
        ),
        "shares": report.simple(
            found["shares"], ("regions_of",), ("hit", "recovers", "gain", "superpixels")
        ),
        "choices": report.simple(found["choices"], ("method",), rivals_report.HARMS),
        **away.tables(found["away"]),
        "weights": report.simple(found["weights"], ("method", "stage"), ("spearman", "magnitude")),
        "classes": report.simple(found["classes"], ("method",), ("rho",)),
        "relevance": report.simple(found["relevance"], ("architecture", "method"), ("rho",)),
        "fgvis": report.simple(found["fgvis"], ("architecture", "defence"), ("fooled",)),
    }
    bars: dict[str, report.Row] = {}
    if found["exact"]:
        bars["rho_exact_128"] = report.exact_bar(found["exact"])
    bars |= report.best_bars(found["converged"], references.ASKED)
    bars |= ranks.bars(found["ranks"] or found["converged"])
    for name, (table, entry) in {
        "fn_recovers": report.recovery(found["recovery"]),
        "pointing": report.pointing(found["pointing"]),
        "pairs": report.pairs(found["pairs"]),
        "fig2_speed_ratio": figure2_report.tables(found["figure2"]),
    }.items():
        tables[name.removesuffix("_speed_ratio")] = table
        if entry is not None:
            bars[name] = entry
    bars |= report.sanity_bars(found["weights"], found["relevance"], found["fgvis"])
    for name, judge in {
        "rival_curves": rivals_report.curves,
        "rival_harms": rivals_report.harms,
        "lookalikes": rivals_report.lookalikes,
        "pulled_boxes": rivals_report.offsets,
    }.items():
        tables[name], more = judge(found[name])
        bars |= more
    return {name: table for name, table in tables.items() if table}, bars


def kinds_of(rows: Rows) -> dict[str, int]:
    """How many detections with a converged reference are missed, found or false."""
    kinds = list({row["detection"]: row["kind"] for row in rows.get("converged", [])}.values())
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


if __name__ == "__main__":
    main()

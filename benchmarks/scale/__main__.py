"""``python -m benchmarks.scale``: measure, print and write the result file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import bars
from benchmarks.common.machine import machine, versions
from benchmarks.scale import cycles, frames, imports, stored
from curation.kernel import files

OUT = Path(__file__).parents[1] / "results" / "scale.json"
PARTS = ("import", "resume", "stored", "frames", "cycles")
POLICIES = {
    "random": 100_000,
    "entropy": 100_000,
    "core_set": 100_000,
    "whole_image": 100_000,
    "coverage_neighbours": 100_000,
    "ppal": 10_000,
    "talisman": 10_000,
}
"""Pool at which each is measured: the last two encode objects of real pictures."""
IMAGES_A_SECOND, BYTES_AN_IMAGE, GROWTH, PEAK_GIB = 100.0, 20_000.0, 1.5, 2.0
FRAMES = 0.8
"""Of the frames a second that an empty project accepts."""


def main() -> None:
    """Measure what is asked for; the other parts stay as they are in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--imported", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--resume", type=int, default=100_000, help="images of the killed import")
    parser.add_argument("--stored", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--labelled", type=int, default=20_000, help="images beside the frames")
    parser.add_argument("--clients", type=int, default=8, help="that send frames at once")
    parser.add_argument("--rounds", type=int, default=12, help="of frames, eight of each client")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--regions", type=int, default=2, help="an image of the pool that grows")
    parser.add_argument("--policies", nargs="*", choices=list(POLICIES), default=list(POLICIES))
    parser.add_argument("--real", type=int, default=400, help="pictures that all is drawn around")
    parser.add_argument("--epochs", type=int, default=6, help="of the champion's training")
    parser.add_argument("--champion", type=Path, help="folder of a detector of the street world")
    parser.add_argument("--keep", type=Path, help="folder in which the project stays")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    result: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.is_file() else {}
    made: dict[str, Any] = {}

    def tell(cycles_so_far: dict[str, Any] | None = None) -> None:
        if cycles_so_far is not None:
            made["cycles"] = cycles_so_far
        write(asked.out, result, made)

    if "import" in asked.parts:
        made["import"] = imports.speeds(asked.imported)
    if "resume" in asked.parts:
        made["resume"] = imports.resume(asked.resume)
    if "stored" in asked.parts:
        made["stored"] = stored.measure(asked.stored, asked.real)
    if "frames" in asked.parts:
        made["frames"] = frames.measure(asked.labelled, 8, asked.rounds, asked.clients)
    if "cycles" in asked.parts:
        made["cycles"] = cycles.measure(
            asked.sizes,
            {name: POLICIES[name] for name in asked.policies},
            pictures=asked.real,
            regions=asked.regions,
            epochs=asked.epochs,
            champion=asked.champion,
            keep=asked.keep,
            tell=tell,
        )
    tell()


def write(out: Path, result: dict[str, Any], made: dict[str, Any]) -> None:
    """Put what was measured into the result; each part has the command that made it."""
    command = " ".join(["python -m benchmarks.scale", *sys.argv[1:]])
    commands = result.get("commands", {}) | dict.fromkeys(made, command)
    whole = result | made
    whole |= {"commands": commands, "machine": machine(), "versions": versions()}
    files.write_json(out, whole | {"bars": judged(whole)})


def judged(result: dict[str, Any]) -> dict[str, Any]:
    """The bars, as far as they are measured."""
    found: dict[str, Any] = {}
    if steps := result.get("import"):
        slowest = min(one["images_a_second_of_a_core"] for one in steps)
        growth = steps[-1]["queries_an_image"] / steps[0]["queries_an_image"]
        found["import_images_a_second_of_a_core"] = bars.entry(slowest, bound=IMAGES_A_SECOND)
        found["import_queries_an_image_last_to_first"] = bars.entry(growth, bound=1.1, sense="<=")
    if outcome := result.get("resume"):
        whole = float(imports.is_whole(outcome))
        found["killed_import_is_whole"] = bars.entry(whole, bound=1.0)
    if sizes := result.get("stored"):
        found["stored_bytes_an_image"] = bars.entry(
            sizes[-1]["bytes_an_image_in_all"], bound=BYTES_AN_IMAGE, sense="<="
        )
    for one in result.get("frames", {}).get("databases", []):
        found[f"frames_full_to_empty_{one['database']}"] = bars.entry(
            one["ratio"], one["low"], one["high"], bound=FRAMES
        )
    by_size = {one["images"]: one for one in result.get("cycles", {}).get("sizes", [])}
    if {10_000, 1_000_000} <= by_size.keys():
        small, large = by_size[10_000], by_size[1_000_000]
        found["cycle_processor_time_million_to_ten_thousand"] = bars.entry(
            large["cycle"]["processor_s"] / small["cycle"]["processor_s"], bound=GROWTH, sense="<="
        )
        found["selecting_peak_gib_at_a_million"] = bars.entry(
            large["cycle"]["peak_mib"] / 1024, bound=PEAK_GIB, sense="<="
        )
    return found


if __name__ == "__main__":
    main()

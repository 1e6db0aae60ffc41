"""The committed tables: one file for a list of architectures, written part by part."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common import machine
from benchmarks.fidelity import cases, plot, references, report
from benchmarks.fidelity.sizes import Sizes
from curation.kernel.files import write_json

RESULTS = Path(__file__).parents[1] / "results"
DEFAULT_ARCHITECTURE = "ssdlite_efficientnet_lite0"
OWN_FILES = {"rivals": "rivals", "harms": "rivals", "mistakes": "rivals", "away": "rivals"}
"""Parts whose tables lie in a file of their own, ``fidelity-NAME.json``."""
NOTES = (
    "sizes are what was asked for; the tables say how many detections and images were done",
    "seconds on a CPU are those of the process, one thread, whatever else the machine does",
    "the paper's figure has 36 detections in 18 images; the small size has fewer",
    "intervals: bootstrap over images; none where there is one image",
)


def by_file(parts: Sequence[str]) -> dict[str, list[str]]:
    """The parts that ran, by the file that they are written to; "" for the one of all others."""
    files: dict[str, list[str]] = {}
    for part in parts:
        files.setdefault(OWN_FILES.get(part, ""), []).append(part)
    return files


def write(
    given: argparse.Namespace,
    parts: Sequence[str],
    sizes: Sizes,
    tables: Mapping[str, report.Table],
    bars: Mapping[str, report.Row],
    kinds: Mapping[str, int],
    folder: Path = RESULTS,
    own: str = "",
) -> Path:
    """Put the tables and bars of the parts that ran into their file; the other parts stay.

    Each part has its own command, machine and versions: they are not all of one run.

    Args:
        given: the arguments of the command.
        parts: which ran.
        sizes: how much was asked for.
        tables: by name.
        bars: by name.
        kinds: detections with a converged reference, by kind; empty where that part did not run.
        folder: of the file.
        own: name of the file where the parts have one of their own, see :func:`by_file`.

    Returns:
        The file: ``fidelity.json``, of other architectures under their name.
    """
    name = "-".join(
        [
            "fidelity",
            *([own] if own else []),
            *(a for a in given.architectures if a != DEFAULT_ARCHITECTURE),
        ]
    )
    path = folder / f"{name}.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    made = {
        "machine": machine.machine(given.device),
        "versions": machine.versions(),
    }
    known = before.get("parts", {}) | {
        part: {"command": _command(given, part)} | made | {"sizes": sizes.of(part)}
        for part in parts
    }
    folder.mkdir(exist_ok=True)
    write_json(
        path,
        {
            "seeds": {"methods": 0, "references": references.REFERENCE_SEED, "bootstrap": 0},
            "unit_of_scores": str(references.KIND),
            "notes": NOTES,
            "detections_by_kind": dict(kinds) or before.get("detections_by_kind", {}),
            "parts": known,
            "bars": before.get("bars", {}) | dict(bars),
            "tables": before.get("tables", {}) | dict(tables),
        },
    )
    if "fig2" in tables:
        plot.draw(tables["fig2"], folder / f"{name}-figure2.svg")
    return path


def _command(given: argparse.Namespace, part: str) -> str:
    images = "" if given.images is None else f"--images {given.images} "
    for name in ("others", "published", "pda"):
        if value := getattr(given, name, 0):
            images += f"--{name} {value} "
    if asked := getattr(given, "asked", None):
        images += f"--asked {' '.join(map(str, asked))} "
    precision = getattr(given, "precision", "fp32")
    half = "" if precision == "fp32" else f"--precision {precision} "
    worlds = "" if given.worlds == cases.WORLDS else f"--worlds {' '.join(given.worlds)} "
    return (
        f"python -m benchmarks.fidelity --part {part} --size {given.size} {images}{worlds}"
        f"--architectures {' '.join(given.architectures)} --threads {given.threads} {half}--write"
    )

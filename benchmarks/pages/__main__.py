"""``python -m benchmarks.pages``: what every page costs, by rows that are stored.

Figures are processor time of server and client together, so that whatever else the machine does
changes little; the browser's own drawing is not in them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common.machine import machine
from benchmarks.common.projects import make_context
from benchmarks.pages import measure
from benchmarks.pages.project import fill
from services.db import migrate

OUT = Path(__file__).parents[1] / "results" / "pages.json"
FIRST_BYTE_MS, COMPLETE_MS = 100.0, 1000.0
"""Bounds of every page, with ten thousand failures."""


def main() -> None:
    """Measure, print and write; ends with 1 where a page is beyond its bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failures", type=int, nargs="+", default=[0, 1, 10_000])
    parser.add_argument("--database", default="", help="URL of an empty one; without: SQLite")
    parser.add_argument("--pages", nargs="+", default=list(measure.PAGES))
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    sizes: dict[str, list[dict[str, Any]]] = {}
    for failures in given.failures:
        sizes[str(failures)] = _sized(failures, given)
    command = " ".join(["python -m benchmarks.pages", *sys.argv[1:]])
    result = {"command": command, "machine": machine(), "by_failures": sizes}
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    slow = [
        f"{one['path']} with {failures} failures"
        for failures, rows in sizes.items()
        for one in rows
        if one["first_byte_ms"] > FIRST_BYTE_MS or one["complete_ms"] > COMPLETE_MS
    ]
    sys.stdout.write(f"beyond the bounds: {', '.join(slow) or 'none'}\n")
    sys.exit(bool(slow))


def _sized(failures: int, given: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        url = given.database or f"sqlite:///{name}/e2x.db"
        context = make_context(Path(name) / "project", url)
        migrate.upgrade(context.engine)
        fill(context, failures)
        rows = []
        sys.stdout.write(
            f"{failures} failures\n{'first ms':>9} {'whole ms':>9} {'asks':>5} {'pics':>5} "
            f"{'kB':>7} page\n"
        )
        with measure.visitor(context) as client:
            for path in given.pages:
                row = measure.cost(context, client, path, given.times)
                rows.append(row.to_dict())
                sys.stdout.write(
                    f"{row.first_byte_ms:9.1f} {row.complete_ms:9.1f} {row.statements:5} "
                    f"{row.pictures:5} {row.kilobytes:7.1f} {row.path} "
                    f"{'' if row.status == 200 else row.status}\n"
                )
                sys.stdout.flush()
        context.engine.dispose()
    return rows


if __name__ == "__main__":
    main()

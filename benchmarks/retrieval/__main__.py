"""The command; see the package."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import torch

from benchmarks.common import machine
from benchmarks.common.bars import entry
from benchmarks.detectors import CACHE
from benchmarks.retrieval import codes, duplicates, engines, measure, vectors
from curation.kernel.files import write_json

RESULT = Path(__file__).parents[1] / "results" / "retrieval.json"
GIB = 2**30
MEMORY_GIB = 16
COLUMNS = (
    "regions",
    "width",
    "recall@10",
    "p50 ms",
    "p99 ms",
    "7 regions, p50 / p99 ms",
    "images scored, p50 / p99 ms",
    "resident bytes a vector",
    "add s",
    "seal s",
    "peak RSS GiB, build / serve",
)


def main() -> None:
    given = arguments()
    faiss.omp_set_num_threads(given.threads)
    torch.set_num_threads(given.threads)
    if given.step:
        source = vectors.source(vectors.narrowed(real(given), given.width))
        work = engines.step if given.engine else step
        print(json.dumps(work(given, source)))
        return
    if given.sizes or given.engines:
        real(given)
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for regions in given.sizes:
        key = str(regions)
        done = result.setdefault("sizes", {}).get(key)
        if not done or given.again:
            result["sizes"][key] = whole(given, regions)
            write(result, given)
    for regions in given.engines:
        known = result.setdefault("engines", {"sizes": {}})
        rows = known["sizes"].setdefault(str(regions), {})
        for engine in given.engine_names:
            if engine not in rows or given.again:
                rows[engine] = {"command": command()} | engines.whole(given, engine, regions)
                known["machine"] = machine.machine("cpu", threads=given.threads)
                write(result, given)
    if given.hashes and ("duplicates" not in result or given.again):
        result["duplicates"] = [duplicates.measure(n) for n in given.hashes]
        write(result, given)
    if given.codes and ("codes" not in result or given.again):
        kept = given.scratch / f"street-{given.codes}.npz"
        result["codes"] = codes.measure(codes.World(kept, given.codes, given.codes // 6))
        write(result, given)
    print(table(result))
    if "codes" in result:
        print("\n" + codes.table(result["codes"]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--hashes", type=int, nargs="*", default=[25_000, 50_000, 100_000])
    parser.add_argument(
        "--codes", type=int, nargs="?", const=1200, help="compare codes on so many street scenes"
    )
    parser.add_argument(
        "--engines",
        type=int,
        nargs="*",
        default=[],
        help="compare the engines of the index at these sizes",
    )
    parser.add_argument(
        "--engine-names", nargs="*", choices=engines.ENGINES, default=["faiss", "lancedb"]
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--scratch", type=Path, default=CACHE / "retrieval")
    parser.add_argument("--images", type=int, default=800, help="real images that are embedded")
    parser.add_argument("--width", type=int, default=864, help="of a raw vector; 864: unchanged")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seal-rows", type=int, default=2_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="measure sizes that are known too")
    parser.add_argument("--keep", action="store_true", help="leave the built index in --scratch")
    steps = ("build", "serve", "fill", "ask")
    parser.add_argument("--step", choices=steps, help=argparse.SUPPRESS)
    parser.add_argument("--engine", choices=engines.ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def real(given: argparse.Namespace) -> Any:
    return vectors.embedded(given.data, given.scratch / f"real-{given.images}.npy", given.images)


def whole(given: argparse.Namespace, regions: int) -> measure.Row:
    """Build, then serve, each in a process of its own."""
    row: measure.Row = {"command": command()}
    folder = place(given, regions)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for name in ("build", "serve"):
            row |= child(given, name, regions)
            print(name, json.dumps(row), file=sys.stderr)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return row


def child(given: argparse.Namespace, name: str, regions: int) -> measure.Row:
    options = {
        "--sizes": regions,
        "--data": given.data,
        "--scratch": given.scratch,
        "--images": given.images,
        "--width": given.width,
        "--queries": given.queries,
        "--seal-rows": given.seal_rows,
        "--threads": given.threads,
        "--step": name,
    }
    words = [str(word) for pair in options.items() for word in pair]
    threads = {key: str(given.threads) for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.retrieval", *words],
        env={**os.environ, **threads},
        stdout=subprocess.PIPE,
        check=True,
    )
    row: measure.Row = json.loads(done.stdout.splitlines()[-1])
    return row


def step(given: argparse.Namespace, source: vectors.Source) -> measure.Row:
    regions, folder = given.sizes[0], place(given, given.sizes[0])
    if given.step == "build":
        return measure.build(source, folder, regions, given.seal_rows)
    empty = given.scratch / "empty"
    shutil.rmtree(empty, ignore_errors=True)
    return measure.serve(source, folder, empty, regions, given.queries)


def place(given: argparse.Namespace, regions: int) -> Path:
    path: Path = given.scratch / f"index-{regions}-{given.width}"
    return path


def bars(sizes: dict[str, measure.Row]) -> dict[str, Any]:
    found = {}
    row = sizes.get("1000000")
    if row:
        found["recall_at_10_1e6"] = entry(*row["recall_at_10"], bound=0.95)
        found["p99_ms_1e6"] = entry(*row["single"]["cpu_p99_ms"], bound=30, sense="<=")
        resident = row["resident_bytes_a_vector_after_searches"]
        found["resident_bytes_a_vector_1e6"] = entry(resident, bound=100, sense="<=")
    row = sizes.get("10000000")
    if row:
        peak = max(row["peak_rss_bytes"], row["serve_peak_rss_bytes"]) / GIB
        found["peak_gib_1e7"] = entry(peak, bound=MEMORY_GIB, sense="<=")
    return found


def write(result: dict[str, Any], given: argparse.Namespace) -> None:
    result |= {
        "bars": bars(result.get("sizes", {}))
        | engines.bars(result.get("engines", {}).get("sizes", {})),
        "command": "python -m benchmarks.retrieval; the command of each size is in sizes",
        "machine": machine.machine(
            "cuda" if torch.cuda.is_available() else "cpu", threads=given.threads
        ),
        "versions": machine.versions(),
        "rules": measure.rules(),
    }
    write_json(RESULT, result)


def command() -> str:
    return " ".join(["python -m benchmarks.retrieval", *sys.argv[1:]])


def table(result: dict[str, Any]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for size, row in sorted(result["sizes"].items(), key=lambda item: int(item[0])):
        single, mode, score = row["single"], row["mode_search"], row["mode_score_images"]
        recall = "{:.3f} [{:.3f}, {:.3f}]".format(*row["recall_at_10"])
        cells = [
            f"{int(size):,}",
            row["width"],
            recall,
            f"{single['cpu_p50_ms'][0]:.1f}",
            f"{single['cpu_p99_ms'][0]:.1f} (wall {single['wall_p99_ms'][0]:.1f})",
            f"{mode['cpu_p50_ms'][0]:.0f} / {mode['cpu_p99_ms'][0]:.0f}",
            f"{score['cpu_p50_ms'][0]:.0f} / {score['cpu_p99_ms'][0]:.0f}",
            f"{row['resident_bytes_a_vector_after_searches']:.0f}",
            f"{row['add_s']:.0f}",
            f"{row['seal_s']:.0f}",
            f"{row['peak_rss_bytes'] / GIB:.1f} / {row['serve_peak_rss_bytes'] / GIB:.1f}",
        ]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    for row in result.get("duplicates", []):
        lines.append(
            f"\n{row['hashes']:,} hashes: {row['groups_s']:.1f} s, "
            f"{row['share_compared']:.2%} of all pairs compared, {row['groups']:,} groups"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""The page of sizes to plan by: from the result files, measured or computed from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import bars
from scale import REGIONS, table, wrapped

MILLION = 1_000_000
GIB, MIB = 2**30, 2**20
PASSES = 128
"""Of the default explanation: what the detections of an image share."""
SPEEDS = (500, 2000)
"""Images a second of a detector on a GPU, of which the reader's own is one to look up."""
SHARES = (0.01, 0.05, 0.2)
Row = tuple[str, str, str, str]


def page() -> str:
    """The page as Markdown."""
    lines = [
        "<!-- Written by docs/generated.py from benchmarks/results: measure, do not edit. -->",
        "",
        "# Sizes to plan by",
        "",
        wrapped(INTRODUCTION),
        "",
    ]
    heads = ("what", "figure", "how it is known", "where from")
    for title, rows in (
        ("Disk", disk()),
        ("Memory", memory()),
        ("Processors", processors()),
        ("Copies", copies()),
    ):
        if found := list(rows):
            lines += [f"## {title}", "", *table(heads, found)]
    lines += [
        "## GPU hours",
        "",
        wrapped(GPUS.format(passes=PASSES, beside=beside())),
        "",
        *table(*gpu_hours()),
        wrapped(AFTER_GPUS),
        "",
    ]
    return "\n".join(lines).rstrip() + "\n"


INTRODUCTION = """
What a project takes, for a machine that is to be ordered. *Measured* figures were printed by the
command of the page that they name, on two cores without a GPU, mostly with pictures of 256 x 192
to 640 x 480 pixels; *computed* ones follow from these by multiplication and were not seen. Pictures
themselves take what they take and are not in these figures.
"""
GPUS = """
Each frame is looked at once, in one pass of the detector; a frame with failures is explained by
{passes} passes (`explanation.num_samples`), which its detections share. So a million frames of
which a share fails take (1 + share x {passes}) million passes, divided by what your GPU does a
second in batches: `python -m benchmarks.speed --part floor --write` prints it for a detector. No
GPU was there to measure one: all of the table is computed, and what a worker does beside the
network (decoding, superpixels) is not in it; on two cores that is {beside} of an explanation.
"""
AFTER_GPUS = """
Second looks after a promotion are passes again: one a frame that is kept (`scan` units), without
explanations for what is found again. Trainings take what the detector takes an epoch; the service
adds a gate, which is a pass over holdout and field frames by both models.
"""


def read(name: str) -> dict[str, Any] | None:
    """A result file; None where nothing was measured."""
    file = bars.RESULTS / name
    return json.loads(file.read_text()) if file.is_file() else None


def need(name: str) -> dict[str, Any]:
    """A result file that is always there."""
    found = read(name)
    assert found is not None, name
    return found


def disk() -> Iterator[Row]:
    """Bytes of a pool image, and of large pools."""
    scale = need("scale.json")
    stored = scale["stored"][-1]
    each = stored["bytes_an_image_in_all"]
    where = "[scale](results/scale.md)"
    regions, images = stored["regions_an_image"], stored["images"]
    yield (
        f"a pool image of {regions} regions: rows, vectors and index",
        f"{each / 1000:.1f} KB",
        f"measured at {images:,} images",
        where,
    )
    for number in (MILLION, 10 * MILLION):
        yield f"{number:,} pool images", f"{each * number / GIB:.0f} GiB", "computed", where
    largest = scale["cycles"]["sizes"][-1]
    database = largest["bytes"]["database"]
    of = largest["images"]
    yield (
        f"of that the database, {of:,} images",
        f"{database / GIB:.1f} GiB",
        "measured (SQLite)",
        where,
    )
    yield (
        f"the same, {10 * MILLION:,} images",
        f"{database * 10 * MILLION / of / GIB:.0f} GiB",
        "computed; from here on PostgreSQL",
        where,
    )


def memory() -> Iterator[Row]:
    """Of processes."""
    scale, retrieval = need("scale.json"), need("retrieval.json")
    largest = scale["cycles"]["sizes"][-1]
    where = "[scale](results/scale.md)"
    few = scale["cycles"]["regions_an_image"]
    peak = largest["peak_mib"]["selecting"] * MIB
    yield "an API process", f"{largest['peak_mib']['api']:.0f} MiB", "measured", where
    yield (
        f"the worker that selects, {largest['images']:,} images of {few} regions",
        f"{peak / GIB:.1f} GiB",
        "measured, mostly PyTorch and the index",
        where,
    )
    resident = retrieval["bars"]["resident_bytes_a_vector_1e6"]["value"]
    more = (REGIONS - few) * largest["images"] * resident
    yield (
        f"the same with {REGIONS} regions an image",
        f"{(peak + more) / GIB:.1f} GiB",
        "computed",
        "[index](results/index_at_size.md)",
    )
    ten = retrieval["bars"]["peak_gib_1e7"]["value"]
    yield (
        f"an index of {10 * MILLION:,} regions, at its peak",
        f"{ten:.1f} GiB",
        "measured",
        "[index](results/index_at_size.md)",
    )
    if grown := read("growth.json"):
        yield from growth(grown)


def growth(grown: dict[str, Any]) -> Iterator[Row]:
    """What processes hold after many frames: their own memory, without what they share."""
    last = grown["parts"][-1]
    workers = {"explain-1": "explains", "embed-1": "embeds", "default-1": "does the rest"}
    for name, does in workers.items():
        yield (
            f"the process of a worker that {does}, after {last['frames']:,} frames",
            f"{last['mib'][f'worker-{name}']:.0f} MiB",
            "measured, small detector",
            ENDURED,
        )


ENDURED = "[endurance](results/endurance.md)"


def processors() -> Iterator[Row]:
    """What a core or two do in a time."""
    scale, speed, latency = need("scale.json"), need("speed-cpu.json"), need("latency.json")
    rate = scale["import"][0]["images_a_second_of_a_core"]
    yield "images imported", f"{rate:.0f} a second of a core", "measured", SCALE
    encoded = speed["tables"]["embedding"][0]["images_per_s"]
    yield (
        "pool images embedded with their regions",
        f"{encoded:.0f} a second of two cores",
        "measured",
        SPEED,
    )
    hours = MILLION / encoded / 3600
    yield f"{MILLION:,} of them", f"{hours:.1f} h of two cores", "computed", SPEED
    for one in scale.get("frames", {}).get("databases", []):
        yield (
            f"field frames taken by one API process, {NAMES[one['database']]}",
            f"{one['a_second_full']:.0f} a second",
            "measured",
            SCALE,
        )
    scan = latency["stages_s"]["scan"]["median"]
    yield (
        "a frame looked at by a small detector (192 x 256)",
        f"{1000 * scan:.0f} ms of a core",
        "measured",
        "[latency](results/latency.md)",
    )
    explained = next(one for one in speed["tables"]["workers"] if one["method"] == "gp_shap")
    each = explained["detections_per_s"]
    yield (
        "detections explained, SSDLite at 240 x 320",
        f"{each:.1f} a second of two cores",
        f"measured, {explained['detections_an_image']} an image",
        SPEED,
    )
    yield f"{MILLION:,} of them", f"{MILLION / each / 3600:.0f} h of two cores", "computed", SPEED
    largest = scale["cycles"]["sizes"][-1]
    yield (
        f"a cycle to its label tasks, {largest['images']:,} pool images",
        f"{largest['cycle']['processor_s']:.0f} s of a core",
        "measured",
        SCALE,
    )


SCALE, SPEED = "[scale](results/scale.md)", "[explanations](results/explanations.md)"
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def copies() -> Iterator[Row]:
    """A backup and what it takes to have it back."""
    backup = read("backup.json")
    if backup is None:
        return
    where, images = ENDURED, f"{backup['images']:,} images"
    for what, key in (
        (f"`e2x backup` of {images} while workers write, on one disk", "backup_s"),
        ("having the copy where it shall run, on one disk", "restore_s"),
        ("`e2x doctor --deep` of it", "doctor_s"),
    ):
        yield what, f"{backup[key]:.0f} s", "measured", where


def gpu_hours() -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Hours a million frames, by the share that fails and the speed of the detector."""
    heads = ("frames that fail", *(f"at {speed:,} images a second" for speed in SPEEDS))
    rows = [
        (
            f"{share:.0%}",
            *(f"{MILLION * (1 + share * PASSES) / speed / 3600:.1f} h" for speed in SPEEDS),
        )
        for share in SHARES
    ]
    return heads, rows


def beside() -> str:
    """What an explanation on a processor takes beside its passes, as a share."""
    whole = need("speed-cpu.json")["bars"]["floor_ratio_cpu"]["value"]
    return f"{1 - 1 / whole:.0%}"

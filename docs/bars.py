"""The page of all bars: what was wanted, what was measured, read from ``benchmarks/results``."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.bars import Sense, state

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar in words, and on which side of it the good values lie."""

    words: str
    sense: Sense


LOOP = {
    "T1": Bar("boxes that E2X needs to reach random's final slice AP, share of random's", "<="),
    "T2": Bar("slice AP above random at equal boxes, points", ">="),
    "T3": Bar("slice AP above the best arm that does not explain, points", ">="),
    "T4": Bar("holdout AP50 above random, at the worst budget, points", ">="),
    "T6": Bar("siblings fixed, times those of random", ">="),
    "T6_two_cycles": Bar("the same after two cycles", ">="),
    "T7": Bar("negative flips above those of training on the same data", "<="),
    "T9": Bar("fixed failures that open again, share", "<="),
    "T10": Bar("useful among the first images retrieved, share", ">="),
    "T11": Bar("useful images, times the base rate", ">="),
    "T12": Bar("useful, policy with regions that hurt over random regions", ">="),
    "T12_regions_alone": Bar("useful, regions that hurt alone over random regions alone", ">="),
    "F4_regions_above_whole_image": Bar(
        "one failure's regions that hurt as a query, above its whole image, points", ">="
    ),
    "F4_regions_above_box": Bar("the same, above the object with its surroundings", ">="),
    "F4_regions_above_random": Bar("the same, above random regions", ">="),
    "F4_anywhere_above_whole_image": Bar(
        "regions that hurt wherever they lie, above the whole image, points", ">="
    ),
    "F4_anywhere_above_box": Bar("the same, above the object with its surroundings", ">="),
    "F4_anywhere_above_random": Bar("the same, above random regions", ">="),
    "F4_anywhere_above_negative": Bar("the same, above those near the object", ">="),
    "F4_named_above_whole_image": Bar(
        "regions that the service names, above the whole image, points", ">="
    ),
    "F4_named_above_box": Bar("the same, above the object with its surroundings", ">="),
    "F4_named_above_random": Bar("the same, above random regions", ">="),
    "F4_named_above_negative": Bar("the same, above all near the object", ">="),
    "F1": Bar("failing frames and E2X above frames and random, largest budget, points", ">="),
    "F1_at_all": Bar("the same, above it at all", ">="),
    "F2": Bar("failing frames and E2X above the frames alone, points", ">="),
    "F2_at_all": Bar("the same, above them at all", ">="),
    "F3": Bar("boxes that frames and E2X need to reach frames and random, share", "<="),
    "F5": Bar("failure modes of which judges and siblings say the same, share", ">="),
    "T13": Bar("typical failures of a mode that have its cause, share", ">="),
}
FIDELITY = {
    "rho_exact_128": Bar("correlation with exact Shapley values, 12 superpixels, 128 passes", ">="),
    "rho_best_128": Bar("correlation above the best rival's, 128 passes", ">="),
    "rho_best_320": Bar("the same with 320 passes", ">="),
    "rho_best_576": Bar("the same with 576 passes", ">="),
    "spearman_matter": Bar(
        "Spearman's correlation among superpixels that matter, 128 passes", ">="
    ),
    "sign_top_negative": Bar("signs of the most negative of those, share", ">="),
    "rho_fine_320": Bar("correlation with 208 superpixels, 320 passes", ">="),
    "passes_of_many": Bar("passes of a detection, four or more in the image", "<="),
    "pointing": Bar("most harmful region lies on the planted cause, share", ">="),
    "pairs": Bar("planted pair is the strongest interaction, 128 passes, share", ">="),
    "fig2_speed_ratio": Bar("detections a second, times those of LIME at equal fidelity", ">="),
}
NAMES = {
    "odam": "ODAM",
    "d_rise": "D-RISE",
    "g_came": "G-CAME",
    "vx_code": "VX-CODE",
    "d_close": "D-CLOSE",
}
RIVALS = {
    **{
        f"{ground}{short}_above_{name}{end}": Bar(
            f"insertion less deletion, {objects}{ours}, above {words}{cost}", ">="
        )
        for ground, objects in (("found", "found objects"), ("missed", "missed objects"))
        for short, ours in (("", ""), ("_in_context", ", each curve in its own context"))
        for name, words in NAMES.items()
        for end, cost in (
            ("", "" if name in ("odam", "g_came") else " at as many passes"),
            ("_published", " at its published cost"),
        )
    },
    "found_time": Bar("its processor time, share of the slowest's, found objects", "<="),
    "missed_time": Bar("the same, missed objects", "<="),
    "missed_helps": Bar("deletion of the worst region helps a miss, default's passes, share", ">="),
    "missed_hit": Bar("that region lies on the planted cause, share", ">="),
    "lookalike_helps": Bar("deletion of what drives a look-alike helps, share", ">="),
    "lookalike_hit": Bar("that region lies on the look-alike, share", ">="),
    "lookalike_sign": Bar("signs of what supports it most, share", ">="),
    "box_helps": Bar("deletion of what pulls a box helps, default's passes, share", ">="),
    "box_hit": Bar("that region lies on the planted pull, share", ">="),
    "box_sign": Bar("the planted pull has its sign, share", ">="),
}
FIRST = {
    f"{world.lower()}_{images}_160x208": Bar(
        f"{world}, {images} images: AP50 above the best fixed schedule found by search", ">="
    )
    for world, images in (
        ("BCCD", 60),
        ("BCCD", 240),
        ("Street", 60),
        ("Street", 240),
        ("Street", 1000),
    )
}
DETECTORS = {"street_plain_ap50": Bar("AP50 of the first detector on plain street scenes", ">=")}
RETRIEVAL = {
    "recall_at_10_1e6": Bar("recall@10 at a million regions", ">="),
    "p99_ms_1e6": Bar("a query at a million regions, p99 in ms of a core", "<="),
    "resident_bytes_a_vector_1e6": Bar("resident bytes a vector at a million", "<="),
    "peak_gib_1e7": Bar("peak memory at ten million, GiB", "<="),
    "lancedb_recall_at_10_1e6": Bar("the same in LanceDB: recall@10 at a million regions", ">="),
    "lancedb_deleted_that_came_back_1e6": Bar(
        "images that a search found after they were deleted, both engines", "<="
    ),
}
SCALE = {
    "import_images_a_second_of_a_core": Bar(
        "pool images of 640 x 480 imported a second of a core, without embedding", ">="
    ),
    "import_queries_an_image_last_to_first": Bar(
        "statements an image, last import over the first, into one growing project", "<="
    ),
    "stored_bytes_an_image": Bar("bytes a pool image of 35 regions takes beside the picture", "<="),
    **{
        f"frames_full_to_empty_{name}": Bar(
            f"frames accepted a second with 20 000 labelled images, over none, {words}", ">="
        )
        for name, words in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL"))
    },
    "killed_import_is_whole": Bar(
        "an import that is killed three times loses and doubles nothing (1: so it is)", ">="
    ),
    "cycle_processor_time_million_to_ten_thousand": Bar(
        "processor time from the start of a cycle to tasks, a million images over 10 000", "<="
    ),
    "selecting_peak_gib_at_a_million": Bar(
        "peak memory of the selecting process at a million images, GiB", "<="
    ),
}
LATENCY = {
    "own_share_s": Bar("from a report to its label task, the service's own share, s", "<="),
}
SPEED = {
    "floor_ratio_cpu": Bar("an E2X explanation, times its passes alone", "<="),
    "embedding_share": Bar("embedding a pool image, share of the encoder's own speed", ">="),
    "vs_lime": Bar("E2X, times the speed of the lime package", ">="),
    "vs_captum": Bar("the default, times the speed of captum's KernelSHAP at equal fidelity", ">="),
}
SYNTHESIS = {
    "G2": Bar("known objects lost among what hurt, above another frame's pixels, share", ">="),
    "G2_certain": Bar("the same, with its interval", ">="),
    **{
        f"G2_{cause}{end}": Bar(f"the same, {words}{told}", ">=")
        for cause, words in (
            ("bicycle_in_neon_shadow", "bicycles in neon shadow"),
            ("bus_behind_car", "cars before a bus"),
            ("pedestrian_on_brick", "pedestrians on brick"),
        )
        for end, told in (("", ""), ("_certain", ", with its interval"))
    },
    **{
        f"G4_above_{rival}{end}": Bar(f"known objects lost, above {words}{told}, share", ">=")
        for rival, words in (
            ("random", "random regions"),
            ("positive", "regions that support"),
            ("regions", "regions cut from values near the object"),
            ("whole_1.5", "all of 1.5 times the box"),
            ("whole_2", "all of twice the box"),
            ("whole_1.5_light", "all of 1.5 times the box with its light"),
            ("whole_2_light", "all of twice the box with its light"),
        )
        for end, told in (("", ""), ("_at_all", ", at all"))
    },
    "G3_same_data": Bar("siblings fixed by samples alone, times those of training again", ">="),
    "G3_same_data_at_all": Bar("the same, points above training again", ">="),
    "G3_retrieval": Bar("the same, times those of 75 boxes of a pool without the causes", ">="),
    "G3_retrieval_at_all": Bar("the same, points above these", ">="),
    "G3_pool_at_all": Bar("samples in pixels of the pool above training again, points", ">="),
    "G3b": Bar("failing frames and samples above the frames alone, points of siblings", ">="),
    "G3b_at_all": Bar("the same, above them at all", ">="),
    "G3b_pool": Bar("samples in pixels of the pool alone above failing frames, points", ">="),
    "G3b_pool_value": Bar("the same, value alone", ">="),
    **{
        f"G4_repair_{rival}{end}": Bar(f"beside the frames, above {words}{told}, points", ">=")
        for rival, words in (
            ("elsewhere", "the same shape from a random place"),
            ("pasted", "pasting at random"),
            ("random", "a random part of the window"),
            ("supporting", "regions that support"),
            ("unblamed", "what is not blamed"),
            ("whole", "all of twice the box with its light"),
        )
        for end, told in (("", ""), ("_at_all", ", at all"))
    },
    "G8_spoiled": Bar("samples spoiled on purpose that are refused, share", ">="),
    "G8_good": Bar("good samples that are refused, share", "<="),
    "G5": Bar("75 boxes by E2X and samples above the boxes alone, points of siblings", ">="),
    "G5_at_all": Bar("the same, above them at all", ">="),
    **{
        f"G7_{arm}{end}": Bar(f"{words}: {told}", "<=" if end in ("_flips", "_false") else ">=")
        for arm, words in (
            ("field_frames_compose", "frames and samples"),
            ("compose", "samples alone"),
            ("pool", "samples in pixels of the pool"),
        )
        for end, told in (
            ("", "holdout AP50 above that without them, points"),
            ("_champion", "holdout AP50 above the first detector, points"),
            ("_class", "the worst class of the holdout, points"),
            ("_flips", "holdout objects lost, share"),
            ("_false", "false detections of the holdout more than without them"),
        )
    },
    "G10_parents": Bar("pictures that judge and may give pixels", "<="),
    "G10_near": Bar("samples within 4 bits of a picture that judges", "<="),
    "G9": Bar("label against the box of what is kept of the object, IoU", ">="),
    "G9_share": Bar("objects of which that is 0.7 or more, share", ">="),
    "G11": Bar("plans drawn again to the same bytes, share", ">="),
    "G13": Bar("processor seconds a candidate of 256 x 192", "<="),
}
CARLA = "@carla"
"""What the name of a bar ends in that was measured there."""
SYNTHESIS |= {f"{name}{CARLA}": Bar(f"CARLA: {b.words}", b.sense) for name, b in SYNTHESIS.items()}
UNITS = {
    f"{name}_{database}": Bar(f"{words}, {shown}", ">=")
    for database, shown in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL"))
    for name, words in (
        ("units_times_before", "empty units a second by two workers, times those of before"),
        ("units_a_processor_second_times_before", "the same, a second of processor time"),
    )
}
DRIFT = {
    **{
        f"false_{world}": Bar(f"false alarms of drift in 100 still days, {words}", "<=")
        for world, words in (("few_drives", "4 drives a day"), ("many_drives", "10 drives a day"))
    },
    **{
        f"seen_{world}": Bar(f"strong changes seen within a week, the worst, {words}", ">=")
        for world, words in (("few_drives", "4 drives a day"), ("many_drives", "10 drives a day"))
    },
}
CHAOS = {
    "units": Bar("units asked for while whatever they need is killed or cut off", ">="),
    "bad": Bar("of them lost, given up or done twice, and objects that are missing", "<="),
}
BACKUP = {
    "images": Bar("pictures of a project that works while it is copied", ">="),
    "holds": Bar("every invariant holds in what is restored (1: `doctor --deep` says so)", ">="),
    "seconds": Bar("to copy, restore and examine it, s", "<="),
}
GROWTH = {
    "frames": Bar("field frames through one set of processes", ">="),
    "memory": Bar("memory of the process that grew most after the warm-up, share", "<="),
    "replaced": Bar("processes that were replaced meanwhile", "<="),
    "descriptors": Bar("descriptors more, of the process that has most more", "<="),
    "files": Bar("files more that are neither pictures nor found in them", "<="),
}
HOSTS = {"two_to_one": Bar("explanations a second by two hosts, times those of one", ">=")}
FILES: dict[str, tuple[str, dict[str, Bar]]] = {
    "loop-street.json": ("The loop, street world", LOOP),
    "loop-street-fog.json": ("The loop, street world, all of the field in fog", LOOP),
    "loop-street-away.json": ("The loop, street world, the cause far from the object", LOOP),
    "loop-carla.json": ("The loop, CARLA", LOOP),
    "fidelity.json": ("Explanations, SSDLite-EfficientNet-Lite0", FIDELITY),
    "fidelity-ssdlite320_mobilenet_v3_large.json": ("Explanations, MobileNetV3", FIDELITY),
    "fidelity-ssd300_vgg16.json": ("Explanations, SSD300-VGG16", FIDELITY),
    "fidelity-rivals.json": ("Explanations beside rivals, look-alikes and bad boxes", RIVALS),
    "synthesis.json": ("Drawn samples, street world and CARLA", SYNTHESIS),
    "detectors.json": ("Detectors", DETECTORS),
    "first.json": ("The first detector, trained by patience", FIRST),
    "retrieval.json": ("Index at size", RETRIEVAL),
    "scale.json": ("A pool that grows", SCALE),
    "latency.json": ("From a report to its label task", LATENCY),
    "speed-cpu.json": ("Speed without a GPU", SPEED),
    "units.json": ("Units of work", UNITS),
    "drift.json": ("Drift", DRIFT),
    "chaos-sqlite.json": ("Units while processes are killed, SQLite", CHAOS),
    "chaos-postgresql.json": ("Units while processes are killed, PostgreSQL and a store", CHAOS),
    "backup.json": ("Backup and restore", BACKUP),
    "growth.json": ("Bounded growth", GROWTH),
    "hosts.json": ("Two hosts", HOSTS),
}


def page() -> str:
    """All bars; one whose interval straddles it, or that has none, is open."""
    lines = [
        "<!-- Written by docs/generated.py from benchmarks/results: measure, do not edit. -->",
        "",
        "# All bars",
        "",
        "A bar is met where its whole 95 % interval is on the right side, missed where all of it",
        "is on the wrong one, open otherwise; without an interval the value alone is judged, and",
        "said so. Each file holds the command that made it, the machine and the versions.",
        "",
    ]
    for file, (title, bars) in FILES.items():
        if not (RESULTS / file).is_file():
            lines += [f"## {title}", "", "Not measured yet.", ""]
            continue
        document = json.loads((RESULTS / file).read_text())
        lines += [f"## {title}", "", f"`benchmarks/results/{file}`", ""]
        lines += ["| bar | goal | measured | |", "|---|---|---|---|"]
        for name, said in document.get("bars", {}).items():
            if name in bars and said.get("value") is not None:
                lines.append(row(bars[name], said))
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def table(document: dict[str, Any], known: dict[str, Bar], names: Collection[str]) -> list[str]:
    """Those of a document's bars as a table, in its order; those on CARLA without saying so."""
    return ["| bar | goal | measured | |", "|---|---|---|---|"] + [
        row(known[name.removesuffix(CARLA)], said)
        for name, said in document["bars"].items()
        if name in names and name in known and said["value"] is not None
    ]


def row(bar: Bar, said: dict[str, Any]) -> str:
    """A bar as a line of a table."""
    value, low, high, goal = (said.get(key) for key in ("value", "low", "high", "bar"))
    sign = "≥" if bar.sense == ">=" else "≤"
    measured = number(value)
    if low is not None and high is not None:
        measured += f" [{number(low)}, {number(high)}]"
    judged = judge(bar, value, low, high, float(goal))
    return f"| {bar.words} | {sign} {number(goal)} | {measured} | {judged} |"


def judge(bar: Bar, value: float, low: float | None, high: float | None, goal: float) -> str:
    """Whether a bar is met by the whole interval."""
    found = state(value, low, high, goal, bar.sense)
    return f"{found} (no interval)" if low is None or high is None or low == high else found


def number(value: float) -> str:
    """Three figures, without an exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.4f}"

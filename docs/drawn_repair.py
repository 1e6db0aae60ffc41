"""What drawn samples repair, as a section of their page: arms by cause, and what follows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import bars

ARMS = {
    "same_data": "nothing new, trained again",
    "field_frames": "failing frames with their truth",
    "field_frames_compose": "**frames, and samples with what the transplant game blames**",
    "field_frames_elsewhere": "frames, and the same shape from a random place of another frame",
    "field_frames_whole": "frames, and all of twice the box, with its light: no explanation",
    "field_frames_random": "frames, and a random part of the same window, as large",
    "field_frames_supporting": "frames, and the regions that support a detection",
    "field_frames_unblamed": "frames, and what the game does not blame of the same window",
    "field_frames_pasted": "frames, and known objects pasted at random",
    "field_frames_pool": "frames, and what was blamed in pixels of the pool",
    "compose": "samples with what the game blames, without the frames",
    "pool": "**samples in pixels of the unlabelled pool, no field frame**",
    "pool_lacking": "the same, of a pool without the causes",
    "retrieval_lacking": "E2X buys 75 boxes of a pool without the causes",
    "selection": "E2X buys 75 boxes",
    "random_boxes": "75 boxes at random",
    "field_frames_selection": "frames, and E2X buys 75 boxes",
    "selection_compose": "E2X buys 75 boxes, and samples with what the game blames",
}
RIVALS = {
    "pasted": "known objects pasted at random",
    "supporting": "the regions that support a detection",
    "unblamed": "what the game does not blame of the same window",
}
INTRODUCTION = """
The first detectors of the loop's street world are fine-tuned on the seed set and what an arm adds.
Half of the failing frames of each failure mode teach, the others have no part; what hurts comes
from those that teach, of the modes with a hidden cause of missed objects, and up to 100 samples are
kept as the service keeps them, a quarter of them controls among what does no harm. Samples of the
rivals that reproduce no failure make up their number, so that all train on as many. Judged on
siblings alone, objects with a hidden cause in frames that nobody sees: the share that the first
detector missed and the new one finds, in points, with 95 % intervals over seeds and frames; by
cause, fixed of missed. Beside it the holdout: points of AP50 above the first detector, the share of
its objects that are lost (flips), false detections, all seeds together. Arms that draw nothing and
buy of the whole pool are the loop's own runs, of the same first detectors: paired by seed alone.
"""
ON_CARLA = """
The detector of CARLA's towns 01 and 02, trained again on their frames, and on these with samples
that are drawn as the service draws them: of every mode of missed objects in the field, which is an
eighth of towns 03 to 05, half of the frames teach, eight misses at most give what hurts. All other
frames of these towns judge, and nothing is bought of them. On CARLA not even an oracle's labels
repair much more than training again does ([loop](loop.md)): so what is asked is whether samples do
harm, and no gain is claimed. Points of AP50 above the first detector, the share of its objects that
are lost (flips), false detections; 95 % intervals over stretches of ten frames of a drive.
"""


def section(document: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown; none where nothing was trained."""
    part = document["parts"].get("training")
    if part is None:
        return
    lines, reached = part["table"], document["bars"]
    causes = sorted({cause for line in lines for cause in line["by_cause"]})
    yield from ("", "# What drawn samples repair", "", textwrap.fill(INTRODUCTION.strip(), 100), "")
    told = " | ".join(cause.replace("_", " ") for cause in causes)
    yield f"| trained on | seeds | fixed, points | {told} | samples | AP50 | flips | false |"
    yield "|---" * (7 + len(causes)) + "|"
    for line in lines:
        yield _row(line, causes)
    yield ""
    for sentence in sentences({line["arm"]: line for line in lines}, reached):
        yield textwrap.fill(sentence, 100)
        yield ""
    first = next(line["false_detections"][0] for line in lines if line["false_detections"])
    yield textwrap.fill(
        f"Seeds {', '.join(map(str, part['seeds']))}; the recipe was chosen on seed 2. The first "
        f"detectors have {first} false detections in all. Every unit of work: "
        f"`benchmarks/results/synthesis-units.jsonl`. `{part['command']}`.",
        100,
    )


def on_real_pictures(document: Mapping[str, Any]) -> Iterator[str]:
    """What drawn samples do to CARLA's towns; nothing where it was not measured."""
    part = document["parts"].get("training_carla")
    if part is None:
        return
    yield from ("", "## Do they harm a detector of real pictures?", "")
    yield textwrap.fill(ON_CARLA.strip(), 100)
    yield from ("", "| trained on | seeds | samples | AP50 | flips | false | siblings fixed |")
    yield "|---" * 7 + "|"
    for line in part["table"]:
        value, low, high = line["fixed"]
        yield (
            f"| {ARMS[line['arm']]} | {line['seeds']} | {_samples(line)} | {line['map50']:+.1f} "
            f"| {line['negative_flips']:.1%} | {line['false_detections'][1]} "
            f"| {value:.1f} [{low:.1f}, {high:.1f}] |"
        )
    names = [name for name in document["bars"] if name.startswith(("G7_", "G10_"))]
    yield ""
    yield from bars.table(
        dict(document), bars.SYNTHESIS, [name for name in names if name.endswith(bars.CARLA)]
    )
    yield ""
    for arm, told in part["holdout"].items():
        value, low, high = (100 * share for share in told["flips_above"])
        yield textwrap.fill(
            f"The first detector finds {told['found']:.0f} objects, in {told['groups']:.0f} "
            f"stretches of a drive. The share of them that is lost: {ARMS[arm]}, "
            f"{value:+.1f} points [{low:.1f}, {high:.1f}] against training again on the same data.",
            100,
        )
    yield ""
    first = next(line["false_detections"][0] for line in part["table"])
    yield textwrap.fill(
        f"Seeds {', '.join(map(str, part['seeds']))}. The first detector has {first} false "
        f"detections. PyTorch {part['versions']['torch']}; `{part['command']}`.",
        100,
    )


def _samples(line: Mapping[str, Any]) -> str:
    told = f"{line['drawn']:.0f}" if line["drawn"] else ""
    return told if line["reproduced"] is None else f"{told} ({line['reproduced']:.0%} reproduce)"


def _row(line: Mapping[str, Any], causes: list[str]) -> str:
    value, low, high = line["fixed"]
    by_cause = line["by_cause"]
    cells = ["{} of {}".format(*by_cause[cause]) if by_cause else "" for cause in causes]
    false = line["false_detections"][1] if line["false_detections"] else ""
    return (
        f"| {ARMS[line['arm']]} | {line['seeds']} | {value:.1f} [{low:.1f}, {high:.1f}] "
        f"| {' | '.join(cells)} | {_samples(line)} | {line['map50']:+.1f} "
        f"| {line['negative_flips']:.1%} | {false} |"
    )


def sentences(
    lines: Mapping[str, Mapping[str, Any]], reached: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """What the figures say, as the README may quote it."""
    if "G3b_at_all" in reached:
        yield (
            f"Beside the failing frames, which alone fix {_share(lines, 'field_frames')} of the "
            f"siblings that were missed, drawn samples bring it to "
            f"{_share(lines, 'field_frames_compose')}: {_points(reached['G3b_at_all'])}."
        )
    if "G3b_pool" in reached:
        yield (
            f"Samples in pixels of the unlabelled pool alone, without any frame of the field, fix "
            f"{_share(lines, 'pool')}: {_points(reached['G3b_pool'])} against the frames."
        )
    if "G4_repair_elsewhere_at_all" in reached:
        yield (
            f"What hurt {_verdict(reached['G4_repair_elsewhere_at_all'])} the same shape from a "
            f"random place: {_points(reached['G4_repair_elsewhere_at_all'])}. Of these "
            f"{lines['field_frames_elsewhere']['reproduced']:.0%} make the detector fail too, and "
            "those are trained on first: that a sample reproduces a failure does not yet make it "
            "worth training on."
        )
    if "G4_repair_whole_at_all" in reached:
        yield (
            "Does explaining add anything to the lazy recipe, the whole surroundings? What the "
            f"transplant game blames {_verdict(reached['G4_repair_whole_at_all'])} it: "
            f"{_points(reached['G4_repair_whole_at_all'])}."
        )
    if "G4_repair_random_at_all" in reached:
        yield (
            f"Nor is it certain which part of the failing frame it is: what is blamed "
            f"{_verdict(reached['G4_repair_random_at_all'])} a random part of the same window, as "
            f"large: {_points(reached['G4_repair_random_at_all'])}."
            if reached["G4_repair_random_at_all"]["low"] <= 0
            else f"What is blamed repairs more than a random part of the same window, as large: "
            f"{_points(reached['G4_repair_random_at_all'])}."
        )
    for rival, words in RIVALS.items():
        said = reached.get(f"G4_repair_{rival}_at_all")
        if said:
            yield f"What is blamed {_verdict(said)} {words}: {_points(said)}."
    if "pool_lacking" in lines:
        yield (
            "Samples in pixels of a pool that holds none of the causes fix "
            f"{_share(lines, 'pool_lacking')}: what hurts has to be somewhere."
            if lines["pool_lacking"]["fixed"][0] < lines["pool"]["fixed"][0] / 2
            else "Samples in pixels of a pool that holds none of the causes fix "
            f"{_share(lines, 'pool_lacking')}; with the causes, {_share(lines, 'pool')}."
        )
    if "G5_at_all" in reached:
        yield (
            f"Beside 75 boxes that E2X buys, samples bring it from {_share(lines, 'selection')} to "
            f"{_share(lines, 'selection_compose')}: {_points(reached['G5_at_all'])}."
        )


def _verdict(said: Mapping[str, Any]) -> str:
    if said["low"] > 0:
        return "repairs more than"
    return "repairs less than" if said["high"] < 0 else "cannot be told apart from"


def _points(said: Mapping[str, Any]) -> str:
    return f"{said['value']:+.1f} points [{said['low']:.1f}, {said['high']:.1f}]"


def _share(lines: Mapping[str, Mapping[str, Any]], arm: str) -> str:
    return f"{lines[arm]['fixed'][0]:.0f} %"

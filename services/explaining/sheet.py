"""Outcomes of :mod:`services.explaining.one_image` as a picture and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from curation import draw, superpixels
from curation.draw.sheet import Panel, columns_for, sheet
from curation.kernel.types import Box, FloatArray, ImageArray, Region
from curation.superpixels import SegmentArray
from services.explaining.one_image import Outcome, Subject

ALONE_PX, MANY_PX = 900, 420
"""Width of a panel that is alone, and of one of many."""
LONGEST_NOTE = 130
LONGEST_ERROR = 400


def picture(
    image: ImageArray,
    outcomes: Sequence[Sequence[Outcome]],
    truth: Sequence[Box] = (),
    heading: str = "",
    panel_width_px: int | None = None,
) -> ImageArray:
    """One sheet of all subjects and methods.

    Args:
        image: [H, W, 3] uint8.
        outcomes: a row of methods for each subject, at least one.
        truth: boxes of annotated objects, drawn beside several methods.
        heading: a line over the sheet.
        panel_width_px: of each panel; None for 900 where it is alone, else 420.

    Returns:
        [H', W', 3] uint8: one large panel; or the subjects in a grid where one method explains
        them; or for each subject the image beside all methods.
    """
    if len(outcomes[0]) == 1:
        panels = [_panel(image, row[0], with_words=True) for row in outcomes]
        width = panel_width_px or (ALONE_PX if len(panels) == 1 else MANY_PX)
        return sheet(panels, columns_for(len(panels), 4), width, heading)
    pages = []
    for row in outcomes:
        panels = [_image_panel(image, row[0].subject, truth)]
        panels += [_panel(image, outcome) for outcome in row]
        title = f"{heading}: {row[0].subject.words}" if heading else row[0].subject.words
        pages.append(sheet(panels, columns_for(len(panels)), panel_width_px or MANY_PX, title))
    return np.concatenate(pages)


def _image_panel(image: ImageArray, subject: Subject, truth: Sequence[Box]) -> Panel:
    annotated = [*truth, subject.box]  # px of the image; the drawing scales them with it
    colours = [draw.TRUTH] * len(truth) + [draw.DETECTED]
    texts = [""] * len(truth) + [subject.words]
    drawn = draw.boxes(image, annotated, colours, texts, _scale(image))
    return Panel(subject.words, "red supports it, blue hurts it", drawn)


def _panel(image: ImageArray, outcome: Outcome, with_words: bool = False) -> Panel:
    title = f"{outcome.subject.words}: {outcome.method}" if with_words else outcome.method
    if outcome.attribution is None:
        return Panel(title, words=_short(outcome.error, LONGEST_ERROR))
    words = outcome.subject.words if with_words else ""
    drawn = draw.overlay(
        image, outcome.attribution, outcome.subject.box, words, scale=_scale(image)
    )
    return Panel(title, caption(outcome), drawn)


def caption(outcome: Outcome) -> str:
    """Score, samples, segments, cost, and what else must be known."""
    attribution = outcome.attribution
    assert attribution is not None
    unit = str(attribution.parameters.get("kind", "")).replace("_", " ")
    parts = [f"{unit or 'score'} {attribution.score:.3g}"]
    known = attribution.parameters
    samples = known.get("num_samples", known.get("num_masks"))
    if samples is not None:
        parts.append(f"K {samples}")
    parts.append(f"{superpixels.count(attribution.segments)} segments")
    if outcome.inputs:
        parts.append(f"{outcome.inputs} inputs")
    parts.append(
        f"{outcome.seconds:.2g} s" if outcome.seconds < 9.95 else f"{outcome.seconds:.0f} s"
    )
    lines = [", ".join(parts)]
    return "\n".join(lines + [_short(note, LONGEST_NOTE) for note in outcome.notes])


def as_json(outcomes: Sequence[Sequence[Outcome]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Everything about the outcomes in plain JSON types; NaN becomes null."""
    return [
        {
            "box": [round(value, 2) for value in row[0].subject.box],
            "label": names[row[0].subject.target.label],
            "default_box": row[0].subject.target.default_box,
            "probability": row[0].subject.probability,
            "words": row[0].subject.words,
            "explanations": [_outcome_json(outcome) for outcome in row],
        }
        for row in outcomes
    ]


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    cost = {"seconds": round(outcome.seconds, 4), "inputs": outcome.inputs}
    found = outcome.attribution
    if found is None:
        return {"method": outcome.method, "error": outcome.error, **cost}
    return {
        "method": outcome.method,
        "parameters": dict(found.parameters),
        "score": found.score,
        "baseline_score": _number(found.baseline_score),
        "completeness_error": _number(found.completeness_error),
        "values": _numbers(found.values),
        "standard_errors": _numbers(found.standard_errors),
        "region_values": _numbers(found.for_regions()[0]),
        "regions": [_region_json(region) for region in outcome.regions],
        "notes": list(outcome.notes),
        **cost,
    }


def _region_json(region: Region) -> dict[str, Any]:
    return {
        "box": [round(value, 1) for value in region.box_xyxy],
        "weight": round(region.weight, 5),
        "only_with": region.only_with,
        "value": float(region.value),
        "segments": list(region.segments),
    }


def segment_centres(segments: SegmentArray, size_wh: tuple[int, int]) -> list[list[float]]:
    """[S, 2] mean x and y of each segment, px of the original image."""
    height, width = segments.shape
    scale = np.array(size_wh) / (width, height)
    centres = superpixels.centroids_xy(segments) * scale
    return [[round(float(x), 1), round(float(y), 1)] for x, y in centres]


def _numbers(values: FloatArray) -> list[float | None]:
    return [_number(float(value)) for value in values]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scale(image: ImageArray) -> int:
    """So that lines and text of a small image are as fine as those of a large one."""
    return max(1, round(640 / int(image.shape[1])))


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"

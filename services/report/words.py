"""Rows in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from services.db.tables import (
    TAKEN_BACK,
    CandidateRow,
    Cycle,
    Explanation,
    FailureRow,
    FailureState,
    GeneratedRow,
)
from services.labeling import outcomes
from services.modes.trends import FAMILY_KINDS, state_in_words
from services.plain import beside
from services.report.page import Lineage, Outcome
from services.report.read import CycleRows, ModeRows, ReportRows, Sample

SHORT_ID = 8
KINDS = {
    "false_negative": "missed",
    "false_positive": "seen where there is none",
    "wrong_class": "taken for another class",
    "bad_localisation": "badly located",
}
MECHANISMS = {
    "calibration_or_nms": "found, but scored too low or suppressed",
    "other_class": "found as another class",
    "background": "taken for background",
    "box_regression": "found, but its box is off",
    "no_default_box": "no default box fits",
}


def headed(label: str) -> str:
    """A class name at the begin of a heading; the rest of it stays as it is."""
    return label[:1].upper() + label[1:]


def failure_title(failure: FailureRow) -> str:
    """What went wrong, as a heading."""
    match failure.kind:
        case "false_negative":
            return f"Missed {failure.label}"
        case "false_positive":
            return f"No {failure.label} there"
        case "wrong_class":
            return f"{headed(failure.label)}, taken for {failure.predicted_label}"
        case _:
            return f"{headed(failure.label)}, badly located"


def failure_facts(failure: FailureRow, frame: str) -> str:
    """Small print about a failure."""
    parts = [frame, f"score {failure.score:.0%}", f"failure {failure.id[:SHORT_ID]}"]
    if failure.mechanism:
        parts.insert(1, MECHANISMS.get(failure.mechanism, failure.mechanism))
    if not failure.proposed:
        parts.append("nothing proposed it: explained at the closest default box")
    if failure.source == "operator":
        parts.append("reported by an operator")
    return " · ".join(parts)


def outcome(
    rows: ReportRows, cycle: Cycle, failure: FailureRow, right: bool | None
) -> Outcome | None:
    """What became of a failure: as it is recorded, else as the cycle's model shows it.

    Args:
        rows: of the page.
        cycle: that retrained on its account.
        failure: with its state of now.
        right: whether the cycle's model gets it right; None if that is unknown.
    """
    if failure.state == FailureState.FIXED and failure.fixed_by is not None:
        later = "" if failure.fixed_by == cycle.challenger_id else " later,"
        return Outcome(f"fixed{later} by {rows.number(failure.fixed_by)}", "good")
    if right is None:
        return None
    if not right:
        return Outcome("not fixed", "bad")
    # Right in the picture, yet open: rejected by the gate, or a later champion fails again.
    why = "still open" if cycle.promoted else "not promoted"
    return Outcome(f"right with {rows.number(cycle.challenger_id)}, {why}", "plain")


def mode_state(state: str) -> Outcome:
    """The state of a failure mode."""
    verdicts: dict[str, Literal["good", "bad"]] = {"fixed": "good", "re_opened": "bad"}
    return Outcome(state_in_words(state), verdicts.get(state, "plain"))


def mode_kind(family: str, kind: str) -> str:
    """How most failures of a mode go wrong, where its name does not say it."""
    return "" if FAMILY_KINDS[family] == kind else f"most are {KINDS[kind]}"


def next_steps(rows: ReportRows) -> list[tuple[str, str]]:
    """What to do, and how, where there is no cycle yet."""
    steps = []
    if not rows.models:
        steps.append(("Import labelled images and train the first detector:", "e2x train"))
        steps.append(("Or add the detector that you have:", "e2x models add WEIGHTS"))
    if not sum(rows.failure_states.values()):
        steps.append(("No failure has been found so far. Report field frames:", "e2x ingest"))
    return [*steps, ("Let the loop explain and repair the failures:", "e2x cycle run")]


def percent(share: float | None) -> str:
    """A share as text."""
    return "–" if share is None else f"{share:.0%}"


def region_weights(explanation: Explanation | None) -> str:
    """The regions of an explanation by their share of the harm."""
    if explanation is None:
        return "not explained"
    if not explanation.regions:
        return "no region stands out"
    shares = ", ".join(f"{region['weight']:.0%}" for region in explanation.regions)
    many = len(explanation.regions)
    told = [
        f"region {number} hurts only with {beside(region)}"
        for number, region in enumerate(explanation.regions, 1)
        if beside(region)
    ]
    said = f"{many} region{'s' if many > 1 else ''}: {shares} of the harm"
    return "; ".join([said, *told])


def objects_in_words(objects: Sequence[dict[str, Any]]) -> str:
    """Such as ``2 car, 1 bus``."""
    counted = Counter(entry["label"] for entry in objects)
    return ", ".join(f"{count} {label}" for label, count in counted.most_common()) or "nothing"


def sample_state(sample: Sample) -> str:
    """What became of an image that was asked for."""
    if sample.annotation is not None:
        return f"labelled: {objects_in_words(sample.annotation.objects)}"
    return outcomes.words_of(None if sample.task is None else sample.task.state, sample.look)


def best_matches(candidate: CandidateRow) -> list[dict[str, Any]]:
    """What resembles the harmful regions most, and what the object, where there are such."""
    best: dict[bool, dict[str, Any]] = {}
    for reason in sorted(candidate.reasons, key=lambda reason: float(reason["similarity"])):
        best[reason.get("query", 0) < 0] = reason
    return list(best.values())


def match_in_words(candidate: CandidateRow) -> str:
    """How a sample was found."""
    matches = best_matches(candidate)
    if not matches:
        return "by the whole image"
    best = max(matches, key=lambda match: float(match["similarity"]))
    what = "the object" if best.get("query", 0) < 0 else "a harmful region"
    return f"like {what}, {float(best['similarity']):.2f}"


def lineage(rows: ReportRows, cycle: CycleRows, mode: ModeRows) -> list[Lineage]:
    """The way from failure to model, a line each sample."""
    by_id = {failure.id: failure for failure in (*mode.failures, *mode.taken_back)}
    model = rows.model(cycle.cycle.challenger_id)
    dataset = rows.datasets.get(cycle.cycle.dataset_version_id or "")
    trained = f"model {model.number}, {model.state}" if model else "not trained yet"
    if dataset is not None and model is not None:
        trained += f" (dataset {dataset.id[:SHORT_ID]})"
    lines = []
    for sample in mode.samples:
        failure = by_id.get(sample.candidate.failure_id or "")
        lines.append(
            Lineage(
                failure=_failure_in_words(rows, failure) if failure else "the mode as a whole",
                regions=region_weights(rows.explanations.get(failure.id)) if failure else "",
                sample=f"{sample.image.name} ({match_in_words(sample.candidate)})",
                label=_label_in_words(sample),
                model=trained if sample.annotation is not None else "not trained on",
            )
        )
    return lines


def _failure_in_words(rows: ReportRows, failure: FailureRow) -> str:
    image = rows.images[failure.image_id]
    since = f" ({failure.state} since)" if failure.state in TAKEN_BACK else ""
    return f"{failure.id[:SHORT_ID]} {KINDS[failure.kind]} {failure.label}, {image.name}{since}"


def _label_in_words(sample: Sample) -> str:
    annotation = sample.annotation
    if annotation is None:
        return sample_state(sample)
    words = objects_in_words(annotation.objects)
    return f"{words} (revision {annotation.revision}, {annotation.author})"


def drawn_state(row: GeneratedRow) -> str:
    """What became of a drawn sample, and who made it."""
    why = f": {row.reason}" if row.reason else ""
    return (
        f"sample {row.id}, {row.state} by {row.decided_by}{why}; {row.generator}, seed {row.seed}"
    )


def drawn_in_words(drawing: dict[str, Any] | None, mode_id: int) -> str:
    """What came of drawing for a mode; "" where nothing was asked for."""
    if drawing is None:
        return ""
    if drawing["why"]:
        return f"Nothing was drawn: {drawing['why']}."
    own = next((one for one in drawing["modes"] if one["mode"] == mode_id), None)
    if own is None or own["why"]:
        return f"Nothing was drawn: {own['why']}." if own else ""
    told = f"{own['drawn']} drawn, {own['kept']} passed the checks."
    if any(own.get("sources", {}).values()):
        parts = [f"{count} from the {place}" for place, count in own["sources"].items()]
        told += f" Pixels of what hurt: of {' and of '.join(parts)}."
    for one in own.get("by", [own]):
        told += _against_controls(one)
    return told


_DOES = {
    "lookalike": "What was blamed is taken for an object {:.0%} more often, where nothing is, than "
    "what is none",
    "insert": "In scenes of the pool that resemble what hurt, {:.0%} more of the known objects "
    "fail than in others",
}


def _against_controls(one: dict[str, Any]) -> str:
    if one.get("difference") is None:
        return " No control could be drawn: none is kept." if one.get("works") is False else ""
    usual = "What was blamed makes {:.0%} more of the known objects fail than what does no harm"
    said = _DOES.get(one.get("staging", ""), usual).format(one["difference"])
    told = f" {said} ({one['low']:.0%} to {one['high']:.0%})."
    return told if one["works"] else told + " That is too little: none is kept."


def drawing_facts(cycle: Cycle) -> list[tuple[str, str]]:
    """What came of drawing samples in a cycle, and what it has gone on without."""
    told = cycle.drawing
    drawn = ""
    if told is not None:
        drawn = told["why"] or f"{told['kept']} kept, {told['refused']} refused"
        if told["waiting"]:
            drawn += f", {told['waiting']} wait for a person"
    chosen = (cycle.decision or {}).get("drawn")
    which = "" if chosen is None else f"the challenger {chosen['chosen']} them was chosen"
    return [("Drawn samples", drawn), ("With or without", which), ("Note", cycle.note or "")]

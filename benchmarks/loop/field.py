"""The rival that learns from the failing frames themselves, dealt as the service deals them.

Some frames of each failure mode teach, their truth is known and costs nothing; the others judge.
Whether the judges are worth anything is measured too: what they say of a mode is compared with
what unseen siblings of its failures say, by the rule of the service.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.common.keep import kept
from benchmarks.loop.arms import Deal
from benchmarks.loop.evidence import cause_of, shown
from benchmarks.loop.prepare import Prepared
from benchmarks.loop.worlds import Sample, World
from curation.failures import FailureRules, find_failures
from curation.kernel.images import perceptual_hash
from curation.kernel.types import Failure, FailureKind
from curation.modes import Mode
from curation.modes.dealing import Side, deal
from curation.modes.states import ModeState, Progress, StateRules, next_state
from retrain.detector import SsdDetector
from services.db.tables import FailureRow, FailureState
from services.failures.places import Places
from services.selection.parents import frames_of, groups_of

Count = tuple[int, int]
"""Places where the new detector still fails, of those where the old one did."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """The failing frames of a world by side.

    Attributes:
        parents: frames that teach.
        judges: frames that judge.
        modes: what was dealt.
    """

    parents: tuple[Sample, ...]
    judges: tuple[Sample, ...]
    modes: tuple[Mode, ...]


def deal_frames(prepared: Prepared, how: Deal) -> Dealt:
    """Deal the failing frames of all modes.

    Args:
        prepared: the world, with its failures.
        how: at a share of 0 all judge.
    """
    world, modes = prepared.world, prepared.modes("negative")
    known = [failure.evidence["negative"] for failure in prepared.failures]
    frames = frames_of(known, modes)
    alone = how.lone_teaches and bool(world.siblings)
    sides = deal(groups_of(frames), {}, how.share, lone_teaches=alone)
    side_of = {name: sides.get(group) for own in frames.values() for name, group in own.items()}
    failing = [sample for sample in world.field if sample.name in side_of]
    return Dealt(
        tuple(one for one in failing if side_of[one.name] is Side.PARENT),
        tuple(one for one in failing if side_of[one.name] is not Side.PARENT),
        tuple(modes),
    )


def taught(prepared: Prepared, dealt: Dealt) -> Prepared:
    """The same world for policies: nobody is asked for the like of a frame, of either side.

    They are told of how many boxes each mode is taught by its own frames.
    """
    world = prepared.world
    boxes = {sample.name: float(len(sample.truth)) for sample in dealt.parents}
    frame_of = {failure.name: failure.sample for failure in prepared.failures}
    frames = {mode.key: {frame_of[name] for name in mode.members} for mode in dealt.modes}
    hashes = tuple(
        perceptual_hash(world.image(sample)) for sample in (*dealt.parents, *dealt.judges)
    )
    return replace(
        prepared,
        excluded_hashes=prepared.excluded_hashes + hashes,
        taught={key: sum(boxes.get(name, 0.0) for name in own) for key, own in frames.items()},
    )


def judged(prepared: Prepared, dealt: Dealt, detector: SsdDetector, folder: Path) -> dict[str, Any]:
    """What judges, parents and siblings say of a new detector.

    Args:
        prepared: the world, with the failures of the detector before.
        dealt: its frames.
        detector: the new one.
        folder: for what is kept between arms.

    Returns:
        ``parents`` and ``judges``, the number of frames; ``judges_fixed`` and ``parents_fixed``,
        the share of the places that failed and fail no more; ``modes``, for each mode its cause
        and a ``Count`` by each of the three; siblings count none where the cause is not known.
    """
    world = prepared.world
    old = {failure.name: failure for failure in prepared.failures}
    frames = failures_of(detector, world, [*dealt.parents, *dealt.judges])
    before = dict(
        kept(
            folder / "siblings-before.pickle",
            lambda: failures_of(prepared.detector, world, world.siblings).items(),
        )
    )
    after = failures_of(detector, world, world.siblings)
    teaching = {sample.name for sample in dealt.parents}
    modes: list[dict[str, Any]] = []
    for mode in dealt.modes:
        cause = cause_of_most([old[name].cause for name in mode.members])
        sides: dict[bool, dict[str, list[Failure]]] = {True: {}, False: {}}
        for one in (old[name] for name in mode.members):
            own = sides[one.sample in teaching]
            own.setdefault(one.sample, []).append(one.failure)
        alike = _siblings(world, before, mode, cause)
        modes.append(
            {
                "mode": f"{mode.family} {world.class_names[mode.label]} {mode.key[:8]}",
                "cause": cause,
                "judges": still_failing(sides[False], frames, world),
                "parents": still_failing(sides[True], frames, world),
                "siblings": still_failing(alike, after, world),
            }
        )
    return {
        "parents": len(dealt.parents),
        "judges": len(dealt.judges),
        "judges_fixed": _share_fixed([one["judges"] for one in modes]),
        "parents_fixed": _share_fixed([one["parents"] for one in modes]),
        "modes": modes,
    }


def failures_of(
    detector: SsdDetector, world: World, samples: Sequence[Sample]
) -> dict[str, list[Failure]]:
    """All failures of a detector in these samples, by sample."""
    found = {}
    for sample in shown(samples, "images judged"):
        image = world.image(sample)
        (detections,), (proposals,) = detector.predict([image]), detector.propose([image])
        found[sample.name] = find_failures(detections, proposals, sample.truth, FailureRules())
    return found


def still_failing(
    before: Mapping[str, Sequence[Failure]], after: Mapping[str, Sequence[Failure]], world: World
) -> Count:
    """At how many places of before it fails after, told as the service tells places.

    Args:
        before: failures by sample.
        after: the same of another detector, of these samples at least.
        world: whose classes.
    """
    failing = total = 0
    for name, failures in before.items():
        places = Places(_row(failure, world) for failure in after[name])
        failing += sum(places.has(_row(failure, world)) for failure in failures)
        total += len(failures)
    return failing, total


def is_fixed(count: Sequence[int], rules: StateRules = StateRules()) -> bool:
    """Whether a mode that was open is fixed now, by the rule of the service."""
    failing, places = count
    known = Progress(places=places, failing=failing, new_champion=True)
    return next_state(ModeState.OPEN, known, rules) is ModeState.FIXED


def _siblings(
    world: World, before: Mapping[str, Sequence[Failure]], mode: Mode, cause: str | None
) -> dict[str, list[Failure]]:
    """Failures of the old detector among the siblings that are the mode's: cause, class, family."""
    if cause is None:
        return {}
    false = mode.family == "false"
    return {
        sample.name: [
            failure
            for failure in before[sample.name]
            if failure.label == mode.label
            and (failure.kind is FailureKind.FALSE_POSITIVE) == false
            and cause_of(sample, failure) == cause
        ]
        for sample in world.siblings
    }


def cause_of_most(causes: Sequence[str | None]) -> str | None:
    """That of at least half of a mode's failures; None where there is none."""
    cause, count = Counter(causes).most_common(1)[0]
    return cause if 2 * count >= len(causes) else None


def _share_fixed(counts: Sequence[Count]) -> float | None:
    failing, places = (sum(column) for column in zip(*counts, strict=True))
    return 1 - failing / places if places else None


def _row(failure: Failure, world: World) -> FailureRow:
    return FailureRow(
        kind=failure.kind,
        label=world.class_names[failure.label],
        box=list(failure.box_xyxy),
        truth_index=failure.truth_index,
        state=FailureState.FOUND,
    )

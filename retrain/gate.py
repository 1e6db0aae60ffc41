"""The decision to promote: a challenger must hold everywhere and improve where it was aimed.

Pure: reports in, a verdict with its table out. A check that has nothing to look at is skipped and
says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from retrain.config import GateRules
from retrain.errors import ReportMismatch
from retrain.report import EvaluationReport, require_comparable

_EPSILON = 1e-9  # bounds are shares of counts: 0.02 must admit 1 of 50
_NAMES_TOLD = 5


@dataclass(frozen=True, slots=True)
class GateInputs:
    """What is known of one side, champion or challenger.

    Attributes:
        holdout: report on the holdout.
        siblings: report on the siblings of the failures; None where there are none.
        fixed: failure id to whether it is (still) right, for failures that earlier cycles fixed.
        modes: failure mode to the share of its objects that is found, 0..1; targeted modes only.
        holdout_labels: names of the objects that count on the holdout, whether or not the model
            has a class for them; only told, where nothing could be measured.
        by_siblings: those of ``modes`` whose frames all teach, so that the share is of the
            siblings' objects of the class; only told.
        unjudged: targeted modes that nobody can judge; only told.
    """

    holdout: EvaluationReport
    siblings: EvaluationReport | None = None
    fixed: Mapping[str, bool] = field(default_factory=dict)
    modes: Mapping[str, float] = field(default_factory=dict)
    holdout_labels: Collection[str] = ()
    by_siblings: Collection[str] = ()
    unjudged: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the verdict's table.

    Attributes:
        name: what was compared.
        champion: its value, None where it does not apply.
        challenger: its value.
        bound: what the challenger had to keep to; see ``reason`` for the sense.
        passed: True, False, or None where the check was skipped.
        reason: one sentence.
    """

    name: str
    champion: float | None
    challenger: float | None
    bound: float | None
    passed: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to promote, and why."""

    promote: bool
    checks: tuple[Check, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"promote": self.promote, "checks": [asdict(check) for check in self.checks]}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Verdict:
        """The verdict that :meth:`to_dict` described."""
        return Verdict(bool(values["promote"]), tuple(Check(**row) for row in values["checks"]))


def decide(champion: GateInputs, challenger: GateInputs, rules: GateRules = GateRules()) -> Verdict:
    """Promote only if nothing is lost beyond its bound and a targeted mode improved.

    Args:
        champion: the model in use.
        challenger: the one that wants its place, on the same data.
        rules: the bounds.

    Returns:
        The verdict; no check may fail. Skipped checks do not count against the challenger, but
        without a holdout mAP there is nothing that speaks for it either.

    Raises:
        ReportMismatch: the two sides were measured on different data.
    """
    require_comparable(champion.holdout, challenger.holdout)
    checks = (
        _holdout(champion, challenger, rules),
        *_class_checks(champion.holdout, challenger.holdout, rules),
        _negative_flips(champion.holdout, challenger.holdout, rules),
        _siblings(champion, challenger, rules),
        _reopened(champion.fixed, challenger.fixed, rules),
        _modes(champion, challenger, rules),
    )
    return Verdict(all(check.passed is not False for check in checks), checks)


def not_worse(without: GateInputs, drawn: GateInputs, rules: GateRules = GateRules()) -> Verdict:
    """Whether a challenger that learned from drawn samples holds against the one that did not.

    Not whether it is better: two trainings on nearly the same images differ by chance, and what is
    better must show against the champion.

    Args:
        without: the challenger without drawn samples.
        drawn: the one with them, on the same data.
        rules: the bounds.

    Raises:
        ReportMismatch: the two sides were measured on different data.
    """
    require_comparable(without.holdout, drawn.holdout)
    checks = (
        _drop("holdout mAP", without.holdout.map, drawn.holdout.map, RIVAL_MAP_DROP),
        _negative_flips(without.holdout, drawn.holdout, rules),
        _siblings(without, drawn, replace(rules, max_sibling_drop=0.0)),
        _modes_found(without.modes, drawn.modes),
    )
    return Verdict(all(check.passed is not False for check in checks), checks)


RIVAL_MAP_DROP = 0.003
"""What two trainings on the same images differ by."""


def _modes_found(before: Mapping[str, float], after: Mapping[str, float]) -> Check:
    name = "targeted modes, on average"
    if set(before) != set(after):
        raise ReportMismatch(f"modes differ: {sorted(set(before) ^ set(after))[:3]}")
    if not before:
        return _skipped(name, "no mode was targeted")
    was, now = (sum(one.values()) / len(one) for one in (before, after))
    return _drop(name, was, now, 0.0)


def nothing_to_measure(class_names: Sequence[str], labels: Collection[str]) -> str:
    """Why a holdout measures nothing, and what to do about it.

    Args:
        class_names: of the model, background first.
        labels: names of the objects that count on the holdout.
    """
    has = _told(sorted(labels)) if labels else "none at all"
    return (
        f"the holdout has no object of {_told(class_names[1:])} (it has {has}): import a holdout "
        "with labels of these classes"
    )


def _told(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _NAMES_TOLD} more"] if len(names) > _NAMES_TOLD else []
    return ", ".join([*names[:_NAMES_TOLD], *more])


def _skipped(name: str, reason: str) -> Check:
    return Check(name, None, None, None, None, f"skipped: {reason}")


def _drop(name: str, before: float | None, after: float | None, allowed: float) -> Check:
    if before is None or after is None:
        return _skipped(name, "no objects to measure it on")
    bound = before - allowed
    passed = after >= bound - _EPSILON
    return Check(name, before, after, bound, passed, f"must reach {bound:.4f}")


def _holdout(champion: GateInputs, challenger: GateInputs, rules: GateRules) -> Check:
    name, before, after = "holdout mAP", champion.holdout.map, challenger.holdout.map
    if before is None or after is None:
        reason = nothing_to_measure(champion.holdout.class_names, champion.holdout_labels)
        return Check(name, before, after, None, False, f"nothing was measured: {reason}")
    return _drop(name, before, after, rules.max_map_drop)


def _class_checks(
    champion: EvaluationReport, challenger: EvaluationReport, rules: GateRules
) -> Iterator[Check]:
    for label, before in champion.per_class.items():
        name, after = f"holdout AP50 of {label}", challenger.per_class[label]
        if before.num_objects < rules.min_class_objects:
            reason = f"{before.num_objects} objects, judged from {rules.min_class_objects}"
            yield Check(name, before.ap50, after.ap50, None, None, f"skipped: {reason}")
        else:
            yield _drop(name, before.ap50, after.ap50, rules.max_class_drop)


def _negative_flips(
    champion: EvaluationReport, challenger: EvaluationReport, rules: GateRules
) -> Check:
    name = "negative flips"
    pairs = list(zip(champion.objects, challenger.objects, strict=True))
    found = sum(before.found for before, _ in pairs)
    if not found:
        return _skipped(name, "the champion found nothing")
    lost = sum(before.found and not after.found for before, after in pairs)
    bound = rules.max_negative_flips + rules.noise_floor
    reason = f"{lost} of {found} found objects are missed now; at most {bound:.1%}"
    return Check(name, 0.0, lost / found, bound, lost / found <= bound + _EPSILON, reason)


def _siblings(champion: GateInputs, challenger: GateInputs, rules: GateRules) -> Check:
    name = "siblings found"
    if champion.siblings is None or challenger.siblings is None:
        return _skipped(name, "no siblings were given")
    require_comparable(champion.siblings, challenger.siblings)
    return _drop(
        name,
        champion.siblings.found_share,
        challenger.siblings.found_share,
        rules.max_sibling_drop,
    )


def _reopened(before: Mapping[str, bool], after: Mapping[str, bool], rules: GateRules) -> Check:
    name = "fixed failures that open again"
    fixed = sorted(identity for identity, right in before.items() if right)
    if not fixed:
        return _skipped(name, "none were fixed so far")
    missing = [identity for identity in fixed if identity not in after]
    if missing:
        raise ReportMismatch(f"the challenger was not asked about fixed failures {missing[:3]}")
    share = sum(not after[identity] for identity in fixed) / len(fixed)
    reason = f"{round(share * len(fixed))} of {len(fixed)}; at most {rules.max_reopened:.1%}"
    return Check(
        name, 0.0, share, rules.max_reopened, share <= rules.max_reopened + _EPSILON, reason
    )


def _modes(champion: GateInputs, challenger: GateInputs, rules: GateRules) -> Check:
    name, before, after = "targeted modes", champion.modes, challenger.modes
    if set(before) != set(after):
        raise ReportMismatch(f"modes differ: {sorted(set(before) ^ set(after))[:3]}")
    if not before:
        nobody = "no frame is left to judge those that were" if champion.unjudged else ""
        return _skipped(name, nobody or "no mode was targeted")
    best = max(before, key=lambda mode: (after[mode] - before[mode], mode))
    bound = before[best] + rules.min_mode_gain
    improved = [mode for mode in before if after[mode] > before[mode] + rules.min_mode_gain]
    reason = f"{len(improved)} of {len(before)} improved; the best is {best}"
    if champion.by_siblings:
        reason += f"; judged by siblings: {_told(sorted(champion.by_siblings))}"
    if champion.unjudged:
        reason += f"; judged by nobody: {_told(sorted(champion.unjudged))}"
    return Check(name, before[best], after[best], bound, bool(improved), reason)

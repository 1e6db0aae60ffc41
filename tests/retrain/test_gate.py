"""The gate: each rule alone can stop a challenger, skipped checks say so."""

import json
from dataclasses import replace

import pytest

from retrain.config import GateRules
from retrain.errors import ReportMismatch
from retrain.gate import GateInputs, Verdict, decide, not_worse
from retrain.report import ClassMetrics, EvaluationReport, ObjectOutcome


def report(found=90, total=100, version="holdout", ap=0.6, red=0.9, blue=0.8, rare=0.5):
    objects = tuple(
        ObjectOutcome(f"{row:03d}", 0, "red", row < found, 0.9 if row < found else 0.0)
        for row in range(total)
    )
    return EvaluationReport(
        detector_version="d",
        manifest_version=version,
        class_names=("background", "red", "blue", "rare"),
        score_threshold=0.5,
        iou_threshold=0.5,
        map=ap,
        map50=0.8,
        per_class={
            "red": ClassMetrics(0.5, red, 60),
            "blue": ClassMetrics(0.5, blue, 40),
            "rare": ClassMetrics(0.5, rare, 3),
        },
        per_size={},
        per_size50={},
        objects=objects,
    )


CHAMPION = GateInputs(
    holdout=report(),
    siblings=report(20, 50, "siblings"),
    fixed={f"f{row}": True for row in range(20)},
    modes={"bus behind car": 0.1, "gravel": 0.5},
)
BETTER = replace(
    CHAMPION,
    siblings=report(30, 50, "siblings"),
    modes={"bus behind car": 0.6, "gravel": 0.5},
)


def failed(verdict):
    return [check.name for check in verdict.checks if check.passed is False]


def test_a_better_challenger_is_promoted():
    verdict = decide(CHAMPION, BETTER)
    assert verdict.promote
    assert failed(verdict) == []
    assert len(verdict.checks) == 8
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"holdout": report(ap=0.6 - 0.004)}, "holdout mAP"),
        ({"holdout": report(red=0.9 - 0.021)}, "holdout AP50 of red"),
        ({"holdout": report(blue=0.8 - 0.021)}, "holdout AP50 of blue"),
        ({"holdout": report(found=88)}, "negative flips"),
        ({"siblings": report(19, 50, "siblings")}, "siblings found"),
        (
            {"fixed": {f"f{row}": row > 1 for row in range(20)}},
            "fixed failures that open again",
        ),
        ({"modes": {"bus behind car": 0.1, "gravel": 0.5}}, "targeted modes"),
    ],
)
def test_each_rule_alone_stops_it(change, name):
    verdict = decide(CHAMPION, replace(BETTER, **change))
    assert not verdict.promote
    assert failed(verdict) == [name]


@pytest.mark.parametrize(
    "change",
    [
        {"holdout": report(ap=0.6 - 0.003)},
        {"holdout": report(red=0.9 - 0.02)},
        {"holdout": report(found=89)},
        {"holdout": report(rare=0.0)},
        {"siblings": report(20, 50, "siblings")},
        {"fixed": {f"f{row}": row > 0 for row in range(20)}},
        {"modes": {"bus behind car": 0.05, "gravel": 0.6}},
    ],
)
def test_within_the_bound_it_passes(change):
    assert decide(CHAMPION, replace(BETTER, **change)).promote


def test_bounds_are_settings():
    worse = replace(BETTER, holdout=report(found=85))
    assert not decide(CHAMPION, worse).promote
    assert decide(CHAMPION, worse, GateRules(noise_floor=0.04)).promote
    assert decide(CHAMPION, worse, GateRules(max_negative_flips=0.06)).promote
    small_gain = replace(BETTER, modes={"bus behind car": 0.12, "gravel": 0.5})
    assert not decide(CHAMPION, small_gain, GateRules(min_mode_gain=0.05)).promote


def test_skipped_checks_say_why():
    bare = GateInputs(holdout=report())
    verdict = decide(bare, bare)
    assert verdict.promote
    skipped = {c.name: c.reason for c in verdict.checks if c.passed is None}
    assert set(skipped) == {
        *("holdout AP50 of rare", "siblings found"),
        *("fixed failures that open again", "targeted modes"),
    }
    assert all(reason.startswith("skipped: ") for reason in skipped.values())
    assert "3 objects" in skipped["holdout AP50 of rare"]


def test_failures_that_were_open_before_do_not_count():
    before = replace(CHAMPION, fixed={"a": True, "b": False})
    assert decide(before, replace(BETTER, fixed={"a": True, "b": False})).promote


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("RED", "bleu"), "no object of red, blue, rare (it has RED, bleu)"),
        ((), "no object of red, blue, rare (it has none at all)"),
        (tuple("abcdefg"), "(it has a, b, c, d, e, and 2 more)"),
    ],
)
def test_nothing_is_promoted_on_a_holdout_that_measures_nothing(labels, said):
    empty = replace(report(0, 0), map=None)
    champion = replace(CHAMPION, holdout=empty, holdout_labels=labels)
    verdict = decide(champion, replace(BETTER, holdout=empty, holdout_labels=labels))
    assert not verdict.promote
    assert failed(verdict) == ["holdout mAP"]
    (reason,) = [check.reason for check in verdict.checks if check.name == "holdout mAP"]
    assert said in reason
    assert "import a holdout with labels of these classes" in reason


@pytest.mark.parametrize(
    "change",
    [
        {"holdout": report(version="other")},
        {"holdout": report(90, 99)},
        {"siblings": report(30, 50, "other siblings")},
        {"fixed": {"f0": True}},
        {"modes": {"gravel": 0.5}},
    ],
)
def test_what_does_not_compare_is_an_error(change):
    with pytest.raises(ReportMismatch):
        decide(CHAMPION, replace(BETTER, **change))


def targeted(champion: GateInputs, challenger: GateInputs):
    (check,) = [c for c in decide(champion, challenger).checks if c.name == "targeted modes"]
    return check


def test_it_is_told_who_judged_a_mode_whose_frames_all_teach():
    told = {"by_siblings": ["gravel"], "unjudged": ["sun", "rain"]}
    check = targeted(replace(CHAMPION, **told), replace(BETTER, **told))
    assert check.passed
    assert check.reason.endswith("; judged by siblings: gravel; judged by nobody: rain, sun")


def test_where_nobody_is_left_to_judge_no_mode_is_improved_or_not():
    told = {"modes": {}, "unjudged": ["sun"]}
    check = targeted(replace(CHAMPION, **told), replace(BETTER, **told))
    assert check.passed is None
    assert check.reason == "skipped: no frame is left to judge those that were"
    nothing = {"modes": {}, "unjudged": []}
    check = targeted(replace(CHAMPION, **nothing), replace(BETTER, **nothing))
    assert check.reason == "skipped: no mode was targeted"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"holdout": report(ap=0.59)}, "holdout mAP"),
        ({"holdout": report(found=80)}, "negative flips"),
        ({"siblings": report(29, 50, "siblings")}, "siblings found"),
        ({"modes": {"bus behind car": 0.4, "gravel": 0.6}}, "targeted modes, on average"),
    ],
)
def test_drawn_samples_may_make_nothing_worse(change, name):
    assert not_worse(BETTER, BETTER).promote
    verdict = not_worse(BETTER, replace(BETTER, **change))
    assert not verdict.promote
    assert failed(verdict) == [name]


def test_drawn_samples_need_not_make_anything_better_than_the_other_challenger():
    within = replace(BETTER, holdout=report(ap=0.598))
    assert not_worse(BETTER, within).promote
    with pytest.raises(ReportMismatch, match="modes differ"):
        not_worse(BETTER, replace(BETTER, modes={}))

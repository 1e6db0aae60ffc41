"""Passes go where the answer is open: regions are removed before they are named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from curation import superpixels
from curation.explain import coalition_gp
from curation.explain.allocation import Looked, in_turns
from curation.explain.belief import Posterior, believed
from curation.explain.coalition_fit import Layout
from curation.explain.gp_shap import GPShap, sample_masks
from curation.explain.hurting import candidates, helpful_first, hurting_regions
from curation.kernel.types import Attribution, Box, ScoreTarget
from curation.regions import RegionRules, harmful_regions
from tests.toy import ConvToy, textured_image

SEGMENTS = superpixels.grid((48, 48), 36)
WHOLE: Box = (0.0, 0.0, 48.0, 48.0)
FIRST, SECOND = 0, 35
Array = npt.NDArray[np.float32]


def belief_of(game: Callable[[Array], float], masks: Array) -> Posterior:
    scores = np.array([game(mask) for mask in masks], np.float32)
    return believed(masks, scores, Layout(np.ones(masks.shape[1])))


def attributed(belief: Posterior, shown: float = 0.75) -> Attribution:
    values, errors = belief.banzhaf(shown)
    return Attribution(
        ScoreTarget(0, 1), SEGMENTS, values, errors, 0.0, 0.0, "gp_shap", belief=belief
    )


def looked(belief: Posterior, positive: bool = False) -> Looked:
    return Looked(attributed(belief), positive, (48, 48), WHOLE)


def removing(
    game: Callable[[Array], float], belief: Posterior, box: Box = WHOLE
) -> tuple[Looked, list[list[int]]]:
    """What is known once all was removed that is asked for, and what was, in order."""
    removed: list[list[int]] = []

    def seen() -> Looked:
        return Looked(attributed(belief), False, (48, 48), box)

    groups = seen().untested()
    while groups:
        removed += [np.flatnonzero(group).tolist() for group in groups]
        rows = np.array([~group for group in groups], np.float32)
        belief = belief.and_more(rows, np.array([game(row) for row in rows], np.float32))
        groups = seen().another()
    return seen(), removed


@pytest.fixture(scope="module")
def masks() -> Array:
    return sample_masks(36, 96, np.random.default_rng(1))


def strongest_in_vain(mask: Array) -> float:
    """The first hurts most on average, but not while nearly all is shown; the second always."""
    return float(-3.0 * mask[FIRST] * (mask.mean() < 0.9) - 1.5 * mask[SECOND])


def test_a_removal_is_measured_where_it_was_tried_and_else_predicted(masks: Array) -> None:
    belief = belief_of(lambda mask: -3.0 * mask[FIRST] - 1.5 * mask[SECOND], masks)
    groups = [np.array([FIRST]), np.array([FIRST, SECOND])]
    guessed = belief.removals(groups)
    for guess, expected in zip(guessed, (-3.0, -4.5), strict=True):
        assert guess.error > 0
        assert abs(guess.value - expected) < max(0.3, 3 * guess.error)
    without = np.ones((1, 36), np.float32)
    without[0, FIRST] = 0
    known = belief.and_more(without, np.array([-1.5], np.float32)).removals(groups)
    assert known[0].value == pytest.approx(-3.0)
    assert known[0].error == 0
    assert 0 < known[1].error < guessed[1].error


def test_a_region_that_was_removed_in_vain_stands_behind_the_others(masks: Array) -> None:
    belief = belief_of(strongest_in_vain, masks)
    regions = harmful_regions(attributed(belief), False, (48, 48), RegionRules(), WHOLE)
    assert [region.segments for region in regions[:2]] == [(FIRST,), (SECOND,)]
    assert helpful_first(attributed(belief), False, regions) == regions  # nothing was removed
    without = np.ones((1, 36), np.float32)
    without[0, FIRST] = 0
    seen = belief.and_more(without, np.array([strongest_in_vain(without[0])], np.float32))
    assert helpful_first(attributed(seen), False, regions)[0].segments == (SECOND,)
    assert helpful_first(attributed(seen), True, regions)[0].segments == (SECOND,)


def test_several_are_removed_and_more_until_one_is_seen_to_hurt(masks: Array) -> None:
    known, removed = removing(strongest_in_vain, belief_of(strongest_in_vain, masks))
    assert removed[0] == [FIRST]
    assert any(SECOND in group for group in removed)
    assert removed.count([FIRST]) == 1
    first = known.regions()[0]
    assert SECOND in first.segments
    assert FIRST not in first.segments


def weaker_in_the_image(mask: Array) -> float:
    """The first does most on average and a little in the image, where the second does more."""
    faint = 3.0 if mask.mean() < 0.8 else 0.5
    return float(-faint * mask[FIRST] - 1.5 * mask[SECOND])


def test_what_helps_most_when_removed_is_named_before_what_does_most_on_average(
    masks: Array,
) -> None:
    belief = belief_of(weaker_in_the_image, masks)
    assert looked(belief).regions()[0].segments == (FIRST,)
    seen = belief
    for group in ([FIRST], [SECOND]):
        without = np.ones((1, 36), np.float32)
        without[0, group] = 0
        told = np.array([weaker_in_the_image(without[0])], np.float32)
        seen = seen.and_more(without, told)
    first, *others = looked(seen).regions()
    assert first.segments == (SECOND,)
    assert (FIRST,) in [region.segments for region in others]
    assert sum(region.weight for region in (first, *others)) == pytest.approx(1.0)


def test_a_stronger_cause_far_from_the_object_is_named_before_one_near_it(masks: Array) -> None:
    def game(mask: Array) -> float:
        return float(-1.0 * mask[FIRST] - 2.5 * mask[SECOND])

    corner: Box = (0.0, 0.0, 16.0, 16.0)  # the second lies outside of twice this box
    belief = belief_of(game, masks)
    assert Looked(attributed(belief), False, (48, 48), corner).regions()[0].segments == (FIRST,)
    known, removed = removing(game, belief, corner)
    assert removed[:2] == [[FIRST], [SECOND]]
    assert [region.segments for region in known.regions()] == [(SECOND,), (FIRST,)]


def test_what_is_named_for_its_removal_counts_as_much_as_any_other(masks: Array) -> None:
    """The second does little on average, and holds the score back in the image as it is."""

    def game(mask: Array) -> float:
        held_back = -4.0 if mask.mean() > 0.9 else -0.3
        return float(-1.0 * mask[FIRST] + held_back * mask[SECOND])

    seen = belief_of(game, masks)
    for group in ([FIRST], [SECOND]):
        without = np.ones((1, 36), np.float32)
        without[0, group] = 0
        seen = seen.and_more(without, np.array([game(without[0])], np.float32))
    named = looked(seen).regions()
    assert named[0].segments == (SECOND,)
    assert all(0 < region.weight <= 1 for region in named)
    assert sum(region.weight for region in named) == pytest.approx(1.0)
    assert named[0].weight == max(region.weight for region in named)


def test_a_wider_candidate_is_no_large_part_of_the_image(masks: Array) -> None:
    many = belief_of(lambda mask: -0.1 * float(mask[:18].sum()) - 0.2 * float(mask[FIRST]), masks)
    asked = attributed(many), False, (48, 48), RegionRules(z=100.0), WHOLE  # near it: one alone
    assert all(len(region.segments) <= 7 for region in candidates(*asked))


def test_several_that_do_a_little_each_are_named_together(masks: Array) -> None:
    beside = [1, 2, 6, 7, 8, 12]

    def game(mask: Array) -> float:
        return float(-1.0 * mask[FIRST] - 0.07 * mask[beside].sum())

    belief = belief_of(game, masks)
    alone = harmful_regions(attributed(belief), False, (48, 48), RegionRules(), WHOLE)[0]
    known, _ = removing(game, belief)
    first = known.regions()[0]
    assert set(alone.segments) < set(first.segments)
    assert set(first.segments) <= {FIRST, *beside}


def only_in_vain(mask: Array) -> float:
    """The first hurts on average, but not while nearly all is shown; the second only then."""
    return float(
        -3.0 * mask[FIRST] * (mask.mean() < 0.9) - 0.4 * mask[SECOND] * (mask.mean() > 0.8)
    )


def test_another_region_is_looked_for_where_the_only_one_is_removed_in_vain(masks: Array) -> None:
    belief = belief_of(only_in_vain, masks)
    cut = harmful_regions(attributed(belief), False, (48, 48), RegionRules(), WHOLE)
    assert [region.segments for region in cut] == [(FIRST,)]
    assert looked(belief).regions()[0].segments == (FIRST,)
    known, removed = removing(only_in_vain, belief)
    assert removed[0] == [FIRST]
    assert SECOND in removed[-1]
    first, *others = known.regions()
    assert SECOND in first.segments
    assert [region.segments for region in others] == [(FIRST,)]
    named_first = hurting_regions(known.attribution, False, (48, 48), RegionRules(), WHOLE)[0]
    assert named_first.segments == first.segments


def test_a_cause_far_from_the_object_is_found_where_all_near_it_is_in_vain(masks: Array) -> None:
    corner: Box = (0.0, 0.0, 16.0, 16.0)  # the second lies outside of twice this box
    belief = belief_of(strongest_in_vain, masks)
    before = Looked(attributed(belief), False, (48, 48), corner).regions()
    assert [region.segments for region in before] == [(FIRST,)]
    known, removed = removing(strongest_in_vain, belief, corner)
    assert removed[0] == [FIRST]
    assert [SECOND] in removed
    assert SECOND in known.regions()[0].segments


def test_what_was_removed_with_gain_is_named_in_the_place_of_its_like(masks: Array) -> None:
    """The window about the object lies a little beside the one about the default box."""
    beside = FIRST + 1
    belief = belief_of(lambda mask: -3.0 * mask[FIRST] - 2.0 * mask[beside], masks)
    assert looked(belief).regions()[0].segments == (FIRST, beside)
    without = np.ones((1, 36), np.float32)
    without[0, FIRST] = 0
    seen = belief.and_more(without, np.array([-2.0], np.float32))
    assert [group.tolist() for group in seen.removed()] == [[FIRST]]
    assert looked(seen).regions()[0].segments == (FIRST,)
    assert looked(belief.and_more(without, np.array([-9.0], np.float32))).regions()[0].segments != (
        FIRST,
    )  # without gain


def test_candidates_come_once_and_end(masks: Array) -> None:
    belief = belief_of(lambda mask: -float(mask[::5].sum()), masks)
    asked = attributed(belief), False, (48, 48), RegionRules(), WHOLE
    found = [region.segments for region in candidates(*asked)]
    assert len(set(found)) == len(found) > len(harmful_regions(*asked))
    harmless = belief_of(lambda mask: float(mask.sum()), masks)
    assert len(list(candidates(attributed(harmless), False, (48, 48), RegionRules(), WHOLE))) < 4


def test_confidence_is_that_of_the_strongest_among_equals_and_of_one_alone(masks: Array) -> None:
    alone = looked(belief_of(lambda mask: -3.0 * mask[FIRST], masks))
    assert alone.confidence() > 0.99
    equal = looked(belief_of(lambda mask: -mask[FIRST] - mask[SECOND], masks))
    assert 0.1 < equal.confidence() < 0.9


def asked(game: Callable[[Array], float], most: int = 128, certain: float = 0.95) -> list[int]:
    """How many masks of a game were scored, call by call."""
    calls: list[int] = []

    def scored(rows: Array) -> Array:
        calls.append(len(rows))
        return np.array([[game(row)] for row in rows], np.float32)

    every = sample_masks(36, most, np.random.default_rng(1))
    far = [Layout(np.ones(36))]
    found = in_turns(every, scored, far, lambda known: [looked(known[0])], most, 32, certain)
    assert sum(calls) == len(found[0].masks)
    return calls


def test_an_easy_game_takes_fewer_masks_than_a_hard_one_and_none_more_than_the_bound() -> None:
    easy = asked(lambda mask: -3.0 * mask[FIRST])
    assert easy == [32, 3]  # the first candidates were removed, and one of them helps
    hard = asked(lambda mask: -float(mask[::7].sum()))  # six that hurt alike
    assert sum(hard) > 2 * sum(easy)
    assert sum(hard) <= 128
    assert sum(asked(lambda mask: -float(mask[::7].sum()), certain=0.0)) < sum(hard)


def test_the_bound_holds_where_no_block_fits() -> None:
    assert sum(asked(lambda mask: -float(mask[::7].sum()), most=33)) <= 33


def test_the_same_seed_gives_the_same_answer_from_as_many_passes() -> None:
    toy, segments = ConvToy(2), superpixels.grid((24, 32), 36)
    targets = [ScoreTarget(box, 1) for box in range(3)]
    one, two = (
        GPShap(num_samples=120, first_samples=40).explain(toy, textured_image(3), targets, segments)
        for _ in range(2)
    )
    for left, right in zip(one, two, strict=True):
        np.testing.assert_array_equal(left.values, right.values)
        assert len(left.belief.masks) == len(right.belief.masks)  # type: ignore[union-attr]


def test_values_still_sum_to_the_difference_after_regions_were_removed() -> None:
    toy, segments = ConvToy(1), superpixels.grid((24, 32), 36)
    (found,) = GPShap(num_samples=96, first_samples=32).explain(
        toy, textured_image(1), [ScoreTarget(1, 1)], segments
    )
    assert found.completeness_error == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("is_linear", [False, True])
def test_scores_that_were_not_asked_for_tell_what_they_would_change(is_linear: bool) -> None:
    """The variance that a further mask takes is the same before it is scored and after."""
    rng = np.random.default_rng(2)
    known = sample_masks(8, 24, rng).astype(np.float64)
    root = rng.normal(size=(8, 8)) / 4
    rates = rng.uniform(0.05, 1.0, 8)
    kernel = coalition_gp.Kernel(rates, 0.01, root @ root.T if is_linear else None)
    other = 1.0 - np.eye(8)[:1]
    told = coalition_gp.predicted(known, rng.normal(size=len(known)), kernel, other)
    assert told[1][0] > 0
    again, error = coalition_gp.predicted(known, known[:, 0], kernel, known[:1])
    assert again[0] == pytest.approx(1.0, abs=1e-3)
    assert error[0] < 1e-2

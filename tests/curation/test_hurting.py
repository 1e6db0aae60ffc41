"""Regions that hurt only beside another are told, and no others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from curation import superpixels
from curation.explain.coalition_fit import Layout
from curation.explain.gp_shap import Posterior, believed, sample_masks
from curation.explain.hurting import SHOWN, hurting_regions
from curation.kernel.types import Attribution, ScoreTarget
from curation.regions import RegionRules, harmful_regions

SEGMENTS = superpixels.grid((64, 64), 64)
FIRST, SECOND, THIRD = 9, 14, 54
Array = npt.NDArray[np.float64]


def attributed(game: Array, masks: Array, hurts: float = -1.0) -> Attribution:
    count = masks.shape[1]
    noise = np.random.default_rng(7).normal(size=len(masks)) * 0.02
    scores = (hurts * game + noise).astype(np.float32)
    seen = believed(masks.astype(np.float32), scores, Layout(np.ones(count)))
    values, errors = seen.shapley()
    region_values, region_errors = seen.banzhaf(SHOWN)
    return Attribution(
        target=ScoreTarget(0, 1),
        segments=SEGMENTS,
        values=values,
        standard_errors=errors,
        score=float(scores[0]),
        baseline_score=float(scores[1]),
        method="gp_shap",
        region_values=region_values,
        region_errors=region_errors,
        belief=seen,
    )


@pytest.fixture(scope="module")
def masks() -> Array:
    count = superpixels.count(SEGMENTS)
    return sample_masks(count, 128, np.random.default_rng(3)).astype(np.float64)


def told(attribution: Attribution, positive: bool = False) -> dict[tuple[int, ...], int | None]:
    regions = hurting_regions(attribution, positive, (64, 64), RegionRules())
    plain = harmful_regions(attribution, positive, (64, 64), RegionRules())
    assert [region.segments for region in regions] == [region.segments for region in plain]
    return {
        region.segments: None if region.only_with is None else regions[region.only_with].segments[0]
        for region in regions
    }


@pytest.mark.parametrize("positive", [False, True])
def test_two_that_hurt_only_together_name_each_other(masks: Array, positive: bool) -> None:
    game = 2.0 * masks[:, FIRST] * masks[:, SECOND] + masks[:, THIRD]
    found = told(attributed(game, masks, 1.0 if positive else -1.0), positive)
    assert found == {(FIRST,): SECOND, (SECOND,): FIRST, (THIRD,): None}


def test_two_that_hurt_each_by_itself_name_nobody(masks: Array) -> None:
    found = told(attributed(2.0 * masks[:, FIRST] + masks[:, SECOND] + masks[:, THIRD], masks))
    assert found == {(FIRST,): None, (SECOND,): None, (THIRD,): None}


def test_what_hurts_by_itself_and_more_beside_another_names_nobody(masks: Array) -> None:
    game = masks[:, FIRST] + masks[:, SECOND] + masks[:, FIRST] * masks[:, SECOND]
    assert set(told(attributed(game, masks)).values()) == {None}


def test_one_that_needs_another_that_does_not_need_it(masks: Array) -> None:
    game = 1.5 * masks[:, FIRST] + 1.5 * masks[:, FIRST] * masks[:, SECOND]
    assert told(attributed(game, masks)) == {(FIRST,): None, (SECOND,): FIRST}


def test_a_method_that_knows_no_pairs_says_nothing(masks: Array) -> None:
    found = attributed(2.0 * masks[:, FIRST] * masks[:, SECOND], masks)
    plain = Attribution(
        found.target, found.segments, found.values, found.standard_errors, 0.0, 0.0, "lime"
    )
    assert all(
        region.only_with is None
        for region in hurting_regions(plain, False, (64, 64), RegionRules())
    )


def test_of_scores_that_no_mask_changes_nothing_is_believed() -> None:
    flat = Posterior(np.ones((4, 3), np.float32), np.ones(4, np.float32), Layout(np.ones(3)), None)
    table = flat.pairs([np.array([0]), np.array([2])], SHOWN)
    assert table[0][0] is None
    pair = table[0][1]
    assert pair is not None
    assert (pair.beside.value, pair.interaction.error) == (0.0, 0.0)
    assert not flat.interactions(SHOWN).any()

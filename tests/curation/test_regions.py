"""Regions: sign, significance, connection, weights, the window and the controls."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from curation import superpixels
from curation.kernel.types import Attribution, ScoreTarget
from curation.regions import Control, RegionRules, control_regions, harmful_regions
from tests.oracles.matching import iou

SEGMENTS = superpixels.grid((50, 50), 25)  # 5 x 5 cells of 10 px
SIZE_WH = (100, 200)
EVERYWHERE = RegionRules(focus_scale=float("inf"), min_share_of_peak=0)


def attribution(values: dict[int, float], errors: float | None = 0.0) -> Attribution:
    filled = np.zeros(25, np.float32)
    for segment, value in values.items():
        filled[segment] = value
    spread = np.full(25, np.nan if errors is None else errors, np.float32)
    return Attribution(ScoreTarget(0, 1), SEGMENTS, filled, spread, 0.0, 0.0, "e2x")


def harmful(values, positive=False, rules=EVERYWHERE, box=None, errors=0.0):
    return harmful_regions(attribution(values, errors), positive, SIZE_WH, rules, box)


def test_negative_neighbours_merge_and_others_stay_apart():
    first, second = harmful({0: -3.0, 1: -3.0, 24: -2.0, 12: 5.0})
    assert first.segments == (0, 1)
    assert second.segments == (24,)
    assert first.weight == pytest.approx(0.75)
    assert second.weight == pytest.approx(0.25)
    assert first.value == pytest.approx(-6)
    assert first.box_xyxy == (0, 0, 40, 40)  # 20 x 10 px of 50 x 50, on 100 x 200
    assert second.box_xyxy == (80, 160, 100, 200)
    assert first.mask.sum() == 200
    assert set(np.unique(SEGMENTS[first.ring])) == {2, 5, 6}


def test_diagonal_cells_do_not_touch():
    assert len(harmful({0: -1.0, 6: -1.0})) == 2


def test_for_a_false_positive_the_support_is_the_harm():
    (region,) = harmful({0: -3.0, 12: 5.0}, positive=True)
    assert region.segments == (12,)
    assert region.value == pytest.approx(5)


def test_only_harm_beyond_the_standard_error_counts():
    regions = harmful({0: -3.0, 24: -1.9}, errors=1.0)
    assert [region.segments for region in regions] == [(0,)]
    assert regions[0].weight == 1


def test_a_method_may_have_other_values_for_regions_than_those_it_shows():
    shown, own = attribution({0: -9.0, 12: -1.0}), attribution({12: -4.0, 24: -3.0}, 2.0)
    found = replace(shown, region_values=own.values, region_errors=own.standard_errors)
    (region,) = harmful_regions(found, False, SIZE_WH, replace(EVERYWHERE, z=1.9))
    assert region.segments == (12,)
    assert region.value == pytest.approx(-4)
    assert harmful_regions(found, True, SIZE_WH, EVERYWHERE) == []


def test_the_strongest_is_kept_where_nothing_is_certain():
    regions = harmful({0: -1.5, 24: -1.9}, errors=1.0)
    assert [region.segments for region in regions] == [(24,)]
    assert regions[0].weight == 1


def test_without_standard_errors_every_harm_counts():
    assert len(harmful({0: -1.5, 24: -1.9}, errors=None)) == 2


def test_nothing_harmful_gives_no_region():
    assert harmful({3: 1.0}) == []
    assert harmful({}) == []


def test_faint_harm_does_not_join_regions():
    values = {10: -10.0, 11: -0.5, 12: -9.0}
    assert len(harmful(values)) == 1
    assert len(harmful(values, rules=RegionRules(focus_scale=float("inf")))) == 2


def test_heaviest_regions_are_kept():
    values = {0: -5.0, 2: -4.0, 4: -3.0, 20: -2.0, 24: -0.1}
    rules = RegionRules(max_regions=3, focus_scale=float("inf"), min_share_of_peak=0)
    assert [region.segments for region in harmful(values, rules=rules)] == [(0,), (2,), (4,)]
    weights = [region.weight for region in harmful(values)]
    assert len(weights) == 4  # the fifth is lighter than min_weight
    assert weights == sorted(weights, reverse=True)


def test_window_looks_near_the_object_and_lifts_if_nothing_is_there():
    box = (40.0, 80.0, 60.0, 120.0)  # cell 12, in the middle
    rules = RegionRules(focus_scale=3.5)
    near = harmful({11: -1.0, 0: -9.0}, rules=rules, box=box)
    assert [region.segments for region in near] == [(11,)]
    assert near[0].weight == 1
    far = harmful({0: -9.0, 12: 2.0}, rules=rules, box=box)
    assert [region.segments for region in far] == [(0,)]


def test_harm_outside_of_the_window_counts_where_it_is_certain_and_as_strong():
    box, near, away = (40.0, 80.0, 60.0, 120.0), 12, 24
    rules = RegionRules(focus_scale=1.0, focus_min_share=0.1, away_z=3.3)

    def cut(at_box: float, elsewhere: float, errors: float | None) -> set[int]:
        regions = harmful({near: -at_box, away: -elsewhere}, False, rules, box, errors)
        return {segment for region in regions for segment in region.segments}

    assert cut(1.0, 1.5, 0.1) == {near, away}
    assert cut(1.0, 0.9, 0.1) == {near}  # certain, but less than what is near
    assert cut(1.0, 1.5, 0.49) == {near}  # as strong, but three errors are met by chance
    assert cut(1.0, 9.0, None) == {near}  # nothing says how certain it is
    rules = replace(rules, away_z=float("inf"))
    assert cut(1.0, 9.0, 0.1) == {near}


def test_window_of_a_small_object_reaches_its_surroundings():
    tiny = (49.0, 99.0, 51.0, 101.0)
    rules = RegionRules(focus_min_share=0.5)
    regions = harmful({11: -1.0, 12: -1.0, 10: -9.0}, rules=rules, box=tiny)
    assert [region.segments for region in regions] == [(11, 12)]


def controls(control, regions, values, box=(0.0, 0.0, 20.0, 40.0), seed=0):
    return control_regions(
        attribution(values), regions, control, False, SIZE_WH, EVERYWHERE, box,
        np.random.default_rng(seed),
    )  # fmt: skip


def test_random_control_has_the_sizes_and_weights_and_avoids_the_harm():
    values = {0: -3.0, 1: -3.0, 5: -3.0, 24: -2.0}
    regions = harmful(values)
    random = controls(Control.RANDOM, regions, values)
    assert [len(region.segments) for region in random] == [3, 1]
    assert [region.weight for region in random] == [region.weight for region in regions]
    used = [segment for region in random for segment in region.segments]
    assert len(used) == len(set(used))
    assert not set(used) & set(values)
    assert ndimage.label(random[0].mask)[1] == 1
    again = controls(Control.RANDOM, regions, values)
    assert [region.segments for region in again] == [region.segments for region in random]


def test_random_control_of_everything_is_still_a_region():
    values = dict.fromkeys(range(25), -1.0)
    (whole,) = harmful(values)
    (random,) = controls(Control.RANDOM, [whole], values)
    assert len(random.segments) == 25


def test_positive_control_takes_the_other_sign():
    values = {0: -3.0, 1: 2.0}
    (region,) = controls(Control.POSITIVE, harmful(values), values)
    assert region.segments == (1,)


def test_box_control_takes_the_object():
    values = {0: -3.0}
    (region,) = controls(Control.BOX, harmful(values), values, box=(18.0, 38.0, 62.0, 82.0))
    assert region.segments == (6, 7)
    assert region.weight == 1
    (small,) = controls(Control.BOX, harmful(values), values, box=(41.0, 41.0, 44.0, 44.0))
    assert small.segments == (7,)
    (tiny,) = controls(Control.BOX, harmful(values), values, box=(41.0, 41.0, 41.5, 41.5))
    assert tiny.segments == (7,)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_properties(seed, positive):
    rng = np.random.default_rng(seed)
    segments = superpixels.relabel(rng.integers(0, 12, (4, 5))).repeat(6, 0).repeat(6, 1)
    size = superpixels.count(segments)
    values = rng.normal(size=size).astype(np.float32)
    errors = np.abs(rng.normal(size=size)).astype(np.float32) * 0.3
    explained = Attribution(ScoreTarget(0, 1), segments, values, errors, 0, 0, "e2x")
    rules = RegionRules(max_regions=int(rng.integers(1, 6)), z=1.0)
    box = (10.0, 5.0, 40.0, 30.0)
    regions = harmful_regions(explained, positive, (60, 48), rules, box)
    harm = values if positive else -values
    assert (len(regions) > 0) == bool((harm > 0).any())
    assert len(regions) <= rules.max_regions
    assert sum(region.weight for region in regions) <= 1 + 1e-5
    taken = [segment for region in regions for segment in region.segments]
    assert len(taken) == len(set(taken))
    for region in regions:
        assert all(harm[segment] > 0 for segment in region.segments)
        assert region.weight > 0
        np.testing.assert_array_equal(region.mask, np.isin(segments, region.segments))
        assert not (region.mask & region.ring).any()
        x1, y1, x2, y2 = region.box_xyxy
        assert 0 <= x1 < x2 <= 60
        assert 0 <= y1 < y2 <= 48
        rows, columns = np.nonzero(region.mask)
        tight = (columns.min() * 2, rows.min() * 2, columns.max() * 2 + 2, rows.max() * 2 + 2)
        assert iou(region.box_xyxy, tight) == pytest.approx(1)


def test_impossible_rules_are_refused():
    for bad in ({"max_regions": 0}, {"focus_scale": 0.5}):
        with pytest.raises(ValueError, match="at least 1"):
            RegionRules(**bad)

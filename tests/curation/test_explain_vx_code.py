"""VX-CODE on games that can be solved by hand and against all groups tried by brute force."""

import itertools

import numpy as np
import pytest

from curation import superpixels
from curation.explain.methods.patch_grid import patches_of
from curation.explain.methods.vx_code import VxCode
from curation.kernel.types import ScoreTarget
from tests.toy import ConvToy, PolynomialToy, textured_image


def game(worth):
    """Rewards [B] of shown patches [B, P] from a function of the set of those shown."""

    def reward(shown):
        return np.array([worth(frozenset(np.flatnonzero(row))) for row in shown], np.float32)

    return reward


def additive(parts):
    return game(lambda shown: sum(parts[patch] for patch in shown))


def together(parts, pair, gain):
    return game(
        lambda shown: sum(parts[patch] for patch in shown) + gain * (set(pair) <= set(shown))
    )


def test_single_patches_go_by_what_they_add():
    reward = additive([0.1, 0.4, 0.2, 0.3])
    order = VxCode().order(reward, 4)
    assert [patch for patch, _ in order] == [1, 3, 2, 0]
    np.testing.assert_allclose([after for _, after in order], [0.4, 0.7, 0.9, 1.0], rtol=1e-6)
    # the first counts 1, the next what was still to gain: 1 - 0.4, 1 - 0.7, 1 - 0.9
    np.testing.assert_allclose(VxCode().values(reward, 4), [0.1, 1.0, 0.3, 0.6], atol=1e-6)
    deletion = VxCode(mode="deletion")
    assert [patch for patch, _ in deletion.order(reward, 4)] == [1, 3, 2, 0]
    np.testing.assert_allclose(deletion.values(reward, 4), [0.1, 1.0, 0.3, 0.6], atol=1e-6)


def test_a_patch_that_helps_only_beside_another_comes_right_after_it():
    reward = together([0.2, 0.1, 0.0, 0.1], (0, 2), 0.4)
    assert [patch for patch, _ in VxCode().order(reward, 4)][:2] == [0, 2]


def test_groups_find_what_no_patch_does_alone():
    reward = together([0.05, 0.1, 0.0, 0.05, 0.0], (2, 4), 0.6)
    assert VxCode().order(reward, 5)[0][0] == 1
    pairs = VxCode(group=2, group_share=1.0)
    assert {patch for patch, _ in pairs.order(reward, 5)[:2]} == {2, 4}
    # only the best alone are tried in groups: with two of them the pair is not seen
    few = VxCode(group=2, group_share=1.0, candidates=2)
    assert {patch for patch, _ in few.order(reward, 5)[:2]} == {0, 1}
    # after its share of the patches the search goes on by single ones
    assert len(VxCode(group=2, group_share=0.1).order(reward, 5)) == 5
    # what is left and odd is a smaller group; each patch comes once
    assert sorted(patch for patch, _ in VxCode(group=3, group_share=1.0).order(reward, 5)) == [
        *range(5)
    ]


def test_the_group_is_the_one_whose_values_and_interactions_sum_highest():
    """In the context of what is there they sum to the gain of the whole group."""
    rng = np.random.default_rng(2)
    table = {
        frozenset(shown): float(rng.random())
        for size in range(7)
        for shown in itertools.combinations(range(6), size)
    }
    chosen = VxCode(group=2, group_share=1.0).order(game(lambda shown: table[shown]), 6)
    there: frozenset[int] = frozenset()
    for step in range(0, 6, 2):
        pair = frozenset(patch for patch, _ in chosen[step : step + 2])
        left = set(range(6)) - there

        def sums(i, j, context=there):
            alone = [table[context | {one}] - table[context] for one in (i, j)]
            both = table[context | {i, j}] - table[context | {i}] - table[context | {j}]
            return sum(alone) + both + table[context]

        best = max(itertools.combinations(sorted(left), 2), key=lambda two: sums(*two))
        assert pair == set(best)
        there |= pair
        assert chosen[step + 1][1] == pytest.approx(table[there])
        first, second = (patch for patch, _ in chosen[step : step + 2])
        before = there - {first, second}
        assert table[before | {first}] >= table[before | {second}]


def test_patches_of_a_toy_come_in_the_order_of_what_they_are_worth():
    rng = np.random.default_rng(4)
    linear = rng.permutation(np.linspace(0.002, 0.03, 12))
    toy = PolynomialToy(linear, bias=-2)
    image = np.full((24, 32, 3), 200, np.uint8)
    toy.boxes_of = lambda image: np.array([(0, 0, 32, 24)] * 6, np.float32)  # a large box
    for mode in ("insertion", "deletion"):
        explainer = VxCode(mode=mode, max_patches=9)
        (result,) = explainer.explain(toy, image, [ScoreTarget(2, 1)], toy.segments)
        patches = patches_of((24, 32), np.array([0, 0, 32, 24]), 9)
        assert patches.count == 9
        worth = np.bincount(patches.cells.ravel(), linear[toy.segments].ravel())
        found = [result.pixels[patches.cells == patch] for patch in range(9)]
        assert all(len(np.unique(values)) == 1 for values in found)
        by_map = np.argsort([-values[0] for values in found], kind="stable")
        np.testing.assert_array_equal(by_map, np.argsort(-worth, kind="stable"))
        assert result.pixels.max() == 1
        assert result.pixels.min() >= 0


def test_passes_are_those_that_are_told():
    class Counting(ConvToy):
        proposed = 0

        def propose(self, images):
            self.proposed += len(images)
            return super().propose(images)

    toy, image = Counting(1), textured_image(1)
    segments = superpixels.grid(toy.input_size_hw, 12)
    VxCode(max_patches=12).explain(toy, image, [ScoreTarget(0, 1)], segments)
    aim = toy.boxes_of(image[::2, ::2])[0]
    count = patches_of(toy.input_size_hw, aim, 12).count
    assert toy.proposed == 1 + count * (count + 1) // 2
    assert 6 <= count <= 12


def test_patches_lie_near_a_small_box_and_everywhere_for_a_large_one():
    small = patches_of((240, 320), np.array([150.0, 110, 170, 130]), 1000)
    rows, columns = np.nonzero(small.cells >= 0)
    assert (small.cells == 0).sum() == pytest.approx(320 / 24 * 240 / 24, rel=0.15)
    # the window is a seventh of the sides around the box, by the middles of the patches
    assert columns.min() >= 150 - 320 / 7 - 7
    assert columns.max() <= 170 + 320 / 7 + 7
    assert rows.min() >= 110 - 240 / 7 - 6
    assert rows.max() <= 130 + 240 / 7 + 6
    assert small.count == len(np.unique(small.cells)) - 1
    large = patches_of((240, 320), np.array([0.0, 0, 200, 200]), 1000)
    assert (large.count, large.cells.min()) == (64, 0)
    assert patches_of((240, 320), np.array([100.0, 60, 200, 160]), 1000).count > 36
    few = patches_of((240, 320), np.array([100.0, 60, 200, 160]), 24)
    assert 9 <= few.count <= 24
    # a box at the edge, one without area, an image of few pixels
    assert patches_of((240, 320), np.array([-40.0, -40, -30, -30]), 10).count >= 1
    assert patches_of((240, 320), np.array([5.0, 5, 5, 5]), 1).count == 1
    assert patches_of((8, 8), np.array([0.0, 0, 8, 8]), 1000).count == 64


@pytest.mark.parametrize(
    "bad",
    [{"mode": "both"}, {"group": 4}, {"group_share": 2.0}, {"max_patches": 0}, {"fill": "pink"}],
)
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        VxCode(**bad)

"""What is asked of a box: exact sums, planted pulls with their signs, words, and agreement."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from curation import explain
from curation.explain import answers as said
from curation.explain import base, cost
from curation.explain.answers import Boxes
from curation.explain.questions import Question, answers, ends
from curation.explain.what import OFFSETS, What, can_answer
from curation.kernel.detector import GivesOutputs, ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.regions import RegionRules, harmful_regions
from tests.tiny_ssd import tiny_ssd
from tests.toy import PolynomialToy, textured_image

CELLS = 12
PULLED = {What.LEFT: 2, What.UP: 5, What.WIDE: 7, What.HIGH: 10}
"""Which cell pulls which way."""
BOX, LABEL = 4, 1


class BoxToy(PolynomialToy):
    """One cell pulls the box to the left, one up, one makes it wide and one high."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        super().__init__(rng.normal(0, 0.01, CELLS))
        pull = rng.normal(0, 1e-4, (CELLS, 4))
        sums = self.cell_sums(self.preprocess([PICTURE]))[0].numpy()
        for column, what in enumerate(OFFSETS):  # as an offset: to the right, down, wider, higher
            sign = -1.0 if what in (What.LEFT, What.UP) else 1.0
            pull[PULLED[what], column] = sign * 0.4 / sums[PULLED[what]]
        self.pull = torch.from_numpy(pull.astype(np.float32))

    def outputs(
        self, inputs: torch.Tensor, default_boxes: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.forward_rows += len(inputs)
        moved = self.cell_sums(inputs) @ self.pull  # [B, 4]
        offsets = moved[:, None].expand(-1, len(default_boxes), -1)
        return self.logits(inputs)[:, list(default_boxes)], offsets


PICTURE = textured_image(5)


@pytest.fixture
def toy() -> BoxToy:
    return BoxToy()


def of(what: What, rival: int | None = None) -> Question:
    return Question(what, BOX, LABEL, rival)


@pytest.mark.parametrize("method", ["gp_shap", "kernel_shap", "e2x", "integrated_gradients", "crp"])
def test_every_offset_is_a_question_that_the_default_method_answers_too(method: str) -> None:
    assert all(can_answer(method, what) for what in OFFSETS)
    assert can_answer("gp_shap", What.AGAINST)
    assert can_answer("odam", What.CLASS)
    assert not can_answer("odam", What.UP)


@pytest.mark.parametrize("method", ["gp_shap", "kernel_shap", "leverage_shap", "permutation_shap"])
def test_maps_of_offsets_sum_to_the_offset_and_find_the_pull_with_its_sign(
    toy: BoxToy, method: str
) -> None:
    questions = [of(what) for what in OFFSETS]
    explainer = explain.get(method, num_samples=64)
    for question, found in zip(
        questions, answers(explainer, toy, PICTURE, questions, toy.segments), strict=True
    ):
        full, empty = ends(toy, PICTURE, question)
        assert found.score == pytest.approx(full, abs=1e-5)
        assert found.baseline_score == pytest.approx(empty, abs=1e-6)
        assert found.values.sum() == pytest.approx(full - empty, abs=1e-4)
        assert int(np.abs(found.values).argmax()) == PULLED[question.what]
        assert found.values[PULLED[question.what]] == pytest.approx(0.4, abs=0.02)
        assert found.parameters["question"] == question.what


def test_all_questions_share_their_passes(toy: BoxToy) -> None:
    explainer = explain.get("gp_shap", num_samples=32)
    alone, together = [], []
    answers(explainer, toy, PICTURE, [of(What.LEFT)], toy.segments, alone.append)
    every = [of(what) for what in OFFSETS] + [of(What.CLASS), of(What.AGAINST, 2)]
    found = answers(explainer, toy, PICTURE, every, toy.segments, together.append)
    assert 30 <= alone[-1] <= together[-1] <= 32
    assert [one.target.label for one in found] == [LABEL] * 6
    difference = found[4].score  # log-odds among three classes, not the difference of two
    assert found[5].score != pytest.approx(difference)


def test_a_class_against_its_rival_is_the_difference_of_their_logits(toy: BoxToy) -> None:
    method = explain.get("kernel_shap", num_samples=64, kind="logit")
    own, rival, against = answers(
        method,
        toy,
        PICTURE,
        [of(What.CLASS), Question(What.CLASS, BOX, 2), of(What.AGAINST, 2)],
        toy.segments,
    )
    assert against.score == pytest.approx(own.score - rival.score, abs=1e-5)
    np.testing.assert_allclose(against.values, own.values - rival.values, atol=1e-5)


def test_a_detector_without_offsets_says_so_and_still_compares_classes() -> None:
    plain = PolynomialToy(np.linspace(-0.02, 0.02, CELLS))
    method = explain.get("gp_shap", num_samples=16)
    assert not isinstance(plain, GivesOutputs)
    (found,) = answers(method, plain, PICTURE, [of(What.AGAINST, 2)], plain.segments)
    assert np.isfinite(found.values).all()
    with pytest.raises(ExplanationFailed, match="does not give the offsets"):
        answers(method, plain, PICTURE, [of(What.LEFT)], plain.segments)
    with pytest.raises(ExplanationFailed, match="classes only"):
        answers(explain.get("odam"), plain, PICTURE, [of(What.LEFT)], plain.segments)


def test_outputs_of_a_real_detector_are_its_boxes_and_its_classes() -> None:
    ssd, picture = tiny_ssd(), textured_image(1, 96, 96)
    (proposals,) = ssd.propose([picture])
    chosen = [7, ssd.num_default_boxes - 1, 40]
    with torch.inference_mode():
        logits, offsets = ssd.outputs(ssd.preprocess([picture]), chosen)
    np.testing.assert_allclose(
        logits[0].softmax(-1).numpy(), proposals.probabilities[chosen], atol=1e-5
    )
    placed = proposals.default_boxes_xyxy[chosen]
    size = placed[:, 2:] - placed[:, :2]
    centre = placed[:, :2] + size / 2 + offsets[0, :, :2].numpy() * size
    half = np.exp(offsets[0, :, 2:].numpy()) * size / 2
    decoded = np.concatenate([centre - half, centre + half], axis=1).clip(0, 96)
    np.testing.assert_allclose(decoded, proposals.boxes_xyxy[chosen], atol=0.01)
    with pytest.raises(ValueError, match="default boxes"):
        ssd.outputs(ssd.preprocess([picture]), [ssd.num_default_boxes])


def test_crp_turns_its_map_of_an_offset_the_way_it_is_asked() -> None:
    ssd, picture = tiny_ssd(), textured_image(2, 96, 96)
    from curation.superpixels import grid

    segments = grid(ssd.input_size_hw, 16)
    question = Question(What.LEFT, 40, 1)
    full, empty = ends(ssd, picture, question)
    (found,) = answers(explain.get("crp"), ssd, picture, [question], segments)
    (raw,) = explain.get("crp", output="cx").explain(ssd, picture, [question.target], segments)
    np.testing.assert_allclose(found.values, np.sign(full) * raw.values, atol=1e-6)
    assert (found.score, found.baseline_score) == (full, empty)


def test_words_say_which_way_the_colours_pull(toy: BoxToy) -> None:
    placed = (20.0, 10.0, 40.0, 30.0)
    decoded = (12.0, 10.0, 32.0, 40.0)
    boxes = Boxes(placed, decoded, wanted=(20.0, 10.0, 40.0, 30.0))
    assert said.error(What.LEFT, boxes) == pytest.approx(8)
    assert said.error(What.UP, boxes) == pytest.approx(-5)
    assert said.error(What.HIGH, boxes) == pytest.approx(np.log(1.5))
    method = explain.get("kernel_shap", num_samples=64)
    for what, expected in (
        (What.LEFT, ("8 px left of the object", "Red pulls it left, blue right", "px left.")),
        (What.UP, ("5 px below the object", "Red pulls it up, blue down", "% of")),
        (
            What.HIGH,
            ("50.0% higher than the object", "Red makes it higher, blue lower", "% higher"),
        ),
        (What.WIDE, ("neither wider nor narrower", "Red makes it wider", "% wider")),
    ):
        question = of(what)
        (found,) = answers(method, toy, PICTURE, [question], toy.segments)
        blame = said.hurts_positive(question, boxes, False)
        assert blame is (what is not What.UP)
        regions = harmful_regions(found, blame, (64, 48), RegionRules())
        text = " ".join(said.words(question, found, boxes, toy.class_names, regions))
        assert expected[0] in text
        assert expected[1] in text
        if what is not What.UP:
            assert PULLED[what] in regions[0].segments
            assert expected[2] in text
    unknown = Boxes(placed, decoded)
    assert said.error(What.LEFT, unknown) is None
    assert said.hurts_positive(of(What.LEFT), unknown, False)


def test_words_of_a_class_against_its_rival_name_who_is_ahead(toy: BoxToy) -> None:
    question = of(What.AGAINST, 2)
    (found,) = answers(
        explain.get("kernel_shap", num_samples=64), toy, PICTURE, [question], toy.segments
    )
    boxes = Boxes((0, 0, 1, 1), (0, 0, 1, 1))
    text = said.words(question, found, boxes, toy.class_names, [])
    ahead = "disc" if found.score > 0 else "square"
    assert text[0].startswith(ahead)
    assert text[1] == "Red speaks for disc, blue for square."
    assert said.hurts_positive(question, boxes, True)


def test_agreement_is_of_ranks_and_of_what_hurts_most(toy: BoxToy) -> None:
    exact, other = (
        answers(explain.get("kernel_shap", num_samples=n), toy, PICTURE, [of(What.CLASS)],
                toy.segments)[0]
        for n in (400, 64)
    )  # fmt: skip
    same = said.agreement(exact, exact, False)
    assert same is not None
    assert (same.spearman, same.top) == (pytest.approx(1), 1)
    against = said.agreement(exact, _negated(other), False)
    assert against is not None
    assert (against.spearman or 0) < -0.9
    assert (against.top or 0) < 0.5
    (coarse,) = answers(
        explain.get("kernel_shap", num_samples=16), toy, PICTURE, [of(What.CLASS)],
        toy.segments // 2,
    )  # fmt: skip
    assert said.agreement(exact, coarse, False) is None


def _negated(one):
    from dataclasses import replace

    return replace(one, values=-one.values, region_values=None, region_errors=None)


def test_a_rival_is_another_class_and_only_asked_against() -> None:
    for wrong in ((What.AGAINST, None), (What.AGAINST, LABEL), (What.LEFT, 2), (What.CLASS, 2)):
        with pytest.raises(ValueError, match="rival"):
            of(*wrong)


def test_costs_repeat_the_numbers_of_the_methods_and_load_no_network() -> None:
    assert set(cost.NUMBERS) == set(explain.names())
    assert {name for name in explain.names() if explain.needs_layers(name)} == cost.LAYERS
    for name, numbers in cost.NUMBERS.items():
        assert {key: explain.default(name, key) for key in numbers} == dict(numbers), name
        taken = explain.parameters(name)
        assert cost.takes_samples(name) == ("num_samples" in taken)
    code = (
        "import sys; from curation.explain import cost, names; assert names(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("method", ["gp_shap", "kernel_shap", "occlusion", "lime", "random"])
def test_as_many_passes_are_made_as_were_told(toy: BoxToy, method: str) -> None:
    size = cost.Size(CELLS, *toy.input_size_hw)
    told = cost.passes(method, {}, size)
    assert told is not None
    counted: list[int] = []
    answers(explain.get(method), toy, PICTURE, [of(What.CLASS)], toy.segments, counted.append)
    assert counted[-1] <= told + 2
    assert counted[-1] >= told / 3
    assert cost.passes("exact_shapley", {}, cost.Size(64, 24, 32)) is None
    assert cost.passes("exact_shapley", {}, size) == 2**CELLS
    assert cost.passes("e2x", {"num_samples": 10}, size, 4) == 90


@pytest.mark.parametrize("method", ["gp_shap", "kernel_shap", "e2x", "lime"])
def test_what_drives_a_look_alike_is_red_and_its_region_lowers_the_wrong_class(method: str) -> None:
    """One cell makes a false detection of what is none; another, weaker, speaks against it."""
    linear = np.zeros(CELLS)
    plain = PolynomialToy(linear)
    sums = plain.cell_sums(plain.preprocess([PICTURE]))[0].numpy()
    linear[6], linear[1] = 4.0 / sums[6], -1.5 / sums[1]
    toy = PolynomialToy(linear, bias=-1.0)
    explainer = explain.get(method)
    (found,) = answers(explainer, toy, PICTURE, [of(What.CLASS)], toy.segments)
    assert int(found.values.argmax()) == 6
    assert int(found.values.argmin()) == 1
    size_wh = (PICTURE.shape[1], PICTURE.shape[0])
    rules = RegionRules(min_share_of_peak=0.5)
    (region,) = harmful_regions(found, True, size_wh, rules)
    assert region.segments == (6,)
    kept = np.ones((2, CELLS), np.float32)
    kept[1, list(region.segments)] = 0
    inputs = toy.preprocess([PICTURE])
    before, after = base.masked_scores(
        toy, inputs, toy.segments, kept, [of(What.CLASS).target], ScoreKind.LOG_ODDS
    )[:, 0]
    assert after < before - 2

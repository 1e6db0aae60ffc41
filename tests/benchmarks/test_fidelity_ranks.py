"""Bars of order and sign, and what the cache keeps of a belief."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from benchmarks.common.units import Units
from benchmarks.fidelity import methods, ranks, study
from benchmarks.fidelity.references import ASKED, COSTS, OTHER_COST
from curation.explain.coalition_fit import Layout
from curation.explain.gp_shap import believed, sample_masks


def row(image: str, asked: int, cost: int, **values: Any) -> dict[str, Any]:
    plain = {"spearman": 0.1, "sign": 0.5, "rho": 0.9, "spearman_matter": 0.5, "sign_matter": 0.5}
    return {"image": image, "asked": asked, "cost": cost, "method": methods.OURS} | plain | values


def test_bars_are_of_the_fewest_passes_and_of_what_matters() -> None:
    few = [row(n, ASKED, COSTS[0], spearman_matter=0.95, sign_matter=0.8) for n in "ab"]
    more = [row(n, ASKED, COSTS[-1], spearman_matter=0.0) for n in "ab"]
    fine = [row(n, ranks.FINE, OTHER_COST, rho=0.97) for n in "ab"]
    rivals = [row("a", ASKED, COSTS[0], spearman_matter=0.0) | {"method": "lime"}]
    bars = ranks.bars([*few, *more, *fine, *rivals])
    assert bars["spearman_matter"]["value"] == pytest.approx(0.95)
    assert bars["spearman_matter"]["met"]
    assert bars["spearman_matter"]["spearman"] == [0.1, 0.1, 0.1]  # over all, told beside it
    assert not bars["sign_top_negative"]["met"]
    assert bars[f"rho_fine_{OTHER_COST}"]["value"] == pytest.approx(0.97)
    assert ranks.bars([]) == {}


def test_passes_are_shared_by_the_detections_of_an_image() -> None:
    four, one = [row("a", ASKED, COSTS[0], passes=128)] * 4, row("b", ASKED, COSTS[0], passes=128)
    found = ranks.bars([*four, one])["passes_of_many"]
    assert (found["value"], found["detections"], found["met"]) == (32, 4, True)
    assert "passes_of_many" not in ranks.bars([one])


@pytest.mark.parametrize("flat", [False, True])
def test_a_belief_that_was_cached_answers_as_before(tmp_path: Any, flat: bool) -> None:
    masks = sample_masks(11, 24, np.random.default_rng(0))
    scores = np.zeros(24, np.float32) if flat else masks[:, 0] - masks[:, 3] * masks[:, 4]
    belief = believed(masks, scores.astype(np.float32), Layout(np.linspace(0, 3, 11)))
    units = Units(tmp_path / "units.jsonl")
    units.get({"unit": "x"}, lambda: study._packed(belief))
    kept = json.loads((tmp_path / "units.jsonl").read_text())["result"]
    again = study._unpacked(kept, 11)
    assert again is not None
    np.testing.assert_array_equal(again.masks, belief.masks)
    np.testing.assert_allclose(again.shapley(), belief.shapley(), rtol=1e-4, atol=1e-6)
    group = [np.array([3, 4])]
    assert again.removals(group)[0].value == pytest.approx(belief.removals(group)[0].value)
    assert study._unpacked(None, 11) is None

"""Rivals and mistakes: curves by hand, planted pulls that are found, tables and their files."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
import torch

from benchmarks.common.units import Units
from benchmarks.fidelity import away, mistakes, results, rivals, rivals_report
from benchmarks.fidelity.cases import Case, Subject
from benchmarks.fidelity.sizes import SMALL
from benchmarks.fidelity.study import Study
from curation import explain, superpixels
from curation.explain.questions import Question, answers
from curation.explain.what import OFFSETS, What
from curation.kernel.types import Attribution, ScoreTarget
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

IMAGE = textured_image(3, 96, 96)


def study(tmp_path) -> Study:
    return Study("street", "tiny", tiny_ssd(), tmp_path, Units(tmp_path / "units.jsonl"))


def case(*targets: ScoreTarget, kind: str = "TP") -> Case:
    subjects = tuple(Subject(kind, target, (20.0, 20.0, 70.0, 70.0)) for target in targets)
    return Case("picture", IMAGE, subjects)


def test_pixels_go_in_the_order_of_the_map_and_come_in_the_same():
    pixels = np.arange(100, dtype=np.float32).reshape(10, 10)
    shares, masks = rivals.pixel_masks(pixels, True)
    assert len(masks) == rivals.STEPS
    assert (shares[0], shares[-1]) == (0, 1)
    assert masks[0].max() == 0
    assert masks[-1].min() == 1
    middle = masks[rivals.STEPS // 2]
    assert middle.sum() == 50
    assert pixels[middle == 1].min() == 50
    _, gone = rivals.pixel_masks(pixels, False)
    np.testing.assert_array_equal(gone[rivals.STEPS // 2], 1 - middle)


def test_a_value_is_parted_among_the_pixels_of_its_superpixel():
    segments = np.array([[0, 0, 0, 1]], np.int32)
    values = np.array([3.0, 2.0], np.float32)
    one = Attribution(ScoreTarget(0, 1), segments, values, np.zeros_like(values), 0, 0, "lime")
    np.testing.assert_array_equal(rivals.pixels_of(one), [[1, 1, 1, 2]])
    own = np.array([[4, 3, 2, 1]], np.float32)
    drawn = Attribution(
        one.target, segments, one.values, one.standard_errors, 0, 0, "odam", pixels=own
    )
    assert rivals.pixels_of(drawn) is own


def test_a_map_of_what_the_detector_stands_on_beats_its_opposite(tmp_path):
    here, told = study(tmp_path), {}
    shown = case(ScoreTarget(200, 1), ScoreTarget(300, 2))
    for name, given in (("gp_shap", {"num_samples": 64}), ("random", {})):
        rival = rivals.Rival(name, "equal", name, given)
        told[name] = rivals._curves(here, shown, rival)
        assert len(told[name]) == 2
        for row in told[name]:
            assert row["gap"] == pytest.approx(row["insertion"] - row["deletion"])
            assert row["seconds"] > 0
    gaps = {name: np.mean([row["gap"] for row in rows]) for name, rows in told.items()}
    assert gaps["gp_shap"] > gaps["random"] + 0.05
    in_context = next(rival for rival in rivals.RIVALS if rival.label == rivals.IN_CONTEXT)
    inserted, deleted = rivals._maps(here, shown, in_context)
    assert not np.array_equal(inserted[0], deleted[0])


def test_every_rival_is_a_method_that_takes_its_parameters():
    labels = [rival.label for rival in rivals.RIVALS]
    assert len(set(labels)) == len(labels)
    for rival in rivals.RIVALS:
        assert set(rival.given) <= set(explain.parameters(rival.name))
        explain.get(rival.name, **rival.given)
    assert set(rivals_report.JUDGED) <= {rival.name for rival in rivals.RIVALS}


def test_a_pull_moves_one_offset_by_how_much_of_its_superpixel_is_shown():
    detector, segments = tiny_ssd(), superpixels.grid((96, 96), 16)
    inputs = detector.preprocess([IMAGE])
    pulled = mistakes.Pulled(detector, inputs, segments, {(200, 2, 5): 0.7})
    rows = torch.cat([inputs, inputs.clone(), torch.zeros_like(inputs)])
    rows[1, :, torch.from_numpy(segments == 5)] *= 0.25
    logits, offsets = pulled.outputs(rows, [100, 200])
    plain_logits, plain = detector.outputs(rows, [100, 200])
    torch.testing.assert_close(logits, plain_logits)
    moved = (offsets - plain).detach().numpy()
    np.testing.assert_allclose(moved[:, 1, 2], [0.7, 0.7 * 0.25, 0.0], atol=1e-5)
    moved[:, 1, 2] = 0
    assert not moved.any()


@pytest.mark.parametrize("what", OFFSETS)
def test_the_default_method_finds_what_pulls_a_box_and_which_way(what):
    """The harm is what pulls: the asked way where the box is too far there, else the other."""
    detector, segments = tiny_ssd(), superpixels.grid((96, 96), 16)
    inputs, question = detector.preprocess([IMAGE]), Question(what, 200, 1)
    asked = explain.get("gp_shap", num_samples=64)
    (plain,) = answers(asked, detector, IMAGE, [question], segments)
    for way in (1.0, -1.0):
        by = mistakes._as_offset(what, way * 6 * float(np.abs(plain.values).max()))
        pulls = {(200, OFFSETS.index(what), 9): by}
        pulled = mistakes.Pulled(detector, inputs, segments, pulls)
        (found,) = answers(asked, pulled, IMAGE, [question], segments)
        assert int((way * found.values).argmax()) == 9
        grown = found.values[9] - plain.values[9]
        assert grown == pytest.approx(way * 6 * np.abs(plain.values).max(), rel=0.2)
        told = mistakes._told(
            pulled, case(ScoreTarget(200, 1)), question, found, (10.0, 10, 80, 80), (9, way)
        )
        assert (told["first"], told["sign"], told["hit"], told["helps"]) == (1, 1, 1, 1)
        wrong = mistakes._told(
            pulled, case(ScoreTarget(200, 1)), question, found, (10.0, 10, 80, 80), (9, -way)
        )
        assert wrong["sign"] == 0
        assert wrong["hit"] == 0


def test_pulled_boxes_have_a_row_for_each_offset_and_a_default_box_comes_once(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(mistakes, "NAMES", ("gp_shap",))
    monkeypatch.setattr(mistakes, "STRENGTHS", (2.0,))
    shown = case(ScoreTarget(200, 1), ScoreTarget(200, 2), ScoreTarget(300, 1), kind="FN")
    rows = mistakes._pulled(study(tmp_path), shown)
    assert [row["what"] for row in rows] == [str(what) for what in OFFSETS] * 2
    assert {row["subject"] for row in rows} == {1, 2}
    assert mistakes._as_offset(What.LEFT, 2.0) == -2.0
    assert mistakes._as_offset(What.WIDE, 2.0) == 2.0


def test_away_each_planted_failure_has_a_row_for_each_way_to_look(tmp_path):
    cause = np.zeros((96, 96), np.bool_)
    cause[:48, :48] = True
    box = (20.0, 20.0, 70.0, 70.0)
    subjects = [
        Subject(kind, ScoreTarget(target, 1), box, "planted", cause)
        for kind, target in (("FN", 200), ("FP", 300))
    ]
    rows = away._looked(study(tmp_path), Case("picture", IMAGE, tuple(subjects)))
    assert sorted((row["subject"], row["way"]) for row in rows) == sorted(
        (t, way) for t in (0, 1) for way in (away.WINDOW, away.ANYWHERE, away.REMOVED)
    )
    assert all(row["helps"] in (0.0, 1.0) and row["hit"] in (0.0, 1.0) for row in rows)
    # what was seen to help is named, so that deleting it helps
    assert all(row["helps"] for row in rows if row["way"] == away.REMOVED)
    assert len({row["cause_gain"] for row in rows if row["subject"] == 0}) == 1


def test_away_causes_that_do_more_than_the_window_tells_stand_apart():
    rows = [
        {"world": "w", "image": f"w/{d}", "detection": d, "method": way, "helps": 1.0,
         "hit": float(way == away.REMOVED), "gain": gain, "cause_gain": of_cause}
        for d, of_cause in (("beyond", 2.0), ("within", 0.5), ("harmless", -1.0))
        for way, gain in ((away.WINDOW, 1.0), (away.REMOVED, 3.0))
    ]  # fmt: skip
    found = away.tables(rows)
    assert [row["detections"] for row in found["away"]] == [3, 3]
    assert [row["detections"] for row in found["away_beyond"]] == [1, 1]
    assert found["away_beyond"][0]["cause_gain"][0] == 2.0


def test_away_a_small_cause_lies_on_the_superpixel_that_it_fills_most():
    segments = superpixels.grid((8, 8), 4)
    cause = np.zeros((8, 8), np.bool_)
    cause[:4, :3] = True
    assert away.covered(cause, segments).tolist() == [True, False, False, False]
    cause[:] = False
    cause[5, 5] = True
    assert away.covered(cause, segments).tolist() == [False, False, False, True]


def _rows(name, gap, seconds, tier="equal"):
    return [
        {
            "kind": "TP", "method": name, "tier": tier, "image": f"street/{n}",
            "detection": f"d{n}", "insertion": gap + 0.01 * n, "deletion": 0.0,
            "gap": gap + 0.01 * n, "gap_alike": gap, "seconds": seconds,
        }
        for n in range(6)
    ]  # fmt: skip


def test_bars_are_paired_differences_and_the_time_of_the_slowest():
    rows = [
        *_rows("gp_shap", 0.6, 2.0),
        *_rows("odam", 0.4, 0.1, "layers"),
        *_rows("vx_code", 0.65, 10.0),
        *_rows("vx_code published", 0.7, 100.0, "published")[:3],
    ]
    table, bars = rivals_report.curves(rows)
    assert [line["method"] for line in table] == ["gp_shap", "odam", "vx_code", "vx_code published"]
    assert bars["found_above_odam"] | {"detections": 6} == {
        "value": 0.2, "low": 0.2, "high": 0.2, "bar": 0.0, "met": True, "detections": 6
    }  # fmt: skip
    assert bars["found_above_vx_code"]["value"] == -0.05
    assert not bars["found_above_vx_code"]["met"]
    assert bars["found_above_vx_code_published"]["detections"] == 3
    assert bars["found_time"]["value"] == 0.02
    assert bars["found_time"]["slowest"] == "vx_code published"
    assert bars["found_time"]["met"]


def test_rivals_have_a_file_of_their_own(tmp_path):
    assert results.by_file(["exact", "rivals", "harms", "mistakes", "pairs"]) == {
        "": ["exact", "pairs"],
        "rivals": ["rivals", "harms", "mistakes"],
    }
    given = argparse.Namespace(
        architectures=[results.DEFAULT_ARCHITECTURE], images=None, worlds=["street"], size="small",
        threads=1, device="cpu",
    )  # fmt: skip
    path = results.write(given, ["rivals"], SMALL, {}, {}, {}, tmp_path, own="rivals")
    assert path.name == "fidelity-rivals.json"
    (part,) = json.loads(path.read_text())["parts"].values()
    assert part["sizes"]["rival_images"] == SMALL.rival_images

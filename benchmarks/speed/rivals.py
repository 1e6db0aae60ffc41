"""The lime package at K = 2000, and captum's KernelSHAP at equal agreement with Shapley values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from benchmarks.speed.scene import Clock, Row, Scene
from curation import explain
from curation.explain.base import Explainer
from curation.explain.checks.reference import converged_reference
from curation.explain.coalitions import DoubleArray
from curation.kernel.detector import ScoreKind
from curation.kernel.types import FloatArray, ScoreTarget
from curation.superpixels import SegmentArray, warp

KIND = ScoreKind.LOG_ODDS
LIME_SAMPLES = 2000
CAPTUM_SAMPLES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
CAPTUM_ROWS = 16


def lime(
    scene: Scene, clock: Clock, rounds: int, rows: int | None
) -> tuple[list[Row], DoubleArray]:
    """Seconds of one detection, and lime's over E2X's (K = 16) of each round.

    Both get the same segments; neither counts the making of them.
    """
    from lime.lime_image import LimeImageExplainer  # type: ignore[import-untyped]

    segments, target = scene.segments(), scene.targets[:1]
    rival = LimeImageExplainer(random_state=0)

    def classify(batch: FloatArray) -> FloatArray:
        inputs = scene.detector.preprocess([np.asarray(row, np.uint8) for row in batch])
        with torch.inference_mode():
            scores = scene.detector.scores(inputs, target, ScoreKind.PROBABILITY)  # [B, 1]
        return torch.cat([scores, 1 - scores], dim=1).cpu().numpy()

    warped = warp(scene.image, scene.detector.input_size_hw)

    def theirs() -> object:
        return rival.explain_instance(
            warped,
            classify,
            labels=(0,),
            top_labels=None,
            hide_color=127,
            num_samples=LIME_SAMPLES,
            batch_size=CAPTUM_ROWS,
            segmentation_fn=lambda _: segments,
        )

    ours = {f"e2x K={k}": explain.get("e2x", num_samples=k, batch_size=rows) for k in (16, 32)}
    ours["gp_shap"] = explain.get("gp_shap", batch_size=rows)
    sides = {
        name: (lambda one=one: one.explain(scene.detector, scene.image, target, segments))
        for name, one in ours.items()
    }
    seconds = clock.rounds(sides, max(3, rounds))
    taken = np.array([clock.once(theirs) for _ in range(max(1, rounds // 4))])
    table = [
        {
            "method": name,
            "s_a_detection": float(np.median(own)),
            "times_faster_than_lime": float(np.median(taken) / np.median(own)),
        }
        for name, own in seconds.items()
    ]
    table.append({"method": f"lime package K={LIME_SAMPLES}", "s_a_detection": np.median(taken)})
    return table, taken / np.median(seconds["e2x K=16"])


def captum(
    scene: Scene,
    clock: Clock,
    num_segments: int,
    num_pairs: int,
    count: int,
    ours: Sequence[Explainer],
) -> list[Row]:
    """For each of our methods: what captum's KernelSHAP needs to agree as well with Shapley.

    Agreement is the mean Pearson correlation, over ``count`` detections explained one by one,
    with the converged reference of ``num_pairs`` pairs. captum's seconds at ours are read off
    the curve by samples, a straight line between two of them in logarithms; beyond either
    end of it the ratio is a bound, and the row says which.
    """
    segments = scene.segments("slic", num_segments)
    targets = list(scene.targets[:count])
    reference = converged_reference(
        scene.detector, scene.image, targets, segments, KIND, num_pairs, seed=1, batch_size=16
    )
    rows: list[Row] = []
    for method in ours:
        runs = [_timed(clock, partial(_ours, method, scene, one, segments)) for one in targets]
        rows.append(
            {
                "method": method.name,
                "parameters": dict(method.parameters),
                "segments": int(segments.max()) + 1,
                "rho": _agreement([found for found, _ in runs], reference.values),
                "split_half": float(np.mean(reference.split_half)),
                "s_a_detection": float(np.median([taken for _, taken in runs])),
            }
        )
    wanted = max(row["rho"] for row in rows)
    curve = _captum_curve(scene, clock, segments, targets, reference.values, wanted)
    for row in rows:
        row["captum_s"], row["ratio_is"] = _seconds_at(row["rho"], curve)
        row["times_faster"] = row["captum_s"] / row["s_a_detection"]
    return rows + [{"method": "captum", **point} for point in curve]


def _timed(clock: Clock, side: Callable[[], FloatArray]) -> tuple[FloatArray, float]:
    side()  # the first run of a method makes what it keeps
    return clock.of(side)


def _ours(
    method: Explainer, scene: Scene, target: ScoreTarget, segments: SegmentArray
) -> FloatArray:
    return method.explain(scene.detector, scene.image, [target], segments)[0].values


def _captum_curve(
    scene: Scene,
    clock: Clock,
    segments: SegmentArray,
    targets: list[ScoreTarget],
    reference: DoubleArray,
    wanted: float,
) -> list[Row]:
    """By samples, until the agreement that is wanted is reached."""
    curve: list[Row] = []
    _captum(scene, targets[0], segments, CAPTUM_SAMPLES[0])  # the first run loads and warms
    for samples in CAPTUM_SAMPLES:
        runs = [clock.of(partial(_captum, scene, one, segments, samples)) for one in targets]
        curve.append(
            {
                "samples": samples,
                "rho": _agreement([found for found, _ in runs], reference),
                "s_a_detection": float(np.median([taken for _, taken in runs])),
            }
        )
        if curve[-1]["rho"] >= wanted:
            break
    return curve


def _captum(scene: Scene, target: ScoreTarget, segments: SegmentArray, samples: int) -> FloatArray:
    """[S] values by captum; its draws are those of a fixed seed."""
    from captum.attr import KernelShap

    def score(rows: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return scene.detector.scores(rows, [target], KIND)[:, 0].clone()

    inputs = scene.detector.preprocess([scene.image])
    features = torch.from_numpy(segments.astype(np.int64)).to(inputs.device)[None, None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        by_pixel = KernelShap(score).attribute(
            inputs,
            baselines=0.0,
            feature_mask=features.expand_as(inputs),
            n_samples=samples,
            perturbations_per_eval=CAPTUM_ROWS,
        )
    # each pixel carries the value of its segment: take the first one of each
    _, first = np.unique(segments, return_index=True)
    values: FloatArray = by_pixel[0, 0].cpu().numpy().ravel()[first]
    return values


def _agreement(maps: Sequence[FloatArray], reference: DoubleArray) -> float:
    return float(
        np.mean([np.corrcoef(one, true)[0, 1] for one, true in zip(maps, reference, strict=True)])
    )


def _seconds_at(rho: float, curve: list[Row]) -> tuple[float, str]:
    """captum's seconds where its curve first reaches rho, and what a ratio to them then is.

    Where its fewest samples already do, it could do with fewer: the ratio flatters us.
    """
    before: Row | None = None
    for point in curve:
        if point["rho"] >= rho:
            if before is None:
                return point["s_a_detection"], "at most"
            share = (rho - before["rho"]) / (point["rho"] - before["rho"])
            ends = np.log([before["s_a_detection"], point["s_a_detection"]])
            return float(np.exp(ends[0] + share * (ends[1] - ends[0]))), "measured"
        before = point
    return curve[-1]["s_a_detection"], "at least"

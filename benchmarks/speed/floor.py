"""The bare passes, the whole explanation beside them, and where its time goes."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.speed.scene import Clock, Row, Scene, Side, interval
from curation.explain import base
from curation.explain.e2x import E2X
from curation.kernel import images
from curation.kernel.detector import ScoreKind

ROWS = (1, 2, 4, 8, 16)
KIND = ScoreKind.LOG_ODDS


def passes(scene: Scene, num_samples: int, rows: int) -> Side:
    """Forward and input-backward of one score on so many rows, nothing else.

    The detector's own pruned pass, up to the level of the target: a stricter floor than one of
    all levels and both heads.
    """
    inputs = scene.detector.preprocess([scene.image])
    batch = inputs.repeat(rows, 1, 1, 1).contiguous(memory_format=torch.channels_last)

    def run() -> None:
        for start in range(0, num_samples, rows):
            part = batch[: num_samples - start].detach().requires_grad_(True)
            total = scene.detector.scores(part, scene.targets[:1], KIND).sum()
            torch.autograd.grad(total, part)

    return run


def unpruned(scene: Scene, num_samples: int, rows: int) -> Side:
    """The same of the whole network: all levels, class and box head."""
    inputs = scene.detector.preprocess([scene.image])
    batch = inputs.repeat(rows, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    target, model = scene.targets[0], scene.detector.model

    def run() -> None:
        for start in range(0, num_samples, rows):
            part = batch[: num_samples - start].detach().requires_grad_(True)
            logits = model.head(list(model.backbone(part).values()))["cls_logits"]
            score = logits[:, target.default_box].log_softmax(-1)[:, target.label]
            torch.autograd.grad(score.sum(), part)

    return run


def measure(
    scene: Scene, clock: Clock, rounds: int, num_samples: int, rows: int | None
) -> tuple[Row, np.ndarray]:
    """A row of the table, and the ratio of each round.

    The best batch of the floor is the one of least median; all sides run in turns.
    """
    sides: dict[str, Side] = {f"floor_{n}": passes(scene, num_samples, n) for n in ROWS}
    explainer = E2X(num_samples=num_samples, batch_size=rows)
    sides["whole"] = scene.whole(explainer)
    sides["whole_slic"] = scene.whole(explainer, method="slic")
    segments = scene.segments()
    sides["kept_segments"] = lambda: explainer.explain(
        scene.detector, images.decode(scene.data), scene.targets[:1], segments
    )
    seconds = clock.rounds(sides, rounds)
    best = min(ROWS, key=lambda n: float(np.median(seconds[f"floor_{n}"])))
    floor = seconds[f"floor_{best}"]
    seconds |= clock.rounds({"unpruned": unpruned(scene, num_samples, best)}, rounds)
    ratio = seconds["whole"] / floor
    value, low, high = interval(ratio)
    return {
        "detector": scene.name,
        "input_hw": list(scene.detector.input_size_hw),
        "K": num_samples,
        "best_rows": best,
        "explained_rows": rows or "default",
        "floor_ms": {n: round(1e3 * float(np.median(seconds[f"floor_{n}"])), 1) for n in ROWS},
        "whole_ms": 1e3 * float(np.median(seconds["whole"])),
        "ratio": value,
        "ratio_low": low,
        "ratio_high": high,
        "ratio_with_slic": float(np.median(seconds["whole_slic"] / floor)),
        "ratio_with_kept_segments": float(np.median(seconds["kept_segments"] / floor)),
        "ratio_to_unpruned_floor": float(np.median(seconds["whole"] / seconds["unpruned"])),
        "detections_per_s": 1 / float(np.median(seconds["whole"])),
        "rounds": rounds,
    }, ratio


def stages(
    scene: Scene, clock: Clock, rounds: int, num_samples: int, rows: int | None
) -> list[Row]:
    """Milliseconds of each part of an explanation of one detection."""
    detector, target = scene.detector, scene.targets[:1]
    explainer = E2X(num_samples=num_samples, batch_size=rows)
    segments, inputs = scene.segments(), detector.preprocess([scene.image])
    weights = explainer.weights(int(segments.max()) + 1)
    (attribution,) = explainer.explain(detector, scene.image, target, segments)
    sides: dict[str, Side] = {
        "decode": lambda: images.decode(scene.data),
        "slic": lambda: scene.segments("slic"),
        "slic_half": lambda: scene.segments("slic_half"),
        "preprocess": lambda: detector.preprocess([scene.image]),
        "levels": lambda: explainer.weights(weights.shape[1]),
        "passes_and_sums": lambda: base.segment_gradients(
            detector, inputs, segments, weights, target, KIND, rows
        ),
        "end_scores": lambda: base.end_scores(detector, inputs, target, KIND),
        "regions": lambda: scene.regions(attribution),
    }
    return [
        {"detector": scene.name, "stage": name, "ms": 1e3 * float(np.median(seconds))}
        for name, seconds in clock.rounds(sides, rounds).items()
    ]

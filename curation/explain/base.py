"""What an explanation method is, and the parts that gradient methods share.

Every method turns targets of one image into one signed value for each superpixel. Methods that
perturb share :func:`segment_gradients`: all targets of an image use the same perturbed inputs,
the same forward passes and the same weights, so that maps of two targets, or of two model
versions, differ by what differs in the model and not by sampling noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from curation.kernel.detector import Detector, Network, ScoreKind, WhiteBox
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

# One thread, milliseconds of 16 forward and input-backward rows at 1, 2, 4, 8, 16 rows a pass:
# SSDLite-EfficientNet-Lite0 at 240 x 320: 747, 754, 773, 792, 707; SSDLite-MobileNetV3-Large at
# 160 x 208: 431, 331, 285, 274, 244. That is with glibc told to keep freed memory, as workers and
# programs do; else the pages of 16 rows are returned and refetched, which doubles their time.
_CPU_ROWS = 16
_CPU_PIXELS = 16 * 320 * 320  # larger inputs take fewer rows, so that memory stays the same
_GPU_ROWS = 64


class Explainer(Protocol):
    """An explanation method with its parameters."""

    @property
    def name(self) -> str:
        """Its name in the registry."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on, JSON-serialisable; part of a content key."""
        ...

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """One attribution for each target, in the order of the targets.

        Args:
            detector: left as it was: no hook, no gradient, no changed parameter.
            image: [H, W, 3] uint8.
            targets: what to explain; may be empty.
            segments: [h, w] int32 in 0..S-1 on the detector's input grid.

        Raises:
            ExplanationFailed: the score is not differentiable or a value is not finite.
        """
        ...


@runtime_checkable
class Repeats(Protocol):
    """A method that chooses images by scores, and can take those of another time."""

    def repeat(
        self,
        detector: Detector,
        image: ImageArray,
        found: Sequence[Attribution],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """The explanations ``found``, of the same masked images scored by this detector.

        So two detectors, or one in two precisions, are compared by what they make of the same.
        """
        ...


def check_segments(segments: SegmentArray, size_hw: tuple[int, int]) -> None:
    """Refuse a partition that does not fit the network input.

    Raises:
        ExplanationFailed: the shape differs from ``size_hw`` or the numbers have gaps.
    """
    if segments.shape != size_hw:
        raise ExplanationFailed(f"segments have shape {segments.shape}, expected {size_hw}")
    present = np.unique(segments)
    if present[0] != 0 or present[-1] != len(present) - 1:
        raise ExplanationFailed("segments are not numbered 0..S-1 without gaps: use relabel")


def rows_per_pass(inputs: torch.Tensor, batch_size: int | None = None) -> int:
    """The rows of a forward pass: as asked, or what suits the device of the inputs.

    At most 16 on a CPU, fewer for inputs above 320 x 320, and 64 on a GPU.
    """
    if batch_size is not None:
        return batch_size
    if inputs.device.type != "cpu":
        return _GPU_ROWS
    pixels = inputs.shape[-2] * inputs.shape[-1]
    return max(1, min(_CPU_ROWS, _CPU_PIXELS // pixels))


def segment_sums(pixels: FloatArray, segments: SegmentArray) -> FloatArray:
    """[S] float32: sums of a map [h, w] over the segments [h, w], added up in float64."""
    return np.bincount(segments.ravel(), pixels.ravel().astype(np.float64)).astype(np.float32)


def pixel_attributions(
    explainer: Explainer,
    segments: SegmentArray,
    targets: Sequence[ScoreTarget],
    maps: FloatArray,
    scores: tuple[FloatArray, FloatArray],
    notes: Sequence[tuple[str, ...]] | None = None,
) -> list[Attribution]:
    """What a method that works on pixels returns: its maps, and their sums over segments.

    Args:
        explainer: gives name and parameters.
        segments: [h, w] in 0..S-1.
        targets: T of them.
        maps: [T, h, w] float32, signed.
        scores: [T] of the image and [T] of the reference, see :func:`end_scores`.
        notes: one tuple a target; None for none.

    Raises:
        ExplanationFailed: a map is not finite.
    """
    require_finite(maps, targets)
    return [
        Attribution(
            target=target,
            segments=segments,
            values=segment_sums(maps[t], segments),
            standard_errors=np.full(int(segments.max()) + 1, np.nan, np.float32),
            score=float(scores[0][t]),
            baseline_score=float(scores[1][t]),
            method=explainer.name,
            parameters=explainer.parameters,
            pixels=maps[t],
            notes=notes[t] if notes else (),
        )
        for t, target in enumerate(targets)
    ]


def layers_of(detector: Detector) -> Network:
    """The layers of a detector, shared with it.

    Raises:
        ExplanationFailed: the detector does not show its layers.
    """
    if not isinstance(detector, WhiteBox):
        raise ExplanationFailed(
            f"this method looks at the detector's layers, and {type(detector).__name__} does not "
            "show them: use a method that needs scores only, such as kernel_shap"
        )
    return detector.network()


def segment_gradients(
    detector: Detector,
    inputs: torch.Tensor,
    segments: SegmentArray,
    weights: FloatArray,
    targets: Sequence[ScoreTarget],
    kind: ScoreKind,
    batch_size: int | None,
) -> FloatArray:
    """Derivative of each score by the weight of each segment, for every perturbed input.

    Perturbed input k is the image with segment i dimmed to ``weights[k, i]``, where 0 is the
    mean colour. One forward pass serves all targets; each target adds one backward pass to the
    input. Rows are independent, so rows of several images can later share a batch here.

    Args:
        detector: scores the targets.
        inputs: [1, 3, h, w] normalised network input.
        segments: [h, w] in 0..S-1.
        weights: [K, S] float32 in 0..1.
        targets: T of them.
        kind: unit of the score.
        batch_size: rows a pass; bounds memory, does not change the result. None takes what
            suits the device, see :func:`rows_per_pass`.

    Returns:
        [T, K, S] float32: d score_t / d weights[k, i], a sum over the segment's pixels.

    Raises:
        ExplanationFailed: the score is not differentiable or a gradient is not finite.
    """
    num_samples, num_segments = weights.shape
    batch_size = rows_per_pass(inputs, batch_size)
    labels = torch.from_numpy(segments.ravel().astype(np.int64)).to(inputs.device)  # [h*w]
    result = np.empty((len(targets), num_samples, num_segments), np.float32)
    for start in range(0, num_samples, batch_size):
        rows = torch.from_numpy(weights[start : start + batch_size]).to(inputs)  # [B, S]
        dimmed = _dimmed(inputs.detach(), rows, labels).requires_grad_(True)  # [B, 3, h, w]
        for position, gradient in enumerate(input_gradients(detector, dimmed, targets, kind)):
            by_pixel = _channel_sum(gradient * inputs).flatten(1)  # [B, h*w]
            by_segment = _segment_sums(by_pixel, labels, num_segments)  # [B, S]
            result[position, start : start + len(rows)] = by_segment.cpu().numpy()
    require_finite(result, targets)
    return result


def input_gradients(
    detector: Detector, inputs: torch.Tensor, targets: Sequence[ScoreTarget], kind: ScoreKind
) -> Iterator[torch.Tensor]:
    """Input gradients [B, 3, h, w], one target after the other so that only one is held.

    Raises:
        ExplanationFailed: the score is not differentiable.
    """
    with torch.enable_grad():
        # rows are independent, so the gradient of their sum holds every row's own
        totals = detector.scores(inputs, targets, kind).sum(dim=0).unbind()  # T scalars
    if not totals[0].requires_grad:
        raise ExplanationFailed("the detector's scores do not depend differentiably on its input")
    # autograd.grad, not backward: it touches no parameter's .grad
    for index, total in enumerate(totals):
        yield torch.autograd.grad(total, inputs, retain_graph=index + 1 < len(totals))[0]


def _dimmed(inputs: torch.Tensor, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The input [1, 3, h, w] with its segments dimmed to each of the rows [B, S]: [B, 3, h, w]."""
    # index_select: six times as fast on a CPU as rows[:, labels]
    mask = rows.index_select(1, labels).view(len(rows), 1, *inputs.shape[2:])  # [B, 1, h, w]
    return inputs * mask


def _channel_sum(maps: torch.Tensor) -> torch.Tensor:
    """[B, h, w] from [B, 3, h, w]: six times as fast on a CPU as a sum over so short an axis."""
    red, green, blue = maps.unbind(1)
    return red + green + blue


def _segment_sums(by_pixel: torch.Tensor, labels: torch.Tensor, num_segments: int) -> torch.Tensor:
    """Sums [B, S] of pixel values [B, h*w] over segments."""
    if by_pixel.is_cuda:  # index_add is not deterministic there; a product with one-hot rows is
        return by_pixel @ torch.nn.functional.one_hot(labels, num_segments).to(by_pixel)
    return by_pixel.new_zeros(len(by_pixel), num_segments).index_add_(1, labels, by_pixel)


def require_finite(values: FloatArray, targets: Sequence[ScoreTarget]) -> None:
    """Refuse values [T, ...] of which one is not finite.

    Raises:
        ExplanationFailed: names the first target with such a value.
    """
    for target, rows in zip(targets, values, strict=True):
        if not np.isfinite(rows).all():
            raise ExplanationFailed(
                f"{target}: a gradient, score or map is not finite; see whether the weights are, "
                "and if they are, run the detector in float32"
            )


def end_scores(
    detector: Detector, inputs: torch.Tensor, targets: Sequence[ScoreTarget], kind: ScoreKind
) -> tuple[FloatArray, FloatArray]:
    """Scores [T] of the image and [T] of the reference, the image of mean colour.

    Raises:
        ExplanationFailed: a score is not finite.
    """
    with torch.inference_mode():
        both = torch.cat([inputs, torch.zeros_like(inputs)])  # [2, 3, h, w]
        scores = detector.scores(both, targets, kind).float().cpu().numpy()  # [2, T]
    require_finite(scores.T, targets)
    return scores[0], scores[1]


def masked_scores(
    detector: Detector,
    inputs: torch.Tensor,
    segments: SegmentArray,
    weights: FloatArray,
    targets: Sequence[ScoreTarget],
    kind: ScoreKind,
    batch_size: int | None = None,
) -> FloatArray:
    """Scores of the image with its segments dimmed; forward passes only, shared by all targets.

    Args:
        detector: scores the targets.
        inputs: [1, 3, h, w] normalised network input.
        segments: [h, w] in 0..S-1.
        weights: [N, S] float32 in 0..1; zeros and ones for coalitions.
        targets: T of them.
        kind: unit of the score.
        batch_size: rows a pass; bounds memory, does not change the result. None takes what
            suits the device.

    Returns:
        [N, T] float32.

    Raises:
        ExplanationFailed: a score is not finite.
    """
    batch_size = rows_per_pass(inputs, batch_size)
    labels = torch.from_numpy(segments.ravel().astype(np.int64)).to(inputs.device)  # [h*w]
    result = np.empty((len(weights), len(targets)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(weights), batch_size):
            rows = torch.from_numpy(weights[start : start + batch_size]).to(inputs)  # [B, S]
            scores = detector.scores(_dimmed(inputs, rows, labels), targets, kind)  # [B, T]
            result[start : start + len(rows)] = scores.float().cpu().numpy()
    require_finite(result.T, targets)
    return result

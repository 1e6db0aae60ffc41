"""Logits of chosen default boxes and the scores they give, with no more of the network run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torchvision.models.detection.ssd import SSD, SSDScoringHead

from curation.kernel.detector import ScoreKind
from retrain.postprocess import GROWTH_UNIT, MOST_GROWTH, SHIFT_UNIT
from retrain.ssd import feature_maps


def logits_of(
    model: SSD, inputs: torch.Tensor, boxes: Sequence[int], level_ends: npt.NDArray[np.integer]
) -> torch.Tensor:
    """Logits [B, T, K] of default boxes; differentiable.

    Runs the backbone up to the coarsest level that one of them lies on, and the class heads of
    their levels.

    Args:
        model: in evaluation mode.
        inputs: [B, 3, h, w] normalised.
        boxes: T numbers in 0..A-1, at least one.
        level_ends: where the default boxes of each level end, fine to coarse.
    """
    return _of_head(
        model.head.classification_head, _maps(model, inputs, boxes, level_ends), boxes, level_ends
    )


def outputs_of(
    model: SSD, inputs: torch.Tensor, boxes: Sequence[int], level_ends: npt.NDArray[np.integer]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [B, T, K] and offsets [B, T, 4] of default boxes, from one pass; differentiable.

    Offsets are in widths, heights and logarithms, see
    :class:`curation.kernel.detector.GivesOutputs`; growth is held as decoding holds it.
    """
    maps = _maps(model, inputs, boxes, level_ends)
    logits = _of_head(model.head.classification_head, maps, boxes, level_ends)
    raw = _of_head(model.head.regression_head, maps, boxes, level_ends)  # [B, T, 4]
    growth = (raw[..., 2:] / GROWTH_UNIT).clamp(max=MOST_GROWTH)
    return logits, torch.cat([raw[..., :2] / SHIFT_UNIT, growth], dim=-1)


def _levels(boxes: Sequence[int], level_ends: npt.NDArray[np.integer]) -> list[int]:
    return sorted({int(np.searchsorted(level_ends, box, "right")) for box in boxes})


def _maps(
    model: SSD, inputs: torch.Tensor, boxes: Sequence[int], level_ends: npt.NDArray[np.integer]
) -> Sequence[torch.Tensor]:
    """Feature maps up to the coarsest that is needed."""
    return feature_maps(model, inputs, _levels(boxes, level_ends)[-1] + 1)


def _of_head(
    head: SSDScoringHead,
    maps: Sequence[torch.Tensor],
    boxes: Sequence[int],
    level_ends: npt.NDArray[np.integer],
) -> torch.Tensor:
    """[B, T, C] outputs of a head, C columns a default box, at these default boxes only."""
    rows: dict[int, torch.Tensor] = {}
    for level in _levels(boxes, level_ends):
        start = int(level_ends[level - 1]) if level else 0
        here = sorted({box for box in boxes if start <= box < level_ends[level]})
        raw = head.module_list[level](maps[level])  # [B, P*C, fh, fw]
        grid = raw.flatten(2).unflatten(1, (-1, head.num_columns))  # [B, P, C, fh*fw]
        shapes = grid.shape[1]
        local = torch.tensor([box - start for box in here], device=raw.device)
        picked = grid[:, local % shapes, :, local // shapes]  # [R, B, C]
        rows.update(zip(here, picked.unbind(0), strict=True))
    return torch.stack([rows[box] for box in boxes], dim=1)


def scores_of(logits: torch.Tensor, labels: torch.Tensor, kind: ScoreKind) -> torch.Tensor:
    """[B, T, K] logits and [T] labels to [B, T] scores."""
    chosen = torch.nn.functional.one_hot(labels, logits.shape[-1]).bool()  # [T, K]
    own = logits.masked_fill(~chosen, 0).sum(dim=-1)  # [B, T]
    if kind is ScoreKind.LOGIT:
        return own
    log_odds = own - logits.masked_fill(chosen, float("-inf")).logsumexp(dim=-1)
    # sigmoid(log odds) is the softmax probability without cancellation near 1
    return log_odds if kind is ScoreKind.LOG_ODDS else torch.sigmoid(log_odds)

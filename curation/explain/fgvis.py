"""FGVis: which pixels, each colour on its own, must go for a score to fall.

A mask of the size of the input is optimised; :class:`Defended` keeps the optimisation from
inventing evidence that the image does not hold. Read :meth:`FGVis.explain`, then :func:`optimise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import nn

from curation.detector import Detector, Network, ScoreKind
from curation.errors import ExplanationFailed
from curation.explain.base import check_segments, end_scores, layers_of, pixel_attributions
from curation.explain.target_score import score_of_logits
from curation.superpixels import SegmentArray
from curation.types import Attribution, ImageArray, ScoreTarget

Game: TypeAlias = Literal["deletion", "preservation"]

_BENDS = (nn.ReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid)
_TARGETS_A_PASS = 8


@dataclass(frozen=True, slots=True)
class FGVis:
    """Fine-grained visual explanation by optimising a mask under a defence.

    The explanation image is e = m x with m in 0..1 for each pixel and colour, and zero the mean
    colour. The deletion game lowers the target's probability from m = 1 on and shows what went,
    1 - m; the preservation game fades the image while the probability holds and shows what
    stayed, m. Both maps are averages over colours, in 0..1 and never negative: they show what
    supports a score, not what hurts it.

    Args:
        game: "deletion" or "preservation".
        num_steps: steps of gradient descent at most; each costs a forward and a backward pass.
        learning_rate: change of the mask where the gradient is strongest, a step.
        stop_ratio: a deletion ends once the probability is below this share of what it was.
        fade: weight of the mask's mean against the log-odds in the preservation game.
        defence: whether gradients through activations that the image does not hold are cut.
        kind: unit of the stated end scores; what is optimised is the target's log-odds, whose
            gradient does not vanish where the detector is sure.

    Source:
        Wagner et al., "Interpretable and Fine-Grained Visual Explanations for Convolutional
        Neural Networks", CVPR 2019. Gradients are divided by their largest magnitude, as in its
        public re-implementation. We differ: the score is that of one class at one default box,
        noise is not added to the input, and an end is set by the probability's share instead of
        a change of the top class, since a missed object is never the top class.
    """

    game: Game = "deletion"
    num_steps: int = 60
    learning_rate: float = 0.1
    stop_ratio: float = 0.1
    fade: float = 20.0
    defence: bool = True
    kind: ScoreKind = ScoreKind.LOG_ODDS

    name: ClassVar[str] = "fgvis"

    def __post_init__(self) -> None:
        if self.game not in get_args(Game):
            raise ValueError(f"game is {self.game!r}, expected one of {get_args(Game)}")
        if self.num_steps < 1 or not 0 < self.learning_rate <= 1 or not 0 <= self.stop_ratio < 1:
            raise ValueError("num_steps at least 1, learning_rate in (0, 1], stop_ratio in [0, 1)")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on."""
        return {
            "game": self.game,
            "num_steps": self.num_steps,
            "learning_rate": self.learning_rate,
            "stop_ratio": self.stop_ratio,
            "fade": self.fade,
            "defence": self.defence,
            "kind": str(self.kind),
        }

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets; targets are rows of one batch, each with its own mask."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        x = detector.preprocess([image])  # [1, 3, h, w]
        masks = optimise(layers_of(detector), x, targets, self)  # [T, 3, h, w]
        shown = masks if self.game == "preservation" else 1 - masks
        maps = shown.mean(dim=1).float().cpu().numpy()  # [T, h, w]
        return pixel_attributions(
            self, segments, targets, maps, end_scores(detector, x, targets, self.kind)
        )


class Defended(nn.Module):
    """An activation that remembers the image's values and lets no gradient past them.

    The value h(e) of an explanation must stay between 0 and h(x): the gradient passes only where
    h(e) <= max(0, h(x)) and h(e) >= min(0, h(x)).

    Source:
        Wagner et al., section 3.2.
    """

    def __init__(self, bend: nn.Module) -> None:
        super().__init__()
        self.bend = bend
        self.limit: torch.Tensor | None = None
        self.learns = False

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The activation's values; its gradient is gated once the image is known."""
        values: torch.Tensor = self.bend(inputs)
        if self.learns:
            self.limit = values.detach()
        elif self.limit is not None:
            values = _Gate.apply(values, self.limit)
        return values


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(values, limit)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        values, limit = ctx.saved_tensors
        inside = (values <= limit.clamp(min=0)) & (values >= limit.clamp(max=0))
        return gradients[0] * inside, None


def defend(module: nn.Module) -> list[Defended]:
    """Wrap every activation below a module, in place; returns the wrappers."""
    found = []
    for name, child in list(module.named_children()):
        if isinstance(child, _BENDS):
            if hasattr(child, "inplace"):
                child.inplace = False
            found.append(Defended(child))
            setattr(module, name, found[-1])
        else:
            found += defend(child)
    return found


def optimise(
    network: Network, x: torch.Tensor, targets: Sequence[ScoreTarget], rules: FGVis
) -> torch.Tensor:
    """The masks [T, 3, h, w] in 0..1 that the game ends with.

    Args:
        network: left as it is; a copy is worked on.
        x: [1, 3, h, w] normalised input.
        targets: T of them, any class at any default box.
        rules: the game.

    Raises:
        ExplanationFailed: a gradient is not finite.
    """
    network = guarded(network, x, targets, rules.defence)
    batches = _batches(targets, _TARGETS_A_PASS)
    return torch.cat([_play(network, x, batch, rules) for batch in batches])


def guarded(
    network: Network, x: torch.Tensor, targets: Sequence[ScoreTarget], defence: bool
) -> Network:
    """A copy of a network that knows the image's activations; plain without the defence."""
    network = network.copy()
    guards = [g for part in (network.backbone, network.class_heads) for g in defend(part)]
    if defence:
        for guard in guards:
            guard.learns = True
        with torch.no_grad():
            maps = network.maps(x)
            for target in targets:
                network.class_logits(maps, network.place(target.default_box))
        for guard in guards:
            guard.learns = False
    return network


def _batches(targets: Sequence[ScoreTarget], size: int) -> Iterator[Sequence[ScoreTarget]]:
    for start in range(0, len(targets), size):
        yield targets[start : start + size]


def _log_odds(
    network: Network, inputs: torch.Tensor, targets: Sequence[ScoreTarget]
) -> torch.Tensor:
    """[T] log-odds, row t for target t."""
    maps = network.maps(inputs)
    scores = []
    for row, target in enumerate(targets):
        own = [level[row : row + 1] for level in maps]
        logits = network.class_logits(own, network.place(target.default_box))  # [1, K]
        scores.append(score_of_logits(logits, target.label, ScoreKind.LOG_ODDS))
    return torch.cat(scores)


def _play(
    network: Network, x: torch.Tensor, targets: Sequence[ScoreTarget], rules: FGVis
) -> torch.Tensor:
    """Gradient descent on the masks of a few targets; rows that have ended stay as they are."""
    mask = torch.ones(len(targets), *x.shape[1:], device=x.device)
    start: torch.Tensor | None = None
    for _ in range(rules.num_steps):
        mask.requires_grad_(True)
        with torch.enable_grad():
            log_odds = _log_odds(network, mask * x.detach(), targets)  # [T]
            loss = log_odds.sum()
            if rules.game == "preservation":
                kept = log_odds if start is None else torch.minimum(log_odds, start)
                loss = rules.fade * mask.mean(dim=(1, 2, 3)).sum() - kept.sum()
            (slope,) = torch.autograd.grad(loss, mask)
        if not torch.isfinite(slope).all():
            raise ExplanationFailed("a gradient of the mask is not finite")
        probability = torch.sigmoid(log_odds.detach())
        start = log_odds.detach() if start is None else start
        going = torch.ones(len(targets), dtype=torch.bool, device=x.device)
        if rules.game == "deletion":
            going = probability > rules.stop_ratio * torch.sigmoid(start)
        if not going.any():
            break
        largest = slope.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
        step = rules.learning_rate * slope / largest * going[:, None, None, None]
        mask = (mask.detach() - step).clamp(0, 1)
    return mask.detach()

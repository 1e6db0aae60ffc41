"""FGVis: which pixels, each colour on its own, must go for a score to fall.

A mask of the size of the input is optimised; :mod:`.fgvis_defence` keeps the optimisation from
inventing evidence that the image does not hold. Read :meth:`FGVis.explain`, then :func:`optimise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch.nn.functional import logsigmoid

from curation.explain.base import check_segments, end_scores, layers_of, pixel_attributions
from curation.explain.methods.fgvis_defence import guarded
from curation.explain.methods.target_score import score_of_logits
from curation.kernel.detector import Detector, Network, ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

Game: TypeAlias = Literal["deletion", "preservation"]

_TARGETS_A_PASS = 8
_SLACK = 0.1  # log-odds that a preserved score may lose: a step of descent is never exact


@dataclass(frozen=True, slots=True)
class FGVis:
    """Fine-grained visual explanation by optimising a mask under a defence.

    The explanation image is e = m x with m in 0..1 for each pixel and colour, and zero the mean
    colour. The deletion game lowers the target's probability from m = 1 on and shows what went,
    1 - m; ``notes`` say where it does not get as low as ``stop_ratio``. The preservation game
    fades the image and shows what stayed, m: of all masks on the way under which the log-odds
    are at most 0.1 below the image's, the one of smallest mean. Both maps are averages over
    colours, in 0..1 and never negative: they show what supports a score, not what hurts it.

    Args:
        game: "deletion" or "preservation".
        num_steps: steps of gradient descent at most; each costs a forward and a backward pass,
            and the last mask a forward pass.
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
        masks, shares = optimise(layers_of(detector), x, targets, self)  # [T, 3, h, w], [T]
        shown = masks if self.game == "preservation" else 1 - masks
        maps = shown.mean(dim=1).float().cpu().numpy()  # [T, h, w]
        notes = [self._notes(float(share)) for share in shares]
        scores = end_scores(detector, x, targets, self.kind)
        return pixel_attributions(self, segments, targets, maps, scores, notes)

    def _notes(self, share: float) -> tuple[str, ...]:
        if self.game == "preservation" or share <= self.stop_ratio:
            return ()
        left, aim = f"{100 * share:.0f} %", f"{100 * self.stop_ratio:.0f} %"
        return (
            f"the probability fell to {left} of the image's, not below {aim}: more holds it up",
        )


class Played(NamedTuple):
    """How a game ended for T targets."""

    masks: torch.Tensor
    """[T, 3, h, w] in 0..1."""
    shares: torch.Tensor
    """[T] probabilities under the masks, divided by those of the image."""


def optimise(
    network: Network, x: torch.Tensor, targets: Sequence[ScoreTarget], rules: FGVis
) -> Played:
    """The masks that the game ends with.

    Args:
        network: left as it is; a copy is worked on.
        x: [1, 3, h, w] normalised input.
        targets: T of them, any class at any default box.
        rules: the game.

    Raises:
        ExplanationFailed: a score or a gradient is not a number.
    """
    network = guarded(network, x, targets, rules.defence)
    played = [_play(network, x, batch, rules) for batch in _batches(targets, _TARGETS_A_PASS)]
    return Played(*(torch.cat(parts) for parts in zip(*played, strict=True)))


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
) -> Played:
    """Gradient descent on the masks of a few targets; rows that have ended stay as they are."""
    mask = torch.ones(len(targets), *x.shape[1:], device=x.device)
    track: _Track | None = None
    for step in range(rules.num_steps + 1):
        descends = step < rules.num_steps
        mask.requires_grad_(descends)
        with torch.set_grad_enabled(descends):
            log_odds = _log_odds(network, mask * x.detach(), targets)  # [T]
            loss = log_odds.sum()
            if rules.game == "preservation":
                kept = torch.minimum(log_odds, track.start) if track else log_odds
                loss = rules.fade * mask.mean(dim=(1, 2, 3)).sum() - kept.sum()
        if log_odds.isnan().any():
            raise ExplanationFailed("a score under the mask is not a number")
        track = track or _Track(log_odds.detach(), mask.detach())
        going = track.see(log_odds.detach(), mask.detach(), rules)  # [T]
        if not descends or not going.any():
            break
        (slope,) = torch.autograd.grad(loss, mask)
        if not torch.isfinite(slope).all():
            raise ExplanationFailed("a gradient of the mask is not finite")
        largest = slope.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
        change = rules.learning_rate * slope / largest * going[:, None, None, None]
        mask = (mask.detach() - change).clamp(0, 1)
    assert track is not None  # the range has a first step
    return Played(track.masks, track.shares())


class _Track:
    """The masks that a game would end with now, and their log-odds.

    Args:
        log_odds: [T] of the image.
        masks: [T, 3, h, w] of ones.
    """

    def __init__(self, log_odds: torch.Tensor, masks: torch.Tensor) -> None:
        self.start = self.log_odds = log_odds
        self.masks = masks

    def shares(self) -> torch.Tensor:
        """[T] probabilities under the masks, divided by those of the image."""
        # by logarithms, since a missed object's probability may be below the smallest float
        shares: torch.Tensor = (logsigmoid(self.log_odds) - logsigmoid(self.start)).exp()
        return shares

    def see(self, log_odds: torch.Tensor, masks: torch.Tensor, rules: FGVis) -> torch.Tensor:
        """Take new masks in; whether each row goes on, [T] bool."""
        if rules.game == "deletion":
            self.log_odds, self.masks = log_odds, masks
            return self.shares() > rules.stop_ratio
        smaller = masks.mean(dim=(1, 2, 3)) < self.masks.mean(dim=(1, 2, 3))
        better = smaller & (log_odds >= self.start - _SLACK)
        self.log_odds = torch.where(better, log_odds, self.log_odds)
        self.masks = torch.where(better[:, None, None, None], masks, self.masks)
        return torch.ones_like(better)

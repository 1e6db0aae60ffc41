"""LRP: layer-wise relevance propagation from one class output of one default box.

The rules are in :mod:`.rules`, how they travel through a network in :mod:`.relevance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import torch

from curation.explain.methods.relevance import FirstLayer, RelevanceNetwork, prepare, starting_layer
from curation.explain.methods.rules import AlphaBeta, Epsilon, Rule
from curation.explain.methods.sweep import Seed, explain_by_sweeps, output_channel, require_derived
from curation.kernel.detector import Detector, Network, Place, ScoreKind
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

RuleName: TypeAlias = Literal["simple", "epsilon", "alpha_beta"]
Start: TypeAlias = Literal["one", "output"]


@dataclass(frozen=True, slots=True)
class Lrp:
    """Relevance of the pixels for one class output, handed down layer by layer.

    The map says what the output is made of, not what it would lose: its sum is what is left of
    the starting relevance (``notes`` give both), not a difference of scores. alpha-beta maps of
    two classes at one default box are nearly the same, which is why there is CRP.

    Args:
        rule: "simple", "epsilon" or "alpha_beta".
        epsilon: of the epsilon rule, in units of a layer's outputs.
        alpha: weight of the contributions of an output's own sign.
        beta: weight of those of the other sign, in the convention of alpha + beta = 1;
            Bach's beta is minus this one. alpha = 1, beta = 0 is w+.
        start: relevance of the class output, "one" or the "output" itself before the softmax.
            None takes the output under the simple and the epsilon rule, which need it for
            positive to mean support, and one under alpha-beta, where a negative output would
            turn all support to harm.
        first: rule of the layer that sees pixels: "z_box", "flat", or the "same" as others.
        kind: unit in which the score is stated; the map does not depend on it.

    Source:
        Bach et al., 2015; the z-box rule of Montavon et al., 2017. The bias keeps its share
        under the simple and the epsilon rule and gets none under alpha-beta.
    """

    rule: RuleName = "epsilon"
    epsilon: float = 1e-6
    alpha: float = 1.0
    beta: float = 0.0
    start: Start | None = None
    first: FirstLayer = "z_box"
    kind: ScoreKind = ScoreKind.LOGIT

    name: ClassVar[str] = "lrp"

    def __post_init__(self) -> None:
        if self.rule not in get_args(RuleName) or self.first not in get_args(FirstLayer):
            raise ValueError(
                f"rule is {self.rule!r}, expected one of {get_args(RuleName)}; first is "
                f"{self.first!r}, expected one of {get_args(FirstLayer)}"
            )
        if self.start is not None and self.start not in get_args(Start):
            raise ValueError(f"start is {self.start!r}, expected one of {get_args(Start)}")
        if not self.epsilon > 0:
            raise ValueError("epsilon must be above 0; the simple rule goes without")
        if abs(self.alpha + self.beta - 1) > 1e-9:
            raise ValueError(
                f"alpha + beta = {self.alpha + self.beta}, must be 1: beta has the sign of the "
                "slides' convention, minus Bach's"
            )

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; of the rules' numbers, those of the rule taken."""
        of_rule: dict[str, Any] = {}
        if self.rule == "epsilon":
            of_rule = {"epsilon": self.epsilon}
        elif self.rule == "alpha_beta":
            of_rule = {"alpha": self.alpha, "beta": self.beta}
        starts = {"start": self._start, "first": self.first, "kind": str(self.kind)}
        return {"rule": self.rule, **of_rule, **starts}

    @property
    def _start(self) -> Start:
        return self.start or ("one" if self.rule == "alpha_beta" else "output")

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets: one forward pass for all, one sweep down for each.

        Raises:
            ExplanationFailed: no layers to look at; alpha-beta on a network with hard-swish or
                gates; a map is not finite.
        """
        return explain_by_sweeps(self, detector, image, targets, segments)

    def prepare(self, network: Network) -> RelevanceNetwork:
        """A copy of the network that carries relevance by this rule."""
        rule: Rule = Epsilon(self.epsilon if self.rule == "epsilon" else 0.0)
        if self.rule == "alpha_beta":
            require_derived(network, "alpha-beta LRP")
            rule = AlphaBeta(self.alpha, self.beta)
        return prepare(network, rule, self.first)

    def seed(
        self, ready: RelevanceNetwork, features: torch.Tensor, place: Place, label: int
    ) -> Seed:
        """Through the class head, from the one output."""
        head = ready.network.class_heads[place.level]
        leaf = features.clone().requires_grad_(True)
        outputs = ready.head(head, leaf)  # [1, P*K, fh, fw]
        channel, row, column = output_channel(place, ready.network.num_classes, label)
        own = float(outputs.detach()[0, channel, row, column])
        relevance = torch.zeros_like(outputs)
        relevance[0, channel, row, column] = 1.0 if self._start == "one" else own
        starting_layer(head).side = 1  # relevance is of support, whatever the output's own sign
        (gradient,) = torch.autograd.grad(outputs, leaf, relevance)
        return Seed(gradient, float(relevance.sum()))

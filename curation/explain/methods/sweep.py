"""What LRP and CRP share: from a feature map down to the pixels, one sweep a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from curation.explain.base import check_segments, end_scores, layers_of, pixel_attributions
from curation.explain.methods.relevance import LayerRelevance, RelevanceNetwork, breaking_layers
from curation.kernel.detector import Detector, Network, Place, ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray


class Seed(NamedTuple):
    """Where a sweep begins: at the feature map that the target's default box lies on."""

    gradient: torch.Tensor
    """[1, C, fh, fw] modified gradient; times the map it is the relevance of the map's units."""
    started: float
    """Relevance that was given to the outputs."""
    notes: tuple[str, ...] = ()


class Propagation(Protocol):
    """A method that hands relevance from outputs down to pixels."""

    @property
    def name(self) -> str:
        """Its name in the registry."""
        ...

    @property
    def kind(self) -> ScoreKind:
        """Unit in which the attribution states the target's score."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on."""
        ...

    def prepare(self, network: Network) -> RelevanceNetwork:
        """A copy with modified gradients."""
        ...

    def seed(
        self, ready: RelevanceNetwork, features: torch.Tensor, place: Place, label: int
    ) -> Seed:
        """The head's part: from the outputs at one default box to its feature map."""
        ...

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """One attribution for each target."""
        ...


def explain_by_sweeps(
    method: Propagation,
    detector: Detector,
    image: ImageArray,
    targets: Sequence[ScoreTarget],
    segments: SegmentArray,
) -> list[Attribution]:
    """Maps of all targets: one forward pass for all, one sweep down for each.

    Raises:
        ExplanationFailed: the detector does not show its layers, the method is not defined for
            them, or a map is not finite.
    """
    check_segments(segments, detector.input_size_hw)
    if not targets:
        return []
    network = layers_of(detector)
    ready = method.prepare(network)
    inputs = detector.preprocess([image]).detach()  # [1, 3, h, w]
    scores = end_scores(detector, inputs, targets, method.kind)
    inputs.requires_grad_(True)
    maps = ready.maps(inputs)
    found, notes = [], []
    for target in targets:
        pixels, seed = _sweep(method, ready, inputs, maps, target)
        found.append(pixels)
        kept = float(pixels.sum(dtype=torch.float64))
        text = f"relevance: {seed.started:.4g} at the outputs, {kept:.4g} at the pixels"
        notes.append((text, *seed.notes, *_remarks(ready, network)))
    stacked = torch.stack(found).float().cpu().numpy()  # [T, h, w]
    return pixel_attributions(method, segments, targets, stacked, scores, notes)


def layer_statistics(
    method: Propagation, detector: Detector, image: ImageArray, target: ScoreTarget
) -> tuple[LayerRelevance, ...]:
    """Greatest, least and summed relevance from the feature map down to the pixels.

    Each row is about the inputs of a layer. Where a network branches, a row holds only what came
    through its own layer. The first row is the feature map under the head, for CRP after the
    contrast; the last one is the pixels.

    Raises:
        ExplanationFailed: as ``explain`` of the method.

    Source:
        The tables of Tsunakawa et al., 2019.
    """
    ready = method.prepare(layers_of(detector))
    inputs = detector.preprocess([image]).detach().requires_grad_(True)
    maps = ready.maps(inputs)
    features = maps[ready.network.place(target.default_box).level].detach()
    with ready.traced() as trace:
        _, seed = _sweep(method, ready, inputs, maps, target)
    top = (seed.gradient * features).double()
    first = LayerRelevance("feature map", float(top.max()), float(top.min()), float(top.sum()))
    return (first, *(row for row in trace if row.layer.startswith("backbone")))


def require_derived(network: Network, what: str) -> None:
    """Refuse networks whose activations break the derivation of w+ and its relatives.

    Raises:
        ExplanationFailed: a layer bends the signal below zero or multiplies branches.
    """
    kinds = breaking_layers(network)
    if kinds:
        raise ExplanationFailed(
            f"{what} is derived for rectified activations, and this network has "
            f"{', '.join(kinds)}: use lrp with rule='epsilon', or another method"
        )


def output_channel(place: Place, per_box: int, which: int) -> tuple[int, int, int]:
    """(channel, row, column) of one output of a default box in its head's [B, P*n, fh, fw]."""
    return place.shape * per_box + which, place.row, place.column


def _sweep(
    method: Propagation,
    ready: RelevanceNetwork,
    inputs: torch.Tensor,
    maps: Sequence[torch.Tensor],
    target: ScoreTarget,
) -> tuple[torch.Tensor, Seed]:
    """Relevance [h, w] of the pixels, summed over colours, and what it began with."""
    ready.begin_sweep()
    place = ready.network.place(target.default_box)
    features = maps[place.level]
    seed = method.seed(ready, features.detach(), place, target.label)
    (relevance,) = torch.autograd.grad(features, inputs, seed.gradient, retain_graph=True)
    return relevance[0].sum(dim=0), seed


def _remarks(ready: RelevanceNetwork, network: Network) -> tuple[str, ...]:
    remarks = []
    kinds = breaking_layers(network)
    if kinds:
        remarks.append(
            f"not derived for {', '.join(kinds)}: relevance passes them unchanged, gates are "
            "taken as fixed"
        )
    if ready.by_own_sign and ready.below_zero:
        remarks.append(
            "units below zero that no rectifier cuts gave their relevance to their negative "
            "contributions"
        )
    return tuple(remarks)

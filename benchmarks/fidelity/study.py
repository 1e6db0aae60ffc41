"""One detector with its cases, and the explanations that the parts share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from benchmarks.common.units import Key, Units
from benchmarks.fidelity import cases, methods
from benchmarks.fidelity.cases import Case
from curation import superpixels
from curation.explain.belief import Posterior
from curation.explain.coalition_fit import Layout
from curation.explain.coalition_gp import Kernel
from curation.kernel.detector import Precision
from curation.kernel.types import Attribution, Belief, FloatArray
from curation.superpixels import SegmentArray
from retrain.detector import SsdDetector

FEW, MAX_EXACT = 18, 12


@dataclass(slots=True)
class Study:
    """A detector, the data it is tried on, and what is computed already.

    Attributes:
        world: name of the data.
        architecture: name of the network.
        detector: trained on that world.
        data: folder of the real data.
        units: the cache.
    """

    world: str
    architecture: str
    detector: SsdDetector
    data: Path
    units: Units
    _price: float | None = None
    _cases: dict[tuple[int, bool, int, int], list[Case]] = field(default_factory=dict)
    _segments: dict[tuple[str, int], SegmentArray] = field(default_factory=dict)

    def key(self, unit: str, case: Case | None = None, **more: Any) -> Key:
        """The name of a unit of work."""
        model = f"{self.world}-{self.architecture}-{self.detector.version[:12]}"
        image = {}
        if case is not None:
            boxes = " ".join(f"{t.default_box}:{t.label}" for t in case.targets)
            image = {"image": case.name, "targets": boxes}
        if case is not None and "asked" in more:
            # equal numbers of segments are not equal segments
            image["partition"] = f"{crc32(self.segments(case, more['asked']).tobytes()):08x}"
        return {"unit": unit, "model": model, **image, **more}

    def cases(
        self,
        count: int,
        planted: bool = False,
        most: int = cases.MOST,
        seed: int = cases.STREET_SEED,
    ) -> list[Case]:
        """The first ``count`` images; larger counts only add."""
        key = (count, planted, most, seed)
        if key not in self._cases:
            self._cases[key] = cases.find(
                self.world, self.detector, self.data, count, planted, most, seed
            )
        return self._cases[key]

    def price(self) -> float:
        """Of a backward pass, in forward passes; measured once for a detector."""
        if self._price is None:
            target = self.cases(1)[0].targets[0]
            measured = self.units.get(
                self.key("price"), lambda: methods.backward_price(self.detector, target)
            )
            self._price = float(measured["backward"]) if measured else 1.0
        return self._price

    def segments(self, case: Case, asked: int) -> SegmentArray:
        """SLIC superpixels; a grid where few are asked for and more than 12 are found."""
        if (case.name, asked) not in self._segments:
            size = self.detector.input_size_hw
            found = superpixels.slic(case.image, size, asked)
            if asked <= FEW and superpixels.count(found) > MAX_EXACT:
                found = superpixels.grid(size, MAX_EXACT)
            self._segments[case.name, asked] = found
        return self._segments[case.name, asked]

    def maps(self, case: Case, asked: int, name: str, cost: int) -> dict[str, Any] | None:
        """Values [T][S], errors [T][S] and seconds of a method at a cost; None if it cannot."""
        segments = self.segments(case, asked)
        explainer = methods.at_cost(name, cost, self.price(), superpixels.count(segments))
        if explainer is None:
            return None

        def compute() -> dict[str, Any]:
            start = methods.clock(self.detector.device)
            found = explainer.explain(self.detector, case.image, case.targets, segments)
            seconds = methods.clock(self.detector.device) - start
            return {
                "values": [attribution.values for attribution in found],
                "errors": [attribution.standard_errors for attribution in found],
                "region_values": [a.region_values for a in found],
                "region_errors": [a.region_errors for a in found],
                "scores": [[a.score, a.baseline_score] for a in found],
                "beliefs": [_packed(a.belief) for a in found],
                "passes": passes_of(found[0], cost),
                "seconds": seconds,
            }

        given = {key: value for key, value in explainer.parameters.items() if key != "kind"}
        key = self.key("map", case, asked=asked, method=name, cost=cost, given=given)
        result: dict[str, Any] | None = self.units.get(key, compute)
        return result

    def attributions(
        self, case: Case, asked: int, name: str, cost: int
    ) -> list[Attribution] | None:
        """The same as attributions, for what is made of them."""
        found = self.maps(case, asked, name, cost)
        if found is None:
            return None
        segments = self.segments(case, asked)

        def of_regions(name: str, t: int) -> FloatArray | None:
            own = found[name][t]
            return None if own is None else np.array(own, np.float32)

        return [
            Attribution(
                target,
                segments,
                np.array(found["values"][t], np.float32),
                np.array([np.nan if e is None else e for e in found["errors"][t]], np.float32),
                score=found["scores"][t][0],
                baseline_score=found["scores"][t][1],
                method=name,
                region_values=of_regions("region_values", t),
                region_errors=of_regions("region_errors", t),
                belief=_unpacked(found["beliefs"][t], int(segments.max()) + 1),
            )
            for t, target in enumerate(case.targets)
        ]


def _packed(belief: Belief | None) -> dict[str, Any] | None:
    """What a cached line keeps of a belief."""
    if not isinstance(belief, Posterior):
        return None
    kernel = belief.kernel
    return {
        "masks": [row.tobytes().hex() for row in np.packbits(belief.masks > 0, axis=1)],
        "scores": belief.scores,
        "distances": belief.layout.distances,
        "rates": None if kernel is None else kernel.rates,
        "noise": None if kernel is None else kernel.noise,
        "linear": None if kernel is None or kernel.linear is None else kernel.linear,
        "later": belief.later,
    }


def _unpacked(kept: dict[str, Any] | None, count: int) -> Posterior | None:
    if kept is None:
        return None
    rows = [np.frombuffer(bytes.fromhex(row), np.uint8) for row in kept["masks"]]
    masks = np.unpackbits(np.stack(rows), axis=1, count=count).astype(np.float32)
    rates = kept["rates"]
    linear = kept.get("linear")
    kernel = None
    if rates is not None:
        kernel = Kernel(
            np.array(rates, np.float64),
            float(kept["noise"]),
            None if linear is None else np.array(linear, np.float64),
        )
    # of the layout no more than what regions are made of: nothing is fitted again
    layout = Layout(np.array(kept["distances"], np.float64))
    scores = np.array(kept["scores"], np.float32)
    return Posterior(masks, scores, layout, kernel, int(kept.get("later", 0)))


def passes_of(attribution: Attribution, cost: int) -> int:
    """Forward passes of an image: those that were taken, where a method may stop early."""
    belief = attribution.belief
    return len(belief.masks) if isinstance(belief, Posterior) else cost


def load(
    folder: Path, units: Units, data: Path, device: str, precision: Precision = "fp32"
) -> Study:
    """The study of a trained detector, whose folder is named WORLD-ARCHITECTURE-SEED.

    In half precision all scores are, of methods and references alike; what is cached has the
    precision in its key, by the detector's version.
    """
    world, architecture, _ = folder.name.rsplit("-", 2)  # a world may have the sign in its name
    detector = SsdDetector.load(folder, device).in_precision(precision)
    return Study(world, architecture, detector, data, units)

"""How a selection is made, apart from what makes it: pages read this without loading a network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """How a selection is made: policy, its seed and its budget."""

    policy: str
    seed: int
    budget_boxes: int

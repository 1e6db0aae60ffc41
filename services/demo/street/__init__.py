"""The street world: generated scenes with planted causes, so that every failure's cause is known.

Read ``config`` for what a split holds, ``generate`` for how a scene is composed, ``planting`` for
the causes; ``vehicles``, ``people``, ``clutter`` and ``backdrop`` draw; ``export`` writes COCO.
"""

from services.demo.street.config import (
    AWAY_CAUSES,
    CAUSE_CLASS,
    CAUSES,
    CLASS_NAMES,
    SPLITS,
    Split,
    WorldConfig,
)
from services.demo.street.export import read_cause_masks, write_coco
from services.demo.street.generate import draw_scene, generate
from services.demo.street.scene import Lookalike, Scene

__all__ = [
    "AWAY_CAUSES",
    "CAUSES",
    "CAUSE_CLASS",
    "CLASS_NAMES",
    "SPLITS",
    "Lookalike",
    "Scene",
    "Split",
    "WorldConfig",
    "draw_scene",
    "generate",
    "read_cause_masks",
    "write_coco",
]

"""The generator "bridge": a small network that is trained on the project's own pictures.

It fills a hole from three things: the composite that is there, what is seen around it, and the
region vectors of what hurt, which it attends to. ::

    prepare(crops, encoder) -> Examples         windows with holes, and the vector of each hole
    train(examples, folder, recipe)             resumable; the same examples, the same weights
    conditioned(generator, plans, ...)          bar G1, of any generator
    write_verdict(folder, Verdict(...))         what was measured of these weights
    get("bridge", folder=..., encoder=...)      refused until its verdict passes, unless asked for

Training stands here and not in ``retrain``: it needs the encoder's vectors and the geometry of
drawing, which ``retrain`` may not know, and it shares no code with the training of a detector. Read
``network``, ``examples``, ``training``, ``generator``, ``verdict``.
"""

from curation.synthesis.bridge.examples import Crop, Examples, prepare
from curation.synthesis.bridge.generator import Bridge
from curation.synthesis.bridge.network import NetworkSize
from curation.synthesis.bridge.training import Recipe, train
from curation.synthesis.bridge.verdict import (
    Conditioned,
    Verdict,
    Worth,
    conditioned,
    read_verdict,
    verdict_of,
    write_verdict,
)

__all__ = [
    "Bridge",
    "Conditioned",
    "Crop",
    "Examples",
    "NetworkSize",
    "Recipe",
    "Verdict",
    "Worth",
    "conditioned",
    "prepare",
    "read_verdict",
    "train",
    "verdict_of",
    "write_verdict",
]

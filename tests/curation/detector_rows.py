"""What a detector shows and offers, written as rows: for the tests of failures."""

import numpy as np

from curation.failures import FailureRules
from curation.kernel.types import Detections, FailureKind, Proposals, Truth

FN, FP = FailureKind.FALSE_NEGATIVE, FailureKind.FALSE_POSITIVE
WRONG, LOOSE = FailureKind.WRONG_CLASS, FailureKind.BAD_LOCALISATION
RULES = FailureRules()
OBJECT = (10.0, 10.0, 30.0, 30.0)
FAR = (200.0, 200.0, 220.0, 220.0)
CAR, BUS = 1, 2


def detections(*rows):
    """Rows of box, score, label; the default box is 100 + the row."""
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        np.arange(len(rows), dtype=np.int64),
    )


def truth(*rows, ignore=()):
    """Rows of box, label."""
    boxes, labels = zip(*rows, strict=True) if rows else ((), ())
    flags = np.zeros(len(rows), np.bool_)
    flags[list(ignore)] = True
    return Truth(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), flags)


def proposals(*rows):
    """Rows of regressed box, probabilities of car and bus, and optionally the placed box."""
    regressed = [row[0] for row in rows]
    probabilities = [(1 - sum(row[1]), *row[1]) for row in rows]
    placed = [row[2] if len(row) > 2 else row[0] for row in rows]
    return Proposals(
        np.array(regressed, np.float32),
        np.array(probabilities, np.float32),
        np.array(placed, np.float32),
    )


NOTHING = proposals((FAR, (0.001, 0.001)), (FAR, (0.001, 0.001)), (FAR, (0.001, 0.001)))


def shifted(by: float, box=OBJECT):
    return (box[0] + by, box[1], box[2] + by, box[3])

"""Everything that can go wrong in training and promotion, in one tree.

::

    RetrainError
    ├── ConfigInvalid        settings contradict each other or leave their range
    ├── TrainingDataInvalid  a manifest cannot be trained on; found before the first step
    ├── NonFiniteLoss        the loss or a weight became NaN or infinite
    ├── CheckpointCorrupt    a model folder or a resume file is not what it should be
    ├── WeightsUnavailable   the pretrained weights that were asked for cannot be had
    ├── TrainingInterrupted  training was asked to stop; it resumes from its last epoch
    └── ReportMismatch       two evaluation reports do not compare

``code`` is stable; ``retryable`` tells a worker whether trying the same input again can help.
"""

from __future__ import annotations

from typing import ClassVar


class RetrainError(Exception):
    """Base of all errors of this package."""

    code: ClassVar[str] = "retrain_error"
    retryable: ClassVar[bool] = False


class ConfigInvalid(RetrainError):
    """Settings contradict each other or leave their range; the message names them."""

    code = "config_invalid"


class TrainingDataInvalid(RetrainError):
    """A manifest cannot be trained on; the message names the item."""

    code = "training_data_invalid"


class ImagesUnreadable(RetrainError):
    """So many images cannot be read that what follows from the others would mislead."""

    code = "images_unreadable"


class NonFiniteLoss(RetrainError):
    """The loss or a weight became NaN or infinite; the message names where and the rate."""

    code = "non_finite_loss"


class CheckpointCorrupt(RetrainError):
    """A model folder or a resume file is damaged, incomplete or of a kind that is refused."""

    code = "checkpoint_corrupt"


class WeightsUnavailable(RetrainError):
    """The pretrained weights that were asked for by name cannot be had here."""

    code = "weights_unavailable"
    retryable = True


class TrainingInterrupted(RetrainError):
    """Training was asked to stop; started again it resumes from its last epoch."""

    code = "training_interrupted"
    retryable = True


class ReportMismatch(RetrainError):
    """Two evaluation reports do not compare: other data, other classes or other thresholds."""

    code = "report_mismatch"

"""Everything that can go wrong in the science, in one tree.

::

    CurationError
    ├── InvalidBoxes        a box is not finite, inverted, empty or outside its image
    ├── ImageUnreadable     the bytes are not an image that we can use
    ├── VideoUnreadable     a file is no video that frames can be taken from
    ├── AnnotationsInvalid  an annotation file breaks its format
    ├── ExplanationFailed   no attribution could be computed
    ├── EncoderMismatch     vectors of one encoder meet those of another
    ├── ShardCorrupt        a stored vector file does not match its own description
    ├── IndexBusy           another process is writing to the region index
    ├── IndexMoved          another host has changed the region index meanwhile
    ├── BudgetTooSmall      nothing can be selected for this budget
    ├── GeneratorUnusable   a generator cannot draw at all: its weights or packages are not there
    ├── DrawingFailed       one sample could not be drawn
    └── ManifestMismatch    a manifest is not what its name says

``code`` is stable and is what an API returns; ``retryable`` tells a worker whether trying the
same input again can help.
"""

from __future__ import annotations

from typing import ClassVar


class CurationError(Exception):
    """Base of all errors of this package."""

    code: ClassVar[str] = "curation_error"
    retryable: ClassVar[bool] = False


class InvalidBoxes(CurationError):
    """A box is not finite, inverted, empty or outside its image."""

    code = "invalid_boxes"


class ImageUnreadable(CurationError):
    """The bytes are not an image that we can use; the message says what to do."""

    code = "image_unreadable"


class VideoUnreadable(CurationError):
    """A file is no video that frames can be taken from; the message says what to do."""

    code = "video_unreadable"


class AnnotationsInvalid(CurationError):
    """An annotation file breaks its format; the message names the file and the entry."""

    code = "annotations_invalid"


class ExplanationFailed(CurationError):
    """No attribution could be computed for this target."""

    code = "explanation_failed"


class EncoderMismatch(CurationError):
    """Vectors of one encoder version meet those of another."""

    code = "encoder_mismatch"


class ShardCorrupt(CurationError):
    """A stored vector file does not match its own description."""

    code = "shard_corrupt"


class IndexBusy(CurationError):
    """Another process is writing to the region index; trying again later helps."""

    code = "index_busy"
    retryable = True


class IndexMoved(CurationError):
    """Another host has changed the region index since it was looked at; nothing was written."""

    code = "index_moved"
    retryable = True


class BudgetTooSmall(CurationError):
    """Nothing can be selected for this budget."""

    code = "budget_too_small"


class GeneratorUnusable(CurationError):
    """A generator cannot draw at all; the message says which weights or packages it lacks."""

    code = "generator_unusable"


class DrawingFailed(CurationError):
    """One sample could not be drawn; its neighbours can."""

    code = "drawing_failed"


class ManifestMismatch(CurationError):
    """A manifest is not what its name says."""

    code = "manifest_mismatch"

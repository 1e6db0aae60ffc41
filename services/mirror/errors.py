"""What can go wrong when MLflow is told something."""

from __future__ import annotations

from services.errors import ServiceError, ToolUnavailable


class MirrorUnavailable(ToolUnavailable):
    """The server is away, refuses us, or cannot be spoken to; nothing is lost."""


class MirrorRefused(ServiceError):
    """The server refuses what it is told of one model; the others are told all the same."""

    code = "mirror_refused"
    status = 409
    retryable = True

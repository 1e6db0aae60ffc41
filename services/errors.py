"""What can go wrong in the services, in one tree.

::

    ServiceError
    ├── NotFound          no such row or file
    ├── Conflict          the request contradicts what is stored
    │   └── ChampionChanged   another model has become the champion meanwhile
    ├── InvalidRequest    the request itself is wrong; the message says what to do
    ├── LeaseLost         somebody else owns the unit or task now
    ├── NotAllowed        token missing or unknown, or a path outside the project
    ├── Forbidden         known, but not of the role that it takes
    ├── LockedOut         too many wrong passwords; says for how long
    ├── TooLarge          over a size limit
    └── ToolUnavailable   a server or tool that we need cannot be reached

``code`` is what the API returns beside ``status``; ``retryable`` is read by the task shell.
"""

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Base of all errors of this package."""

    code: ClassVar[str] = "service_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False


class NotFound(ServiceError):
    """No such row or file."""

    code = "not_found"
    status = 404


class Conflict(ServiceError):
    """The request contradicts what is stored."""

    code = "conflict"
    status = 409


class ChampionChanged(Conflict):
    """Another model has become the champion meanwhile; the comparison must be made again."""

    code = "champion_changed"
    retryable = True


class InvalidRequest(ServiceError):
    """The request itself is wrong; the message says what to do."""

    code = "invalid_request"
    status = 422


class LeaseLost(ServiceError):
    """Somebody else owns the unit or task now; what was computed is dropped."""

    code = "lease_lost"
    status = 409


class NotAllowed(ServiceError):
    """Token missing or unknown, or a path outside the project."""

    code = "not_allowed"
    status = 401


class Forbidden(ServiceError):
    """Whoever asks is known, and may not do this."""

    code = "forbidden"
    status = 403


class LockedOut(ServiceError):
    """Too many wrong passwords.

    Args:
        message: says what to do.
        retry_after_s: when to try again.
    """

    code = "locked_out"
    status = 429

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooLarge(ServiceError):
    """Over a size limit."""

    code = "too_large"
    status = 413


class ToolUnavailable(ServiceError):
    """A server or tool that we need cannot be reached right now."""

    code = "tool_unavailable"
    status = 503
    retryable = True

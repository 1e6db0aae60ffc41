"""Troubles of a loop that must go on: each is said once, and once that it is over."""

from __future__ import annotations

import logging


class Troubles:
    """What goes wrong now, by the name of what it happens to.

    Args:
        logger: where it is said. A log that cannot be written must not end the loop either, so
            nothing that the logger raises is passed on.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._now: dict[str, str] = {}

    @property
    def now(self) -> dict[str, str]:
        """What is not over yet: names to messages."""
        return dict(self._now)

    def met(self, name: str, error: BaseException) -> None:
        """Something went wrong; said with its traceback unless it is what was said last."""
        # The first line: what a database driver adds below holds the time of each statement.
        message = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if self._now.get(name) != message:
            self._now[name] = message
            self._say("%s: %s; it is tried again", name, message, error=error)

    def over(self, name: str) -> None:
        """It works; said if it did not before."""
        if self._now.pop(name, None) is not None:
            self._say("%s: works again", name)

    def forget(self, names: set[str]) -> None:
        """Keep the troubles of these names only: the others are gone with what had them."""
        self._now = {name: message for name, message in self._now.items() if name in names}

    def _say(self, text: str, *values: object, error: BaseException | None = None) -> None:
        try:
            self._logger.warning(text, *values, exc_info=error)
        except Exception:  # there is nobody left to tell
            return

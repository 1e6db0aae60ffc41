"""Which addresses are pages; all others are the API's."""

from __future__ import annotations

SEGMENTS = frozenset(
    (
        *(
            "",
            "account",
            "assets",
            "audit",
            "cycles",
            "data",
            "decisions",
            "events",
            "failures",
            "help",
            "label",
            "login",
            "looks",
            "logout",
        ),
        *("models", "modes", "pictures", "plan", "samples", "settings", "users"),
        "work",
    )
)
"""The first parts of the pages' paths."""
OPEN = frozenset(("assets", "login"))
"""Those that are served to whoever asks: without them nobody could sign in."""


def segment_of(path: str) -> str:
    """The first part of a path: ``failures`` of ``/failures/abc``."""
    return path.lstrip("/").partition("/")[0]


def is_page(path: str) -> bool:
    """Whether a path is one of the pages, or of their scripts and pictures."""
    return path.startswith("/") and segment_of(path) in SEGMENTS


def is_local(path: str) -> bool:
    """Whether a text is an address within these pages, and not a way to another host."""
    return path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()

"""The engines that can hold a region index: one line each."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from curation.index.protocol import PoolIndex
from services.context import Context
from services.errors import InvalidRequest

ENGINES = {
    "faiss": "services.store.faiss_engine",
    "lancedb": "services.store.lance_engine",
}
"""Module of each. Nothing of an engine's library is loaded before an index is opened."""


class Engine(Protocol):
    """What a module of :data:`ENGINES` does; see :mod:`services.store.region_index`."""

    def open_index(self, context: Context, encoder_version: str, width: int) -> PoolIndex:
        """The region index of one encoder version."""
        ...

    def has_index(self, context: Context, encoder_version: str) -> bool:
        """Whether anything was ever indexed under an encoder."""
        ...

    def width_of(self, context: Context, encoder_version: str) -> int:
        """Width of an index's vectors."""
        ...

    def begin_anew(self, context: Context, encoder_version: str, width: int) -> str:
        """Let the index of an encoder be empty; where the old files are."""
        ...

    def encoders_in(self, context: Context) -> list[str]:
        """Versions of all encoders that there is an index of."""
        ...

    def follow(self, context: Context, encoder_version: str) -> None:
        """Bring this host's copy up to the store's."""
        ...

    def version(self) -> str:
        """What is installed of it, in words.

        Raises:
            InvalidRequest: it is not installed.
        """
        ...


def names() -> list[str]:
    """Names of all engines."""
    return list(ENGINES)


def engine_named(name: str) -> Engine:
    """An engine.

    Raises:
        InvalidRequest: there is none of this name.
    """
    if name not in ENGINES:
        raise InvalidRequest(f"there is no engine {name!r}: name one of {', '.join(ENGINES)}")
    return cast("Engine", import_module(ENGINES[name]))

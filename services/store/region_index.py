"""The region index of a project, by the engine that the settings name.

Nobody else asks which engine it is: all of them do the same (:class:`PoolIndex`), and what differs
in where they lie is behind the functions here.
"""

from __future__ import annotations

from curation.index.protocol import PoolIndex
from services.context import Context
from services.errors import Conflict
from services.store.index_engines import Engine, engine_named, names


def engine_of(context: Context) -> Engine:
    """The engine of a project.

    Raises:
        InvalidRequest: it is not installed.
    """
    return engine_named(context.settings.index.engine)


def open_index(context: Context, encoder_version: str, width: int) -> PoolIndex:
    """The region index of one encoder version.

    Raises:
        EncoderMismatch: it holds vectors of another encoder.
        ShardCorrupt: a file of it is damaged or lost.
        IndexBusy: another process of this host is bringing its copy up to date.
        Conflict: there is none of this engine, and there is one of another.
        StoreUnavailable: the bucket does not answer.
    """
    engine = engine_of(context)
    if not engine.has_index(context, encoder_version):
        require_none_elsewhere(context, encoder_version)
    return engine.open_index(context, encoder_version, width)


def require_none_elsewhere(context: Context, encoder_version: str) -> None:
    """Refuse to begin an empty index beside one that another engine holds.

    Raises:
        Conflict: there is one.
    """
    mine = context.settings.index.engine
    for name in names():
        if name != mine and _has(name, context, encoder_version):
            raise Conflict(
                f"index.engine = {mine}, and the region index of encoder {encoder_version[:12]} "
                f"is one of {name}: `e2x index move {name} {mine}` puts it over, or set "
                f"index.engine = {name}"
            )


def _has(name: str, context: Context, encoder_version: str) -> bool:
    """Whether an engine holds an index; that is seen without its library."""
    return engine_named(name).has_index(context, encoder_version)


def has_index(context: Context, encoder_version: str) -> bool:
    """Whether anything was ever indexed under an encoder."""
    return engine_of(context).has_index(context, encoder_version)


def width_of(context: Context, encoder_version: str) -> int:
    """Width of an index's vectors.

    Raises:
        OSError: it cannot be read, or there is none.
        ShardCorrupt: the store's is damaged.
        ValueError: it does not say.
    """
    return engine_of(context).width_of(context, encoder_version)


def begin_anew(context: Context, encoder_version: str, width: int) -> str:
    """Let the index of an encoder be empty, whatever is damaged; where the old files are.

    "" where nobody could do anything with them.
    """
    return engine_of(context).begin_anew(context, encoder_version, width)


def encoders_in(context: Context) -> list[str]:
    """Versions of all encoders that there is an index of."""
    return engine_of(context).encoders_in(context)


def follow(context: Context, encoder_version: str) -> None:
    """Bring this host's copy, where it has one, up to the store's.

    Errors as of :func:`open_index`.
    """
    engine_of(context).follow(context, encoder_version)

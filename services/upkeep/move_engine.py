"""The region index goes from one engine to another; the one that it leaves stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.context import Context
from services.errors import Conflict
from services.store.index_engines import engine_named

AT_A_TIME = 256
"""Images put over in one write."""
Tell = Callable[[str, int, int], None]


@dataclass(slots=True)
class Put:
    """What was put over.

    Attributes:
        images: that are in the index of the other engine now.
        regions: of those.
        moved: images of them, in this run.
        dropped: images that only the other engine had, from an earlier move.
    """

    images: int = 0
    regions: int = 0
    moved: int = 0
    dropped: int = 0


def move_engine(context: Context, source: str, target: str, tell: Tell) -> Put:
    """Put the indexes of all encoders from one engine into another; called again it goes on.

    Vectors come over as exactly as the first engine has them.

    Args:
        context: wiring; nothing of the project may be running.
        source: name of the engine that holds them.
        target: of the other one.
        tell: told the progress.

    Raises:
        InvalidRequest: there is no engine of this name, or its library is not installed.
        Conflict: both are the same, or the first one holds nothing.
        CurationError: an index is damaged: `e2x doctor --deep --mend` first.
    """
    if source == target:
        raise Conflict(f"{source} and {target} are one engine")
    here, there = engine_named(source), engine_named(target)
    for engine in (here, there):
        engine.version()
    encoders, put = here.encoders_in(context), Put()
    if not encoders:
        raise Conflict(f"{source} holds no index of this project")
    for encoder in encoders:
        width = here.width_of(context, encoder)
        if not width:  # begun anew, and nothing has come yet
            continue
        old, new = (one.open_index(context, encoder, width) for one in (here, there))
        old.verify()
        wanted, has = old.images(), set(new.images())
        for name in sorted(has - set(wanted)):
            new.delete(name)
            put.dropped += 1
        missing = [name for name in wanted if name not in has]
        for first in range(0, len(missing), AT_A_TIME):
            tell(f"index/{encoder[:16]}", first, len(missing))
            some = missing[first : first + AT_A_TIME]
            found = [old.regions_of(name) for name in some]
            new.add(some, [vectors for vectors, _ in found], [boxes for _, boxes in found])
        tell(f"index/{encoder[:16]}", len(missing), len(missing))
        new.seal()
        new.verify()
        if new.images() != wanted or len(new) != len(old):
            raise Conflict(f"index/{encoder[:16]} was written to meanwhile: run it again")
        put.images += len(wanted)
        put.regions += len(new)
        put.moved += len(missing)
    return put

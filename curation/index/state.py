"""Which state of a depot the copy of this host is."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from curation.index.depot import MANIFEST, Depot, Piece
from curation.kernel.files import write_bytes

logger = logging.getLogger(__name__)

STATE = "SHARED.json"
"""Beside the version file."""


@dataclass(frozen=True, slots=True)
class State:
    """Which state of the depot this host has."""

    tag: str
    lineage: str
    pieces: Mapping[str, tuple[Piece, ...]]


def read_state(folder: Path) -> State | None:
    """The state that a folder follows; None where it follows none, or does not say which."""
    try:
        found = json.loads((folder / STATE).read_bytes())
        pieces = {
            name: tuple(Piece(str(key), int(size)) for key, size in own)
            for name, own in found["pieces"].items()
        }
        return State(str(found["tag"]), str(found["lineage"]), pieces)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("the copy of the index is fetched anew: %s (%s)", STATE, error)
        return None


def write_state(folder: Path, state: State) -> None:
    """Note the state, once the folder is it."""
    pieces = {n: [[piece.name, piece.size] for piece in own] for n, own in state.pieces.items()}
    told = {"tag": state.tag, "lineage": state.lineage, "pieces": pieces}
    write_bytes(folder / STATE, json.dumps(told, sort_keys=True).encode())


def is_at(folder: Path, depot: Depot) -> bool:
    """Whether a folder holds just what a depot holds, as far as its note says."""
    state = read_state(folder)
    return state is not None and state.tag == depot.tag(MANIFEST)

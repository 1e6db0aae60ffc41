"""A watched folder, and what lies in it; for its tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select

from services.context import Context
from services.db.tables import Observation
from services.intake.watch import STILL_LOOKS, Watcher
from tests.services.builders import add_champion

__all__ = ["CAR", "Raw", "folder", "frames", "looked", "names", "put", "watcher"]

CAR = {"box": [2, 2, 30, 30], "label": "car"}


class Raw(str):
    """Words as they stand in the file."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "inbox"


@pytest.fixture
def watcher(sqlite_context: Context, folder: Path) -> Watcher:
    with sqlite_context.sessions.begin() as session:
        add_champion(session)  # its classes are what a label may say
    return Watcher(sqlite_context, folder)


def put(folder: Path, name: str, data: bytes, words: object = None) -> Path:
    path = folder / name
    path.write_bytes(data)
    if words is not None:
        text = words if isinstance(words, Raw) else json.dumps(words)
        path.with_name(f"{name}.json").write_text(text)
    return path


def looked(watcher: Watcher, times: int = STILL_LOOKS) -> list[str]:
    return [path.name for _ in range(times) for path in watcher.look()]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def frames(context: Context) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.count()).select_from(Observation)) or 0

"""The tool that a connection speaks of, opened with the token of the moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.context import Context
from services.db.engine import reading
from services.db.tables import Connection
from services.errors import InvalidRequest
from services.labeling.connectors import addresses, connections
from services.labeling.connectors.label_studio import LabelStudio
from services.labeling.connectors.protocol import Tool


@contextmanager
def opened(context: Context, number: int) -> Iterator[Tool]:
    """A tool for the length of a block.

    Raises:
        NotAllowed: (on entry) its token is missing.
        InvalidRequest: (on entry) what it takes is not installed.
    """
    with reading(context.sessions) as session:
        row = session.get_one(Connection, number)
    token = connections.read_token(context.project, number)
    mark = addresses.mark_of(row)
    if row.kind == "label-studio":
        tool = LabelStudio(row.url, token, row.project, row.layout, mark)
    else:
        raise InvalidRequest(f"no such tool: {row.kind}")
    try:
        yield tool
    finally:
        tool.close()

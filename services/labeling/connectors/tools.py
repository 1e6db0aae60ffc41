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


def _cvat(row: Connection, token: str, mark: str) -> Tool:
    try:
        from services.labeling.connectors.cvat import Cvat
    except ModuleNotFoundError as error:
        raise InvalidRequest(f"for CVAT, `pip install e2x[cvat]`: {error}") from error
    return Cvat(row.url, token, row.project, row.layout, mark)


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
        tool: Tool = LabelStudio(row.url, token, row.project, row.layout, mark)
    else:
        tool = _cvat(row, token, mark)
    try:
        yield tool
    finally:
        tool.close()

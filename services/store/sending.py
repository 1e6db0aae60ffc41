"""Objects as answers over HTTP: a file, a signed address, or bytes."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping

from fastapi import Response
from fastapi.responses import FileResponse, RedirectResponse

from services.context import Context
from services.store.objects import checked
from services.store.project_store import store_of

UNTIL_EXPIRY = 0.5
"""Of the life of a signed URL: for so long a browser may use it again."""


def sent(context: Context, key: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that brings an object to whoever asked.

    Args:
        context: wiring.
        key: of the object.
        headers: of an answer that holds the bytes themselves.

    Raises:
        FileNotFoundError: there is none.
        StoreUnavailable: the bucket does not answer.
    """
    store, settings = store_of(context), context.settings.storage
    if store.root is not None:
        path = store.root / checked(key)
        if path.is_file():
            return FileResponse(path, headers=dict(headers or {}))
    link = store.link(key, settings.link_s)
    if link is not None:
        kept = f"private, max-age={int(settings.link_s * UNTIL_EXPIRY)}"
        return RedirectResponse(link, 307, {"Cache-Control": kept})
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    return Response(store.get(key), media_type=kind, headers=dict(headers or {}))

"""Whether a store does what is asked of it: by storing, reading, swapping and deleting."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from services.context import Context
from services.errors import ServiceError
from services.store.objects import ObjectChanged, ObjectExists, Objects, open_objects, walk

PATIENCE_S = 3.0
"""A person waits for the answer."""
FIRST, SECOND = b"first", b"second"


def probe(context: Context) -> tuple[str, str]:
    """Try a project's store.

    Returns:
        Its name, and what is wrong with it; "" if nothing is.
    """
    wanted = context.settings.storage
    name = wanted.url or context.project.root.as_uri()
    try:
        hasty = wanted.model_copy(update={"patience_s": min(PATIENCE_S, wanted.patience_s)})
        objects = open_objects(hasty, context.project.root)
        return objects.name, _tried(objects)
    except (ServiceError, OSError) as error:
        return name, str(error)


def _tried(objects: Objects) -> str:
    key = f"runs/probe-{secrets.token_hex(8)}"
    try:
        etag = objects.create(key, FIRST)
        if objects.get(key)[0] != FIRST:
            return "it returns other bytes than were stored"
        if not _refused(lambda: objects.create(key, SECOND), ObjectExists):
            return "it stores over what is there (If-None-Match): a newer server is needed"
        objects.swap(key, SECOND, etag)
        if not _refused(lambda: objects.swap(key, FIRST, etag), ObjectChanged):
            return "it stores over what has changed (If-Match): a newer server is needed"
        if [entry.key for entry in walk(objects, "runs")].count(key) != 1:
            return "what was stored is not in its list"
    finally:
        objects.delete(key)
    return "" if objects.head(key) is None else "what was deleted is still there"


def _refused(ask: Callable[[], object], how: type[ServiceError]) -> bool:
    try:
        ask()
    except how:
        return True
    return False

"""Objects by key: one small interface over a folder and over an S3 bucket.

A key looks like a relative path (``images/3f/3f….jpg``). An object is there whole or not at all,
whoever is killed while it is written; nothing here is ever changed in place.
"""

from __future__ import annotations

from services.store.objects.base import (
    Entry,
    ObjectChanged,
    ObjectExists,
    ObjectLost,
    Objects,
    StoreRefused,
    StoreUnavailable,
    checked,
    walk,
)
from services.store.objects.opening import open_objects

__all__ = [
    "Entry",
    "ObjectChanged",
    "ObjectExists",
    "ObjectLost",
    "Objects",
    "StoreRefused",
    "StoreUnavailable",
    "checked",
    "open_objects",
    "walk",
]

"""Units of work and what may be done with one; :mod:`services.units.queue` says how they live."""

from services.units.counting import counts
from services.units.leases import (
    MAX_ERROR_CHARS,
    claim,
    fail,
    finish,
    park_exhausted,
    record_result,
    release,
    renew,
    requeue_expired,
)
from services.units.queue import cancel, cancel_all, cycle_of, enqueue, parked, redrive
from services.units.rows import Claim, announce, expire_units, find

__all__ = [
    "MAX_ERROR_CHARS",
    "Claim",
    "announce",
    "cancel",
    "cancel_all",
    "claim",
    "counts",
    "cycle_of",
    "enqueue",
    "expire_units",
    "fail",
    "find",
    "finish",
    "park_exhausted",
    "parked",
    "record_result",
    "redrive",
    "release",
    "renew",
    "requeue_expired",
]

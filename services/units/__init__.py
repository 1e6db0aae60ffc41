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
from services.units.many import claim_all, finish_all, record_results, release_all, renew_all
from services.units.queue import cancel, cancel_all, cycle_of, enqueue, parked, redrive
from services.units.rows import Claim, announce, announce_all, expire_units, find

__all__ = [
    "MAX_ERROR_CHARS",
    "Claim",
    "announce",
    "announce_all",
    "cancel",
    "cancel_all",
    "claim",
    "claim_all",
    "counts",
    "cycle_of",
    "enqueue",
    "expire_units",
    "fail",
    "find",
    "finish",
    "finish_all",
    "park_exhausted",
    "parked",
    "record_result",
    "record_results",
    "redrive",
    "release",
    "release_all",
    "renew",
    "renew_all",
    "requeue_expired",
]

"""What a worker does with one message: the units that it names, in groups.

A message is one worker's until it is done with it. So a turn is short: what of a message has not
begun after :data:`TURN_S` is announced anew, for whoever is free.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from services import units
from services.context import Context
from services.telemetry.counts import Recorder
from services.units.resident import Resident
from services.worker import group, shell

TURN_S = 1.0


def take(
    context: Context,
    resident: Resident,
    unit_ids: Sequence[int],
    kind: str,
    owner: str,
    recorder: Recorder | None = None,
) -> None:
    """Work on those of some units that can be had.

    Args:
        context: wiring of this process.
        resident: models that stay loaded.
        unit_ids: the rows, in the order in which they should be done.
        kind: of all of them.
        owner: name of this process.
        recorder: knows what units take here, and counts them; None: they go one by one.
    """
    left = list(unit_ids)
    until = time.monotonic() + TURN_S
    while left:
        size = 1 if recorder is None else recorder.pace.group(kind)
        part, left = left[:size], left[size:]
        if len(part) == 1:
            shell.run(context, resident, part[0], owner, recorder)
        else:
            group.run(context, resident, part, owner, recorder)
        if left and time.monotonic() > until:
            with context.sessions.begin() as session:
                units.announce_all(session, left)
            return

"""Drawing by worker processes whose champion is a function: they load this by its name.

What a worker shall do before it draws stands in the project's folder of runs, as the names of
files: so a test can meet it at work, or have it fail.
"""

from __future__ import annotations

import os
import time

from services.stages import synthesize
from services.units import Claim
from services.units.pipeline import Stage, StageContext, Store, register
from tests.services.drawn_world import Champion

HANG, FAIL = "hang", "out-of-memory"


def run(stage: StageContext, claim: Claim) -> Store:
    runs = stage.context.project.runs
    stage.resident.get(f"detector:{1:064x}", Champion)
    store = synthesize.run(stage, claim)  # the pictures are in the store, the rows are not
    (runs / f"at-work-{os.getpid()}").touch()
    while (runs / HANG).exists():
        time.sleep(0.02)
        stage.heartbeat()
    if (runs / FAIL).exists():
        raise MemoryError("no memory is left for so many pictures")
    return store


register(Stage("synthesize", "explain", f"{__name__}:run"))

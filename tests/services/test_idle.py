"""Memory that was computed in goes back to the system when a worker has nothing to do."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from benchmarks.common.waiting import PATIENCE
from services.worker.idle import Idle
from tests.tiny_ssd import tiny_ssd

ROOT = Path(__file__).parents[2]


def test_it_happens_once_after_the_last_unit() -> None:
    called = threading.Semaphore(0)
    idle = Idle(called.release, idle_s=0.3)
    for _ in range(3):
        with idle.busy():
            assert not called.acquire(timeout=0.4)  # longer than idle, but at work
    assert called.acquire(timeout=20 * PATIENCE)
    assert not called.acquire(timeout=0.5)


def test_a_unit_that_fails_counts_as_one() -> None:
    called = threading.Event()
    idle = Idle(called.set, idle_s=0.05)
    try:
        with idle.busy():
            raise KeyError
    except KeyError:
        pass
    assert called.wait(20 * PATIENCE)


def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    program = """
import numpy as np, psutil
from retrain.memory import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
held = lambda: psutil.Process().memory_full_info().uss >> 20
blocks = [np.ones(2 << 20, np.uint8) for _ in range(200)]
last = np.ones(1 << 20, np.uint8)  # so that what lies below it is no end to be cut off
full = held()
del blocks
kept = held()
give_back_freed_memory()
print(full, kept, held())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    full, kept, left = (int(number) for number in done.stdout.split())
    assert kept > full - 50
    assert left < full - 300


def test_watching_a_training_needs_no_network(tmp_path: Path) -> None:
    """What the training's worker runs: the process that it starts pays for PyTorch, once."""
    folder = tiny_ssd().save(tmp_path / "model")
    program = (
        "import sys; from pathlib import Path; import services.stages.train; "
        "from services.models import training; training.config_of(Path(sys.argv[1])); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, check=True)

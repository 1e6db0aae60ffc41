"""The whole demo: world, services, loop, figures, report."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from services import context as wiring
from services.api.auth import project_token
from services.config.settings import Settings
from services.context import Context
from services.db.tables import Role
from services.demo.client import make_client
from services.demo.figures import Figures, read_figures
from services.demo.loop import DemoLoop
from services.demo.progress import Board
from services.demo.report import write_report
from services.demo.sizes import DemoSize, write_settings
from services.demo.stay import stay
from services.demo.world import make_world
from services.store.storage import write_bytes
from services.worker.supervisor import Supervisor

E2X_POLICY = "e2x"
MEMORY_POLL_S = 10.0
"""The kernel walks every page of every process for it, a tenth of a second; what a training or an
explanation holds, it holds for longer."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What ``e2x demo`` was asked for.

    Attributes:
        folder: where everything goes; made anew but for the world.
        size: numbers of images, budget, training.
        seed: of world, training and selection.
        compare: another selection policy to run beside, on a copy of the same first detector.
        mistake_rate: share of boxes that the simulated annotator gets wrong, in 0..1.
        stay: leave the service up at the end, until Ctrl-C.
    """

    folder: Path
    size: DemoSize
    seed: int = 0
    compare: str | None = None
    mistake_rate: float = 0.02
    stay: bool = False


@dataclass(slots=True)
class Meter:
    """Seconds and memory of the run."""

    began_s: float = field(default_factory=time.monotonic)
    peak_bytes: int = 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began_s

    @contextmanager
    def watch(self, up: Supervisor) -> Iterator[None]:
        """Sample the memory of all processes for the length of a block."""
        done = threading.Event()

        def sample() -> None:
            while not done.wait(MEMORY_POLL_S):
                self.peak_bytes = max(self.peak_bytes, up.memory_bytes())

        thread = threading.Thread(target=sample, name="memory", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def run_demo(options: DemoOptions, console: Console) -> dict[str, Any]:
    """Run the demo and write ``result.json`` and ``report.html`` into its folder.

    Returns:
        What ``result.json`` holds: the figures, and those of the compared policy by its name.
    """
    meter, board = Meter(), Board(console)
    world = options.folder / "world"
    with board.bar("draw the street world", sum(options.size.splits.values())) as bar:
        drawn = dict.fromkeys(options.size.splits, 0)

        def told(split: str, done: int, _count: int) -> None:
            drawn[split] = done
            bar.to(sum(drawn.values()))

        make_world(world, options.size, options.seed, told)
    project = _fresh_project(options)
    with _running(project, world, board, meter) as loop:
        loop.import_splits(Role.SEED, Role.HOLDOUT, Role.SIBLINGS)
        loop.train_first()
        loop.import_splits(Role.POOL)  # its embedding would take cores from the training
        loop.report_field()
        loop.wait_idle("embed and index the pool", ("embed", "index"))
        if options.compare is None:
            _turn(loop, options, E2X_POLICY)
    rivals: dict[str, Context] = {}
    seconds = {E2X_POLICY: meter.seconds}
    if options.compare is not None:
        # Both policies start from copies of one state, so that only the selection differs.
        for policy in (E2X_POLICY, options.compare):
            rivals[policy] = _fork(project, options.folder / f"project-{policy}")
        shared_s = meter.seconds
        for policy, rival in rivals.items():
            console.rule(f"selection: {policy}")
            before_s = meter.seconds
            with _running(rival, world, board, meter) as loop:
                _turn(loop, options, policy)
            seconds[policy] = shared_s + meter.seconds - before_s
        project = rivals[E2X_POLICY]
    result = _figures(project, seconds[E2X_POLICY], meter)
    answer: dict[str, Any] = {**result.to_dict(), "seed": options.seed}
    answer["size"] = options.size.to_dict()
    others = {name: rival for name, rival in rivals.items() if name != E2X_POLICY}
    compared = {name: _figures(rival, seconds[name], meter) for name, rival in others.items()}
    answer |= {name: figures.to_dict() for name, figures in compared.items()}
    with board.bar("write the report", None):
        report = write_report(project, options.folder / "report.html", result, compared)
    write_bytes(options.folder / "result.json", (json.dumps(answer, indent=2) + "\n").encode())
    console.print(_table(result, compared))
    console.print(f"report: {report}\nresult: {options.folder / 'result.json'}")
    if options.stay:
        with Supervisor(project) as up:
            stay(project, up, console)
    return answer


def _turn(loop: DemoLoop, options: DemoOptions, policy: str) -> None:
    for number in range(options.size.cycles):
        loop.run_cycle(policy, options.mistake_rate, options.seed * 100 + number)


def _fresh_project(options: DemoOptions) -> Context:
    folder = options.folder / "project"
    for old in options.folder.glob("project*"):
        shutil.rmtree(old)
    write_settings(folder, options.size, options.seed)
    return wiring.build(Settings(project=folder))


def _fork(origin: Context, folder: Path) -> Context:
    origin.engine.dispose()
    # The socket of the stopped broker is not a file that can be copied.
    shutil.copytree(origin.project.root, folder, ignore=shutil.ignore_patterns("*.sock", "redis"))
    return wiring.build(Settings(project=folder))


@contextmanager
def _running(project: Context, world: Path, board: Board, meter: Meter) -> Iterator[DemoLoop]:
    """The services of a project, up for the length of a block."""
    up = Supervisor(project)
    with ExitStack() as stack:
        with board.bar("start broker, relay, scheduler, workers, API", None):
            stack.enter_context(up)
            up.wait_ready()
        stack.enter_context(meter.watch(up))
        client = stack.enter_context(make_client(str(up.api_url), project_token(project)))
        yield DemoLoop(project, client, world, board)


def _figures(project: Context, seconds: float, meter: Meter) -> Figures:
    return read_figures(project, seconds, meter.peak_bytes / 2**30)


def _table(result: Figures, compared: dict[str, Figures]) -> Table:
    """The figures for people."""
    table = Table(title="What the loop did", title_justify="left")
    table.add_column("")
    columns = {"E2X": result, **compared}
    for name in columns:
        table.add_column(name, justify="right")

    def row(title: str, *values: str) -> None:
        table.add_row(title, *values)

    every = list(columns.values())
    row("failures in the field, before", *(str(f.failures_before) for f in every))
    row("failures in the field, after", *(str(f.failures_after) for f in every))
    row("unseen siblings failed, before", *(str(f.siblings_failed_before) for f in every))
    row("unseen siblings failed, after", *(str(f.siblings_failed_after) for f in every))
    row("holdout AP50, before", *(f"{f.map50_before:.3f}" for f in every))
    row("holdout AP50, after", *(f"{f.map50_after:.3f}" for f in every))
    row("negative flips", *(f"{f.negative_flips:.1%}" for f in every))
    row("boxes labelled", *(str(f.boxes_labelled) for f in every))
    row("samples drawn, kept", *(f"{f.samples_drawn}, {f.samples_kept}" for f in every))
    row("challengers promoted", *(f"{f.promoted} of {f.cycles}" for f in every))
    row("seconds", *(f"{f.seconds:.0f}" for f in every))
    row("peak memory, all processes", *(f"{f.peak_rss_gib:.1f} GiB" for f in every))
    return table

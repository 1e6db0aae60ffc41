"""The programs of this package.

::

    python -m services.worker worker --queues explain,embed [--name NAME] [--children N]
    python -m services.worker relay
    python -m services.worker beat

``e2x up`` runs all of them; on several machines each is started by itself.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import warnings
from collections.abc import Sequence

from celery.exceptions import CPendingDeprecationWarning

from services import context as wiring
from services import logs, tracing
from services.config.hosts import open_host
from services.config.project import Project
from services.config.settings import Settings, get_settings
from services.store import private
from services.store.ready_file import announce_ready
from services.units import pipeline, threads
from services.worker import alive, lifecycle, redis_server, timers
from services.worker.app import make_app

TRAINER_KIB = 300 * 1024
"""A child that has only watched training processes has 100 MB; PyTorch alone makes it 700."""


def parser() -> argparse.ArgumentParser:
    """What the programs are told on their command line."""
    parser = argparse.ArgumentParser(prog="python -m services.worker", description=__doc__)
    programs = parser.add_subparsers(dest="program", required=True)
    worker = programs.add_parser("worker")
    worker.add_argument("--queues", default=",".join(pipeline.QUEUES))
    worker.add_argument("--name", default="worker")
    worker.add_argument("--children", type=int, default=1, help="units at a time")
    programs.add_parser("relay")
    programs.add_parser("beat")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program that the arguments name."""
    given = parser().parse_args(arguments)
    private.only_ours()
    settings = get_settings()
    project = open_host(settings)
    match given.program:
        case "worker":
            run_worker(settings, project, given.queues, given.name, given.children)
        case "relay":
            run_relay(settings, project)
        case "beat":
            run_beat(settings, project)


def run_worker(settings: Settings, project: Project, queues: str, name: str, children: int) -> None:
    """Run a Celery worker until it is told to stop."""
    # It asks us to have a unit cancelled when the broker goes away; the unit can well go on, since
    # its result goes to the database.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    threads.set_variables(settings.workers.threads or threads.cores())
    app = make_app(settings, project)
    lifecycle.connect(app, name, settings, project)
    url = redis_server.broker_url(settings, project)
    app.steps["consumer"].add(alive.step(url, name, queues.split(","), settings.workers.alive_file))
    app.steps["consumer"].add(timers.ForgetCancelled)
    options = {
        "hostname": f"{name}@%h",
        "queues": queues,
        "concurrency": str(children),
        "pool": "prefork",
        "loglevel": settings.log_level,
    }
    if "train" not in queues.split(","):
        # A training takes as long as it takes: its stage ends it when it makes no progress.
        options["soft-time-limit"] = str(settings.workers.soft_limit_s)
        options["time-limit"] = str(settings.workers.hard_limit_s)
    if queues == "train":
        # The gate loads networks, for which the next training has better use: a child that has
        # grown is replaced after its unit. Where other queues share the worker, models stay.
        options["max-memory-per-child"] = str(TRAINER_KIB)
    flags = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(
        ["--quiet", "worker", *flags, *(f"--{key}={value}" for key, value in options.items())]
    )


def run_relay(settings: Settings, project: Project) -> None:
    """Publish the outbox until told to stop."""
    from services.worker.relay import Relay

    logs.configure("relay", settings.log_level, project.logs, settings.logs)
    tracing.configure("relay", settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    relay = Relay(wiring.build(settings), make_app(settings, project))
    announce_ready(project, "relay")
    relay.run(stop)
    tracing.end()


def run_beat(settings: Settings, project: Project) -> None:
    """Send what is on the schedule until told to stop."""
    app = make_app(settings, project)

    def set_up(**_: object) -> None:
        logs.configure("beat", settings.log_level, project.logs, settings.logs)

    def ready(**_: object) -> None:
        announce_ready(project, "beat")

    lifecycle.connect_beat(set_up, ready)
    app.start(
        [
            "--quiet",
            "beat",
            "--scheduler=services.worker.beat:SteadyScheduler",  # no file to be damaged or full
            "--pidfile=",
            f"--loglevel={settings.log_level}",
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1:])

"""The Celery application.

A message carries one number, the unit's; everything else is in the database. So nothing here has
to be exact: a lost message is sent again by the reconciler, a second one finds nothing to claim.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Queue

from services.config import brokers
from services.config.project import Project
from services.config.settings import Settings
from services.units.pipeline import QUEUES
from services.worker import tasks
from services.worker.beat import ALIVE_FILE, BROKER
from services.worker.redis_server import broker_url

CHILD_ALIVE_S = 60.0
"""A child that has not come up by then is killed and forked again. On a busy machine a fork of a
process with many threads takes longer than Celery's 4 s, and then no child ever comes up."""
SOFT_SHUTDOWN_S = 8.0
"""A worker that is told to stop gives its unit so long to end, then gives it back to the queue."""


def make_app(settings: Settings, project: Project) -> Celery:
    """The application of a project, with its tasks and its schedule."""
    url, more = brokers.for_celery(broker_url(settings, project))
    app = Celery("e2x", broker=url, set_as_current=False)
    configuration = _configuration(settings)
    configuration["broker_transport_options"] |= more.pop("broker_transport_options", {})
    app.conf.update({**configuration, **more, BROKER: broker_url(settings, project)})
    tasks.attach(app)
    return app


def _configuration(settings: Settings) -> dict[str, Any]:
    workers = settings.workers
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "enable_utc": True,
        "timezone": "UTC",
        "task_ignore_result": True,
        "result_backend": None,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_queues": [Queue(name, routing_key=name) for name in QUEUES],  # type: ignore[no-untyped-call]
        "task_default_queue": "default",
        "task_create_missing_queues": False,
        "worker_prefetch_multiplier": 1,
        "worker_proc_alive_timeout": CHILD_ALIVE_S,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": SOFT_SHUTDOWN_S,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": workers.visibility_timeout_s,
            # of one priority the queues take turns: images are found while others are embedded
            "queue_order_strategy": "round_robin",
            "socket_keepalive": True,
            "socket_connect_timeout": 5,
        },
        "beat_schedule": tasks.schedule(settings),
        "beat_max_loop_interval": 1.0,
        ALIVE_FILE: workers.alive_file,
    }

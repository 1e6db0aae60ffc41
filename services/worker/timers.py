"""Timers of a Celery worker that were cancelled, forgotten before their time has come.

Each message sets one for the time limit of its unit and cancels it when the unit has ended, but the
worker keeps what is cancelled until it would have been due: half an hour of messages, which at a
hundred a second are as much memory as the rest of the worker.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from celery import bootsteps

EVERY_S = 10.0


def forget_cancelled(timer: Any) -> None:
    """Keep those that were not cancelled, at their times; called by the loop that runs them.

    Args:
        timer: of the loop, kombu's (untyped).
    """
    left = [event for event in timer.queue if not event.entry.canceled]
    timer.clear()  # in place: the loop goes on with the same list
    for event in left:
        timer.enter_at(event.entry, event.eta, event.priority)


class ForgetCancelled(bootsteps.StartStopStep):  # type: ignore[misc]  # untyped library
    """The part of a Celery worker that does so again and again."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """After each new connection: the loop forgets its timers with the old one."""
        consumer.timer.call_repeatedly(EVERY_S, partial(forget_cancelled, consumer.timer))

    def stop(self, _consumer: Any) -> None:
        """The timer goes with the connection."""

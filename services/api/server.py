"""The server of the API: uvicorn with the bounds that the settings name."""

from __future__ import annotations

import logging
import resource
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from services.api.door import Limits
from services.api.log_repeats import RepeatLimit
from services.api.protocol import guarded
from services.config.setting_groups import ApiSettings

logger = logging.getLogger(__name__)

AT_ONCE = 64
"""Connections that are taken in one go, before any of them is read. Few against what one address
may have: else a burst would push out a request that has just come. As many files are kept free."""
QUEUE = 1024
"""Connections that the system holds ready for us; it drops what is over, to be sent again."""
OTHER_FILES = 256
"""Database, logs, images that are read, uploads on their way to the disk."""
NOTIFY_S = 10
HEAD_BYTES = 16 * 2**10
STOP_S = 4
"""Requests that run when the server is stopped may end within this; less than what the supervisor
gives a process to end."""


class Server(uvicorn.Server):
    """uvicorn's server, which writes what its log has counted.

    Args:
        config: as uvicorn takes it.
        repeats: what counts; None: nothing does.
        at_end: called when the last request is answered; None: nothing is.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        repeats: RepeatLimit | None,
        at_end: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(config)
        self._repeats, self._at_end = repeats, at_end

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop.

        Args:
            sockets: to listen on; None: one is made, as the settings say.
        """
        super().run(sockets=sockets or [self.config.bind_socket()])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(QUEUE)  # asyncio has one number for this and for what it takes at once

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; the signal that asked for it ends the process right after."""
        await super().shutdown(sockets)
        if self._repeats is not None:
            self._repeats.look(all_of_them=True)
        if self._at_end is not None:
            self._at_end()


def server(
    app: ASGIApp,
    settings: ApiSettings,
    repeats: RepeatLimit | None = None,
    at_end: Callable[[], None] | None = None,
) -> uvicorn.Server:
    """The server of an application; ``run()`` serves until told to stop.

    Args:
        app: what answers.
        settings: where it listens, and its bounds.
        repeats: what counts the lines of the log that strangers repeat.
        at_end: called when it stops, after the last request.
    """
    limits = Limits(
        connections=room_for(settings.max_connections),
        per_client=settings.max_connections_per_client,
        head_s=settings.header_timeout_s,
        stall_s=settings.stall_timeout_s,
        least_rate=settings.min_bytes_per_s,
        max_body=settings.max_request_bytes,
    )

    async def notify() -> None:
        if repeats is not None:
            repeats.look()

    return Server(
        uvicorn.Config(
            app,
            callback_notify=notify,
            timeout_notify=NOTIFY_S,
            host=settings.host,
            port=settings.port,
            http=guarded(limits),
            ws="none",
            lifespan="off",
            backlog=AT_ONCE,
            h11_max_incomplete_event_size=HEAD_BYTES,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=STOP_S,
            log_config=None,
            access_log=False,
            server_header=False,
        ),
        repeats,
        at_end,
    )


def room_for(connections: int) -> int:
    """Raise this process's limit of open files for so many connections; how many fit.

    A server that runs out of files accepts nobody, and says so with a traceback a second.
    """
    wanted = connections + AT_ONCE + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= wanted:
        return connections
    soft = wanted if hard == unlimited else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    fit = max(1, min(connections, soft - AT_ONCE - OTHER_FILES))
    if fit < connections:
        logger.warning(
            "only %d connections at once, not %d: the system lets this process open %d files "
            "(ulimit -n)",
            fit,
            connections,
            soft,
        )
    return fit

"""HTTP/1.1 for strangers: uvicorn's protocol with a door, clocks and an end for every connection.

What uvicorn, hypercorn and granian have of their own was looked at first. None bounds connections
by address or the rate of a body, and uvicorn's ``limit_concurrency`` turns everybody away once slow
connections have filled it. So this class adds, and changes nothing of how HTTP is read:

- a head that is not complete in time, a body below the least rate and an answer that nobody reads
  end the connection;
- an answer that comes before the end of a body is followed by a *lingering close*: no more is sent,
  and what still comes is thrown away for a while, since a socket that is closed under a sender is
  reset, and the sender may lose the answer. How much is bounded, and little for strangers.
"""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Callable
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from services.api.door import Door, Limits

TRUSTED = "e2x_trusted"
"""Key of the request's state: the token was right; set by :mod:`services.api.auth`."""
LINGER_BYTES, LINGER_S = 256 * 2**10, 2.0
TRUSTED_LINGER_FACTOR, TRUSTED_LINGER_S = 4, 10.0
"""Times the largest body: a sender of a picture that is too large shall read why."""


class Phase(enum.Enum):
    """What a connection waits for."""

    HEAD = "the head of a request"
    BODY = "its body"
    ANSWER = "our answer"


class Wire(asyncio.Transport):
    """A transport whose end is the protocol's own affair.

    Args:
        raw: the real one.
        end: called instead of its ``close``.
    """

    def __init__(self, raw: asyncio.Transport, end: Callable[[], None]) -> None:
        super().__init__()
        self.raw, self._end = raw, end
        self.ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the real one says."""
        return self.raw.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether nothing may be written any more."""
        return self.ended or self.raw.is_closing()

    def close(self) -> None:
        """End the connection once what was written is sent."""
        if not self.ended:
            self.ended = True
            self._end()

    def abort(self) -> None:
        """End it at once."""
        self.ended = True
        self.raw.abort()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; after the end they go nowhere."""
        if not self.ended:
            self.raw.write(data)

    def pause_reading(self) -> None:
        """Let the sender wait."""
        self.raw.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self.raw.is_closing():
            self.raw.resume_reading()


class GuardedProtocol(H11Protocol):
    """One connection; :func:`guarded` makes the class for a server."""

    door: ClassVar[Door]
    _wire: Wire
    _phase: Phase | None = None
    _timer: asyncio.TimerHandle | None = None
    _come = 0
    """Bytes of this phase, of this window of a body, or since the end."""

    @property
    def at_work(self) -> bool:
        """Whether the request that is being answered has the token."""
        return self.answering and bool(self.scope.get("state", {}).get(TRUSTED))

    @property
    def answering(self) -> bool:
        """Whether a request has come and is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _begun(self) -> bool:
        """Whether a part of something that is not complete has been read."""
        return bool(self.conn.trailing_data[0])

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in, or say that there are too many."""
        self._wire = Wire(transport, self._end)
        super().connection_made(cast("asyncio.Transport", self._wire))
        if self.door.admit(self, self.client[0] if self.client else ""):
            self._watch()
        else:
            self._say(503, "too_many_connections", "too many connections; try again in a second")

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self.door.release(self)
        self._set_timer(None)
        self._wire.ended = True
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close at once: another one needs the place."""
        self._wire.abort()

    def data_received(self, data: bytes) -> None:
        """Read on; after the end only to let the sender finish."""
        self._come += len(data)
        if not self._wire.ended:
            super().data_received(data)
            self._watch()
        elif self._come > self._patience()[0]:
            self._wire.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.door.rest(self)
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client does not read: not for ever."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        if not self._wire.ended:
            self._phase = None
            self._watch()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered in the form of all errors."""
        self._say(400, "invalid_request", msg)

    def _watch(self) -> None:
        """Set the clock of what the connection waits for now."""
        if self._wire.is_closing():
            return
        reading = self.conn.their_state is h11.SEND_BODY
        now = (Phase.BODY if reading else Phase.ANSWER) if self.answering else Phase.HEAD
        if now is self._phase:
            return
        self._phase, self._come = now, 0
        if now is Phase.HEAD:
            self._set_timer(self.door.limits.head_s, self._head_is_late)
        elif now is Phase.BODY:
            self._set_timer(self.door.limits.stall_s, self._look_at_the_rate)
        else:
            self._set_timer(None)

    def _head_is_late(self) -> None:
        if self._begun:
            self._say(408, "too_slow", "the head of the request did not come in time")
        else:
            self._wire.close()

    def _look_at_the_rate(self) -> None:
        limits = self.door.limits
        ours = self.flow.read_paused  # then it is we who keep it waiting
        if not ours and self._come < limits.least_rate * limits.stall_s:
            told = f"the body came with less than {limits.least_rate} bytes a second"
            self._say(408, "too_slow", told)
            return
        self._come = 0
        self._set_timer(limits.stall_s, self._look_at_the_rate)

    def _say(self, status: int, code: str, message: str) -> None:
        """Answer in the place of the application, and end."""
        if self._wire.is_closing():
            return
        if self.answering:  # the application learns that nobody listens
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"code": code, "message": message}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
                *((("retry-after", "1"),) if status == 503 else ()),
            ]
            reason = STATUS_PHRASES[status]
            answer = h11.Response(status_code=status, headers=headers, reason=reason)
            for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
                self._wire.write(self.conn.send(event) or b"")
        self._wire.close()

    def _await_reader(self, unread: int | None = None) -> None:
        """Look on while an answer is read; abort where it is not.

        Args:
            unread: bytes that were left at the look before; None: this is the first.
        """
        limits, left = self.door.limits, self._wire.raw.get_write_buffer_size()
        if unread is not None and left > unread - limits.least_rate * limits.stall_s:
            self._wire.abort()
        elif left or unread is None:
            self._set_timer(limits.stall_s, lambda: self._await_reader(left))

    def _end(self) -> None:
        """Close, or where the client is still sending let it finish for a while."""
        self._unset_keepalive_if_required()
        raw, state = self._wire.raw, self.conn.their_state
        if state in (h11.SEND_BODY, h11.ERROR) or (state is h11.IDLE and self._begun):
            if raw.can_write_eof():
                raw.write_eof()
            raw.resume_reading()
            self._come = 0
            self._set_timer(self._patience()[1], raw.abort)
        else:
            raw.close()
            self._await_reader()

    def _patience(self) -> tuple[int, float]:
        """Bytes and seconds that are given to a sender after its answer."""
        if self.scope is not None and self.scope.get("state", {}).get(TRUSTED):
            return TRUSTED_LINGER_FACTOR * self.door.limits.max_body, TRUSTED_LINGER_S
        return LINGER_BYTES, LINGER_S

    def _set_timer(self, delay_s: float | None, then: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = (
            None if delay_s is None or then is None else self.loop.call_later(delay_s, then)
        )


def guarded(limits: Limits) -> type[GuardedProtocol]:
    """The protocol of one server, whose connections share a door."""

    class OfServer(GuardedProtocol):
        door = Door(limits)

    return OfServer

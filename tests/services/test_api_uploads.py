"""Many uploads at once: few are decoded, the others wait and hold nobody up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.common.waiting import PATIENCE, wait_until
from curation.kernel import images
from curation.kernel.types import ImageArray
from services.api.deps import DECODED_AT_ONCE
from services.context import Context
from tests import bad_images
from tests.services.api_server import CAR, Switch, send_frame, stored

SENDERS = 50
"""More than the server has threads for handlers."""


class Watched:
    """The real decoding, held at a gate and counted."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.most = self._now = 0
        self._lock = threading.Lock()
        self._decode = images.decode

    def __call__(self, *arguments: Any) -> ImageArray:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self.gate.wait(60 * PATIENCE)
            return self._decode(*arguments)
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Stands where images are decoded."""
    made = Watched()
    monkeypatch.setattr(images, "decode", made)
    return made


class Door:
    """Counts requests that came in."""

    def __init__(self, app: ASGIApp) -> None:
        self.count = 0
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.count += 1
        await self._app(scope, receive, send)


def test_few_uploads_are_decoded_at_once_and_the_others_hold_no_thread(
    api: Context, client: httpx.Client, served: tuple[Switch, str], watched: Watched
) -> None:
    switch, address = served
    assert switch.app is not None
    switch.app = door = Door(switch.app)
    with ThreadPoolExecutor(SENDERS) as threads:
        sent = [
            threads.submit(send_frame, client, bad_images.png(number), objects=[CAR])
            for number in range(SENDERS)
        ]
        wait_until(lambda: door.count == SENDERS, 30, "all uploads are there")
        wait_until(lambda: watched.most >= DECODED_AT_ONCE, 30, "uploads are decoded")
        ready = httpx.get(f"{address}/readyz", timeout=30 * PATIENCE)
        watched.gate.set()
        answers = {answer.result().status_code for answer in sent}

    assert watched.most == DECODED_AT_ONCE
    assert ready.json()["parts"]["database"]["ready"]
    assert answers == {201}
    assert stored(api) == (SENDERS, SENDERS, SENDERS)


def test_a_refused_upload_gives_its_place_back(
    api: Context, client: httpx.Client, watched: Watched
) -> None:
    watched.gate.set()
    for _ in range(DECODED_AT_ONCE + 1):
        assert send_frame(client, bad_images.not_an_image(), objects=[]).status_code == 422

    assert send_frame(client, bad_images.png(1), objects=[]).status_code == 201

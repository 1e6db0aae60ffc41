"""Live figures: one look for all who watch, none where nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from sqlalchemy.exc import OperationalError

from services.web.live import Hub, as_event


class Counted:
    """Figures that say how often they were made."""

    def __init__(self) -> None:
        self.looks = 0
        self.fails = False

    def __call__(self) -> dict[str, str]:
        self.looks += 1
        if self.fails:
            raise OperationalError("", {}, Exception("away"))
        return {"look": f"{self.looks}", "label": f"{self.looks} for labellers"}


async def _first(watching: AsyncGenerator[str, None], count: int) -> list[str]:
    return [await anext(watching) for _ in range(count)]


def test_a_hundred_who_watch_cost_as_many_looks_as_one() -> None:
    async def watch() -> tuple[int, list[list[str]]]:
        counted = Counted()
        hub = Hub(counted, every_s=0.02)
        watching = [hub.watch("look") for _ in range(100)]
        seen = await asyncio.gather(*(_first(one, 3) for one in watching))
        for one in watching:
            await one.aclose()
        looks = counted.looks
        await asyncio.sleep(0.1)
        assert counted.looks <= looks + 1  # nobody watches: one may have been under way
        return looks, list(seen)

    looks, seen = asyncio.run(watch())

    assert looks <= 20  # and not three hundred
    assert all(len(set(texts)) == 3 for texts in seen)


def test_who_may_label_is_sent_another_text() -> None:
    async def watch() -> list[str]:
        hub = Hub(Counted(), every_s=5.0)
        watching = [hub.watch(what) for what in ("look", "label")]
        texts = [await anext(one) for one in watching]
        for one in watching:
            await one.aclose()
        return texts

    assert asyncio.run(watch()) == ["1", "1 for labellers"]


def test_a_database_that_is_away_for_a_while_ends_nothing() -> None:
    async def watch() -> str:
        counted = Counted()
        counted.fails = True
        hub = Hub(counted, every_s=0.01)
        watching = hub.watch("look")
        waiting = asyncio.ensure_future(anext(watching))
        while counted.looks < 3:
            await asyncio.sleep(0.01)
        counted.fails = False
        text = await waiting
        await watching.aclose()
        return text

    assert int(asyncio.run(watch())) > 3


def test_each_line_of_a_text_is_a_line_of_the_event() -> None:
    assert as_event("a\n\nb") == "event: figures\nretry: 3000\ndata: a\ndata: \ndata: b\n\n"

"""What every route asks of a request: nothing twice, nothing unknown, and JSON that is JSON.

A field that is sent twice has two meanings, and whichever is taken, somebody meant the other. One
that no route knows is most often a typing slip. Both are refused by name, wherever they stand:
query, form, or body. Bodies are parsed in a thread: others are served meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from typing import Any

from fastapi import Request, Response, params
from fastapi.concurrency import run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from services.errors import InvalidRequest
from services.intake import strict_json

MAX_FILES, MAX_FIELDS, MAX_FIELD_BYTES = 4, 32, 2**20
"""Of a form, before it is looked at; more than any route has, so that the answer can name what is
too much."""


class StrictRequest(Request):
    """A request whose JSON is read strictly and whose forms are bounded."""

    async def json(self) -> Any:
        """The body.

        Raises:
            InvalidRequest: see :func:`services.intake.strict_json.loads`.
        """
        if not hasattr(self, "_json"):
            self._json = await run_in_threadpool(strict_json.loads, await self.body(), "body")
        return self._json

    def form(self, **_limits: Any) -> Any:
        """The form, with our bounds in the place of the framework's."""
        return super().form(
            max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        )


class StrictRoute(APIRoute):
    """A route that refuses what is there twice and what it does not know."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind our checks."""
        handle = super().get_route_handler()
        known = set(_queries(self.dependant))
        fields = {field.alias for field in self.dependant.body_params}
        by_form = self.body_field is not None and isinstance(
            self.body_field.field_info, params.Form
        )

        async def strict(plain: Request) -> Response:
            request = StrictRequest(plain.scope, plain.receive)
            require_once("query", (name for name, _ in plain.query_params.multi_items()), known)
            if self.body_field is not None:
                await _read(request, fields if by_form else None)
            return await handle(request)

        return strict


async def _read(request: StrictRequest, fields: Collection[str] | None) -> None:
    """Read a body, which the request then holds; not one that is neither form nor JSON.

    Args:
        request: whose body.
        fields: of its form; None: it is none.

    Raises:
        InvalidRequest: a field is unknown or there twice, or this is not quite JSON.
        HTTPException: this is no form, or the sender has broken off.
    """
    try:
        if fields is not None:
            form: FormData = await request.form()
        elif is_json(request) and await request.body():
            await request.json()
    except (HTTPException, InvalidRequest):
        raise
    except Exception as error:  # a reader of forms may raise anything, as hostile bytes have it
        raise HTTPException(400, f"the body cannot be read ({type(error).__name__})") from error
    if fields is not None:
        try:
            require_once("body", (name for name, _ in form.multi_items()), fields)
        except InvalidRequest:
            await form.close()
            raise


def _queries(dependant: Dependant) -> Iterator[str]:
    """Names of the query that a handler, or what it depends on, takes."""
    yield from (field.alias for field in dependant.query_params)
    for one in dependant.dependencies:
        yield from _queries(one)


def is_json(request: Request) -> bool:
    """Whether the body says that it is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def require_once(where: str, names: Iterable[str], known: Collection[str]) -> None:
    """Refuse names that are there twice, and names that nobody knows.

    Raises:
        InvalidRequest: the message says which.
    """
    for name, times in Counter(names).items():
        if name not in known:
            told = ", ".join(sorted(known)) or "none"
            raise InvalidRequest(f"{where}.{name[:80]}: unknown; there is: {told}")
        if times > 1:
            raise InvalidRequest(f"{where}.{name}: sent {times} times; send it once")

"""The least role of every address, in one place; what does not stand here is answered by nobody.

The table is asked before anything of a body is read, and not the framework's routes: an address
that somebody forgot to enter is 404 for everybody, and the process does not start with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from starlette.convertors import register_url_convertor
from starlette.routing import BaseRoute, Mount, compile_path

from services.api.deps import RowConvertor
from services.db.tables import UserRole

register_url_convertor("row", RowConvertor())  # the paths of the table have it
OPEN = None
"""For strangers too."""
VIEWER, LABELLER = UserRole.VIEWER, UserRole.LABELLER
CURATOR, ADMIN = UserRole.CURATOR, UserRole.ADMIN

LEAST: Mapping[str, UserRole | None] = {
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "GET /metrics": VIEWER,
    "GET /openapi.json": OPEN,
    "GET /docs": OPEN,
    "GET /docs/{name}": OPEN,
    "POST /v1/login": OPEN,
    "GET /v1/login/oidc": OPEN,
    "GET /v1/login/oidc/callback": OPEN,
    "POST /v1/logout": VIEWER,
    "POST /v1/logout/everywhere": VIEWER,
    "GET /v1/me": VIEWER,
    "POST /v1/me/password": VIEWER,
    "GET /v1/me/tokens": VIEWER,
    "POST /v1/me/tokens": VIEWER,
    "DELETE /v1/me/tokens/{token_id:row}": VIEWER,
    "GET /v1/users": ADMIN,
    "POST /v1/users": ADMIN,
    "GET /v1/users/{name}": ADMIN,
    "PATCH /v1/users/{name}": ADMIN,
    "POST /v1/users/{name}/password": ADMIN,
    "GET /v1/audit": ADMIN,
    "POST /v1/frames": LABELLER,
    "GET /v1/frames/{frame_id:row}": VIEWER,
    "GET /v1/images/{image_id}/file": VIEWER,
    "GET /v1/failures": VIEWER,
    "GET /v1/failures/{failure_id}": VIEWER,
    "GET /v1/failures/{failure_id}/overlay.png": VIEWER,
    "POST /v1/failures/{failure_id}/dismiss": CURATOR,
    "GET /v1/failures/{failure_id}/explanations": VIEWER,
    "POST /v1/failures/{failure_id}/explanations": LABELLER,
    "GET /v1/failures/{failure_id}/explanation-costs": VIEWER,
    "DELETE /v1/failures/{failure_id}/explanations/{asked_id}": LABELLER,
    "GET /v1/failures/{failure_id}/explanations/{asked_id}/overlay.png": VIEWER,
    "GET /v1/failures/{failure_id}/neighbours": VIEWER,
    "POST /v1/failures/{failure_id}/neighbours": LABELLER,
    "GET /v1/modes": VIEWER,
    "GET /v1/modes/{mode_id:row}": VIEWER,
    "GET /v1/decisions": VIEWER,
    "POST /v1/decisions": CURATOR,
    "POST /v1/decisions/{number:row}/undo": CURATOR,
    "GET /v1/plan": VIEWER,
    "POST /v1/plan": CURATOR,
    "POST /v1/plan/{plan_id}/approve": CURATOR,
    "GET /v1/generated": VIEWER,
    "GET /v1/generated/{sample_id:row}": VIEWER,
    "GET /v1/generated/{sample_id:row}/picture.png": VIEWER,
    "POST /v1/generated/{sample_id:row}/accept": CURATOR,
    "POST /v1/generated/{sample_id:row}/refuse": CURATOR,
    "POST /v1/generated/withdraw": CURATOR,
    "GET /v1/generators": VIEWER,
    "POST /v1/generators": CURATOR,
    "GET /v1/cycles": VIEWER,
    "POST /v1/cycles": CURATOR,
    "GET /v1/cycles/{cycle_id:row}": VIEWER,
    "POST /v1/cycles/{cycle_id:row}/cancel": CURATOR,
    "POST /v1/cycles/{cycle_id:row}/train": CURATOR,
    "GET /v1/tasks": VIEWER,
    "POST /v1/tasks/lease": LABELLER,
    "GET /v1/tasks/{task_id:row}": VIEWER,
    "POST /v1/tasks/{task_id:row}/renew": LABELLER,
    "POST /v1/tasks/{task_id:row}/submit": LABELLER,
    "POST /v1/tasks/{task_id:row}/skip": LABELLER,
    "POST /v1/tasks/{task_id:row}/reject": LABELLER,
    "POST /v1/tasks/{task_id:row}/release": LABELLER,
    "GET /v1/looks": VIEWER,
    "GET /v1/looks/{task_id:row}": VIEWER,
    "POST /v1/looks/{task_id:row}/settle": CURATOR,
    "GET /v1/agreement": VIEWER,
    "GET /v1/answers": VIEWER,
    "GET /v1/labels/export": VIEWER,
    "POST /v1/labels/import": CURATOR,
    "GET /v1/labels/tools": VIEWER,
    "POST /v1/labels/tools": ADMIN,
    "DELETE /v1/labels/tools/{kind}": ADMIN,
    "POST /v1/labels/news": LABELLER,
    "GET /i/{signed}/{name}": OPEN,
    "GET /v1/models": VIEWER,
    "GET /v1/models/{name}": VIEWER,
    "POST /v1/models/{name}/promote": ADMIN,
    "POST /v1/models/{name}/pin": ADMIN,
    "POST /v1/models/{name}/unpin": ADMIN,
    "POST /v1/models/{name}/explain": CURATOR,
    "POST /v1/models/rollback": ADMIN,
    "GET /v1/datasets": VIEWER,
    "GET /v1/datasets/{version}/diff": VIEWER,
    "GET /v1/exports/datasets/{version}": VIEWER,
    "GET /v1/exports/failures": VIEWER,
    "GET /v1/units/counts": VIEWER,
    "GET /v1/units": VIEWER,
    "POST /v1/units/{unit_id:row}/redrive": CURATOR,
}
"""Method and path, as the routes have them."""


@dataclass(frozen=True, slots=True)
class Place:
    """What there is at an address.

    Attributes:
        methods: understood there; empty: there is no such address.
        role: that it takes by the method that was asked for; None: strangers may.
        is_open: strangers may do all that is understood there, so that they are told what is not.
    """

    methods: frozenset[str]
    role: UserRole | None
    is_open: bool = False


class Roles:
    """Looks addresses up in the table.

    Args:
        least: method and path of each route, with its least role.
    """

    def __init__(self, least: Mapping[str, UserRole | None] = LEAST) -> None:
        self.least = least
        patterns: dict[str, tuple[re.Pattern[str], dict[str, UserRole | None]]] = {}
        for address, role in least.items():
            method, path = address.split(" ", 1)
            _, methods = patterns.setdefault(path, (compile_path(path)[0], {}))
            methods[method] = role
        self._patterns = patterns

    def at(self, method: str, path: str) -> Place:
        """What there is at an address; of several that fit, the one that asks for most."""
        fitting = [
            (template, methods)
            for template, (pattern, methods) in self._patterns.items()
            if pattern.match(path)
        ]
        # /models/rollback is /models/{name} too; the address with fewer blanks is what is meant.
        nearest = min(fitting, key=lambda one: one[0].count("{"), default=("", {}))[1]
        asked = [methods[method] for _, methods in fitting if method in methods]
        roles = [role for role in asked if role is not None]
        highest = max(roles, key=lambda role: role.rank, default=OPEN)
        is_open = bool(nearest) and all(role is OPEN for role in nearest.values())
        return Place(frozenset(nearest) | ({method} if asked else set()), highest, is_open)

    def check(self, prefix: str, routes: Iterable[BaseRoute]) -> None:
        """Refuse routes that are not in the table.

        Args:
            prefix: that they are included under.
            routes: of a router.

        Raises:
            RuntimeError: names the first that is missing, for whoever wrote it.
        """
        for address in addresses(prefix, routes):
            if address not in self.least:
                raise RuntimeError(
                    f"{address} has no least role: enter it in services/api/roles.py"
                )


def addresses(prefix: str, routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Method and path of each route, as the table has them."""
    for route in routes:
        path, methods = getattr(route, "path", ""), getattr(route, "methods", None) or {"GET"}
        if isinstance(route, Mount):
            path += "/{path:path}"
        for method in sorted(set(methods) - {"HEAD"}):  # answered as GET is
            yield f"{method} {prefix}{path}"

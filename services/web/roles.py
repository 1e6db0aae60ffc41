"""The least role of every page, which stands in one table with that of the API's routes."""

from __future__ import annotations

from collections.abc import Mapping

from services.db.tables import UserRole

OPEN = None
VIEWER, LABELLER = UserRole.VIEWER, UserRole.LABELLER
CURATOR, ADMIN = UserRole.CURATOR, UserRole.ADMIN

LEAST_OF_PAGES: Mapping[str, UserRole | None] = {
    "GET /assets/{of}/{name:path}": OPEN,
    "GET /login": OPEN,
    "POST /login": OPEN,
    "POST /logout": VIEWER,
    "GET /": VIEWER,
    "GET /events": VIEWER,
    "POST /cycles/start": CURATOR,
    "POST /cycles/{cycle_id}/train": CURATOR,
    "POST /cycles/{cycle_id}/cancel": CURATOR,
    "GET /plan": VIEWER,
    "GET /plan/part": VIEWER,
    "POST /plan/ask": CURATOR,
    "POST /plan/approve": CURATOR,
    "POST /plan/strike": CURATOR,
    "GET /pictures/plan/{plan_id}/{rank}": VIEWER,
    "POST /decisions/{number}/undo": CURATOR,
    "GET /label": LABELLER,
    "GET /label/waiting": LABELLER,
    "GET /label/answers": LABELLER,
    "GET /looks": VIEWER,
    "GET /looks/{task_id}": VIEWER,
    "POST /looks/{task_id}/settle": CURATOR,
    "GET /pictures/look/{task_id}/{side}": VIEWER,
    "GET /failures": VIEWER,
    "GET /failures/{failure_id}": VIEWER,
    "POST /failures/{failure_id}/dismiss": CURATOR,
    "GET /failures/{failure_id}/explanations": VIEWER,
    "POST /failures/{failure_id}/explanations": LABELLER,
    "POST /failures/{failure_id}/explanations/{asked_id}/delete": LABELLER,
    "GET /failures/{failure_id}/analysis": VIEWER,
    "POST /failures/{failure_id}/analysis": LABELLER,
    "GET /failures/{failure_id}/neighbours": VIEWER,
    "POST /failures/{failure_id}/neighbours": LABELLER,
    "GET /pictures/asked/{asked_id}": VIEWER,
    "GET /pictures/neighbour/{failure_id}/{number}": VIEWER,
    "GET /pictures/failure/{failure_id}": VIEWER,
    "GET /pictures/image/{image_id}": VIEWER,
    "GET /pictures/candidate/{candidate_id}": VIEWER,
    "GET /modes": VIEWER,
    "GET /modes/{mode_id}": VIEWER,
    "POST /modes/{mode_id}/rename": CURATOR,
    "POST /modes/{mode_id}/merge": CURATOR,
    "GET /modes/{mode_id}/split": CURATOR,
    "POST /modes/{mode_id}/split": CURATOR,
    "GET /models": VIEWER,
    "GET /models/{name}": VIEWER,
    "POST /models/{name}/promote": ADMIN,
    "POST /models/rollback": ADMIN,
    "GET /data": VIEWER,
    "GET /data/{version}": VIEWER,
    "GET /work": VIEWER,
    "GET /work/parts": VIEWER,
    "POST /work/{unit_id}/redrive": CURATOR,
    "GET /settings": VIEWER,
    "GET /help": VIEWER,
    "GET /account": VIEWER,
    "POST /account/password": VIEWER,
    "POST /account/everywhere": VIEWER,
    "POST /account/tokens": VIEWER,
    "POST /account/tokens/{token_id}/revoke": VIEWER,
    "GET /users": ADMIN,
    "POST /users": ADMIN,
    "POST /users/change": ADMIN,
    "GET /audit": ADMIN,
}
"""Method and path, as the routes have them."""

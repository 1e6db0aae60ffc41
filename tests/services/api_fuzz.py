"""Thousands of requests made from the API's own description, and what they find.

Schemathesis reads ``/openapi.json``, makes requests that it allows and requests that it forbids,
and checks every answer against it: no fault of the service, no answer that is not described,
nothing refused that is described, nothing taken that is not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from benchmarks.common.projects import make_model
from benchmarks.common.waiting import PATIENCE
from services import units
from services.context import Context
from services.db.tables import LabelTask, Observation, Role, UserRole
from services.intake.imports import import_dataset
from tests.services.accounts import add_user, token_of
from tests.services.builders import add_champion, add_holdout_image, make_failure, make_image
from tests.services.datasets_on_disk import pictures, write_coco

TOKEN = "secret"
BEYOND_SCHEMA = (
    "POST /v1/frames", "POST /v1/cycles", "POST /v1/labels/import",
    "POST /v1/tasks/{task_id}/submit", "POST /v1/users", "POST /v1/users/{name}/password",
    "PATCH /v1/users/{name}", "GET /v1/users/{name}", "GET /v1/plan", "POST /v1/plan",
    "POST /v1/decisions", "POST /v1/looks/{task_id}/settle", "POST /v1/labels/tools",
    "POST /v1/failures/{failure_id}/explanations", "POST /v1/generated/withdraw",
)  # fmt: skip
"""What a description cannot say: a picture is one, a box lies in it, a class and a policy exist, a
password is hard to guess. A
request may be refused here though it is as described, by the 422 that is described too."""
_USUAL = ("2xx", "3xx", "401", "403", "404", "409", "429", "5xx")


def populate(context: Context, folder: Path) -> None:
    """Rows of every kind, so that requests find something."""
    import_dataset(context, write_coco(folder / "seed", pictures(100)), Role.SEED)
    with context.sessions.begin() as session:
        champion, image = add_champion(session), make_image(1, Role.FIELD)
        add_holdout_image(session)
        session.add(image)
        session.flush()
        session.add_all(make_failure(n, image, champion, label="car") for n in range(3))
        session.add(Observation(image_id=image.id, has_truth=False, reports=[], reporter="anna"))
        session.add(make_model(7))
        for number in (5, 6, 7):
            asked = make_image(number)
            session.add(asked)
            session.flush()
            session.add(LabelTask(image_id=asked.id))
        units.enqueue(session, "index", "index:1", {"images": []})


def token_for(context: Context, role: UserRole) -> str:
    """A token of a new user of this role."""
    return token_of(context, add_user(context, f"fuzz-{role}", role))


def fuzz(
    url: str,
    folder: Path,
    cases: int,
    seed: int = 0,
    *options: str,
    token: str | None = TOKEN,
) -> tuple[int, str]:
    """Send requests; schemathesis's exit status, which is 0 where all is well, and its report.

    Args:
        url: of the API.
        folder: for its configuration and cache.
        cases: random requests, shared out over all routes; some hundred chosen ones come first.
        seed: of the random ones.
        options: more of its command line.
        token: whose; None: a stranger asks.
    """
    routes = httpx.get(f"{url}/openapi.json", timeout=60 * PATIENCE).json()["paths"]
    number = sum(len(methods) for methods in routes.values())
    config = folder / "schemathesis.toml"
    config.write_text(_config())
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        f"--config-file={config}", "run", f"{url}/openapi.json",
        *(() if token is None else ("--header", f"Authorization: Bearer {token}")),
        "--checks=all", f"--max-examples={-(-cases // number)}", f"--seed={seed}",
        "--warnings=off", "--no-color", *options,
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def _config() -> str:
    expected = ", ".join(f'"{status}"' for status in (*_USUAL, "422"))
    # Nothing works beside the API here, and 503 is how that is told.
    unready = (
        '[[operations]]\ninclude-name = "GET /readyz"\n'
        'checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]\n'
        'checks.positive_data_acceptance.expected-statuses = ["2xx", "503"]\n'
    )
    return unready + "".join(
        f'[[operations]]\ninclude-name = "{name}"\n'
        f"checks.positive_data_acceptance.expected-statuses = [{expected}]\n"
        for name in BEYOND_SCHEMA
    )

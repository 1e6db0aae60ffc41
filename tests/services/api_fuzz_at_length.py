"""The API against requests that its description makes: none may be a fault or a surprise.

    python -m tests.services.api_fuzz_at_length --cases 10000 [--seed 0] [--role viewer]

With `--role` as a user of that role, or as a stranger by `--role none`; without it with the
project's token.

Prints schemathesis's report, and ends with 0 where it found nothing: no server error, no answer
that is not described, nothing refused that is described, nothing taken that is not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.common.projects import make_context
from services.api.app import create_app
from services.db import migrate
from services.db.tables import UserRole
from tests.services import api_fuzz
from tests.services.api_server import serving

NOBODY = "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--role", choices=[*UserRole, NOBODY], default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/e2x.db"
        context = make_context(folder / "project", url, api={"token": api_fuzz.TOKEN})
        migrate.upgrade(context.engine)
        api_fuzz.populate(context, folder)
        token: str | None = api_fuzz.TOKEN
        if given.role:
            stranger = given.role == NOBODY
            token = None if stranger else api_fuzz.token_for(context, UserRole(given.role))
        with serving(create_app(context)) as (address, _):
            status, report = api_fuzz.fuzz(address, folder, given.cases, given.seed, token=token)
        context.engine.dispose()
    sys.stdout.write(report)
    sys.exit(status)


if __name__ == "__main__":
    main()

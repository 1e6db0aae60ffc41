"""``python -m services.api``: serve the API of the project that the settings name."""

from __future__ import annotations

import uvicorn

from services import context as wiring
from services import logs, private
from services.api.app import create_app


def main() -> None:
    """Serve until told to stop."""
    private.only_ours()
    context = wiring.build()
    logs.configure("api", context.settings.log_level)
    settings = context.settings.api
    uvicorn.run(
        create_app(context),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
    )


if __name__ == "__main__":
    main()

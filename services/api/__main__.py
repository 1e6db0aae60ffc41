"""``python -m services.api``: serve the API of the project that the settings name."""

from __future__ import annotations

import logging

from services import context as wiring
from services import logs, tracing
from services.api.app import create_app
from services.api.log_repeats import RepeatLimit
from services.api.server import server
from services.store import private


def main() -> None:
    """Serve until told to stop."""
    private.only_ours()
    context = wiring.build()
    logs.configure("api", context.settings.log_level)
    (handler,) = logging.getLogger().handlers
    tracing.configure("api", context.settings)
    repeats = RepeatLimit(handler.handle)
    handler.addFilter(repeats)
    server(create_app(context), context.settings.api, repeats, tracing.end).run()


if __name__ == "__main__":
    main()

"""``python -m services.mirror``: tell MLflow what it has not been told, and end."""

from __future__ import annotations

import logging

from services import context as wiring
from services import logs
from services.errors import Conflict, ServiceError
from services.mirror import deliver
from services.store import private

logger = logging.getLogger(__name__)


def main() -> None:
    """Tell it all; what fails is written down, and tried again later."""
    private.only_ours()
    context = wiring.build()
    settings = context.settings
    logs.configure("mlflow", settings.log_level, context.project.logs, settings.logs)
    try:
        done = deliver.run(context)
    except Conflict as error:  # somebody else is at it
        logger.info("%s", error)
    except ServiceError as error:
        logger.warning("MLflow has not been told: %s", error)
    else:
        logger.info("MLflow was told of models %s", done.models)
    finally:
        context.engine.dispose()


if __name__ == "__main__":
    main()

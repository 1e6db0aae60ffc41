"""The folder of a host that works for a project and has nothing of it but settings."""

from __future__ import annotations

from pathlib import Path

from services.config.project import Project, open_project
from services.config.settings import PROJECT_FILE, Settings
from services.errors import InvalidRequest, NotFound

FILE = """\
# A host that works for a project: its database, broker and store come from E2X_... variables, as do
# all settings that the project does not leave at their defaults; `e2x config` shows them.
# Everything in this folder can be fetched or made again.
"""


def open_host(settings: Settings) -> Project:
    """The project folder, or one for this host's copies where the variables say all that counts.

    Raises:
        NotFound: there is neither.
        InvalidRequest: the folder holds other files.
    """
    root = settings.resolved_project()
    if not (root / PROJECT_FILE).is_file():
        missing = lacks(settings)
        if missing:
            raise NotFound(
                f"{root} is not a project (it has no {PROJECT_FILE}): run `e2x init {root}`, or "
                f"give this host {', '.join(missing)} to work for a project of another machine"
            )
        if root.is_dir() and any(root.iterdir()):
            raise InvalidRequest(
                f"{root} holds other files: name an empty folder for what this host fetches, "
                "with --project or E2X_PROJECT"
            )
        root.mkdir(parents=True, exist_ok=True)
        (root / PROJECT_FILE).write_text(FILE)
    return open_project(settings)


def lacks(settings: Settings) -> list[str]:
    """Variables without which a host cannot work for a project of another machine."""
    wanted = {
        "E2X_DATABASE_URL": settings.database_url,
        "E2X_BROKER_URL": settings.broker_url,
        "E2X_STORAGE__URL": settings.storage.url,
    }
    return [name for name, value in wanted.items() if not value]


def sees_all(settings: Settings, root: Path) -> str:
    """Why other hosts may not see what this one writes; "" where they do, or there are none."""
    if not settings.database_url or settings.database_url.startswith("sqlite"):
        return ""
    url = settings.storage.url
    if url and url != root.as_uri():
        return ""
    return (
        f"files lie in {root}: workers on other hosts need a store that all of them reach "
        "(storage.url), or this very folder, mounted"
    )

"""CVAT over its SDK. No server was at hand when this was written: what is tested are the models.

The SDK waits for CVAT to load a picture, so that each task that is sent takes a second or more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import urllib3
from cvat_sdk import exceptions
from cvat_sdk.core.client import AccessTokenCredentials, Client
from cvat_sdk.core.proxies.tasks import ResourceType

from services.errors import InvalidRequest, NotAllowed, NotFound, ToolUnavailable
from services.labeling.connectors import cvat_models as said
from services.labeling.connectors.protocol import Outgoing, Prepared, Remote, Sizes

NAME = "CVAT"
OVERLAP = timedelta(seconds=60)
"""A change is dated when its transaction begins, and seen when it ends."""
SHOWN = 200


class Cvat:
    """A project of a CVAT server.

    Args:
        url: of the server.
        token: a personal access token.
        project: its id there; None: not made yet.
        layout: what :meth:`prepare` found.
        mark: tells our tasks from others'.
    """

    def __init__(
        self, url: str, token: str, project: str | None, layout: dict[str, Any], mark: str
    ) -> None:
        self._url, self._project, self._layout, self._mark = url, project, layout, mark
        self._client = Client(url, check_server_version=False)
        self._client.login(AccessTokenCredentials(token))

    @property
    def name(self) -> str:
        """For people."""
        return NAME

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def prepare(
        self, project: str | None, adopted: bool, mark: str, title: str, classes: Sequence[str]
    ) -> Prepared:
        """Make, find or look at the project."""
        name = f"{title} {mark}"
        with self._told():
            if project is None:
                marked = [one for one in self._client.projects.list() if one.name == name]
                body = said.project_request(name, classes)
                found = marked[0] if marked else self._client.projects.create(body)
            else:
                found = self._client.projects.retrieve(int(project))
            labels = {label.name: label.id for label in found.get_labels()}
        self._project, self._mark = str(found.id), mark
        self._layout = {"labels": labels, "classes": list(labels)}
        missing = ", ".join(one for one in classes if one not in labels)
        notes = [f"project {found.id} has no label for {missing}: add them there"]
        return Prepared(self._project, self._layout, notes if missing else [])

    def push(self, tasks: Sequence[Outgoing]) -> dict[int, str]:
        """Give tasks, one after the other; those before a trouble have arrived."""
        arrived: dict[int, str] = {}
        for task in tasks:
            with self._told():
                data = said.data_request(task)
                made = self._client.tasks.create_from_data(
                    said.task_request(task, int(self._project or 0), self._mark),
                    data.remote_files,
                    resource_type=ResourceType.REMOTE,
                    data_params={"image_quality": data.image_quality, "use_cache": True},
                )
                made.set_annotations(said.shapes_request(task, self._layout["labels"]))
            arrived[task.task_id] = str(made.id)
        return arrived

    def ask(self, remote_id: str, people: int) -> None:
        """A job is one person's: the second look at it is asked for on our own page."""

    def find(self, task_ids: Collection[int], after: str | None) -> dict[int, str]:
        """Which of these have arrived."""
        with self._told():
            tasks = self._client.tasks.list(project_id=int(self._project or 0))
        ours = ((said.task_of(task.name, self._mark), task.id) for task in tasks)
        return {one[0]: str(number) for one, number in ours if one and one[0] in task_ids}

    def changed(self, since: str | None, sizes: Sizes) -> tuple[list[Remote], str | None]:
        """Jobs that changed, and until when that is all."""
        jobs = self._jobs()
        newest = max((job.updated_date for job in jobs if job.updated_date), default=None)
        if since is not None:
            after = datetime.fromisoformat(since) - OVERLAP
            jobs = [job for job in jobs if job.updated_date and job.updated_date > after]
        return self._remotes(jobs, sizes), newest.isoformat() if newest else since

    def read(self, remote_ids: Collection[str], sizes: Sizes) -> list[Remote]:
        """These tasks as they are now."""
        if not remote_ids:
            return []
        return self._remotes([job for job in self._jobs() if str(job.task_id) in remote_ids], sizes)

    def ids(self) -> set[str]:
        """The ids of all tasks of the project."""
        with self._told():
            tasks = self._client.tasks.list(project_id=int(self._project or 0))
        return {str(task.id) for task in tasks}

    def point(self, remote_id: str, task: Outgoing) -> None:
        """Nothing: CVAT keeps what it has loaded."""

    def withdraw(self, remote_ids: Collection[str]) -> None:
        """Delete tasks; those that are gone already are gone."""
        with self._told():
            self._client.tasks.remove_by_ids([int(one) for one in sorted(remote_ids)])

    def _jobs(self) -> list[Any]:
        with self._told():
            return list(self._client.jobs.list(project_id=int(self._project or 0)))

    def _remotes(self, jobs: Sequence[Any], sizes: Sizes) -> list[Remote]:
        found = []
        for job in jobs:
            data = None
            if said.is_done(job):
                with self._told():
                    data = job.get_annotations()
            found.append(said.remote_of(job, data, self._mark, sizes, self._layout["labels"]))
        return [one for one in found if one is not None]

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The SDK's errors as ours; what a server says is not shown whole, it may hold anything."""
        where = f"{NAME} at {self._url}"
        try:
            yield
        except exceptions.ApiException as error:
            status = int(error.status or 0)
            if status in (401, 403):
                raise NotAllowed(
                    f"{where} refuses the token ({status}): `e2x labels connect cvat URL "
                    "--token-file FILE` gives another one"
                ) from None
            if status == 404:
                raise NotFound(f"{where} has no such project or task") from None
            if status >= 500 or status in (0, 408, 429):
                raise ToolUnavailable(f"{where} is in trouble ({status})") from None
            told = " ".join(str(error.reason).split())[:SHOWN]
            raise InvalidRequest(f"{where} refuses it ({status} {told})") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ToolUnavailable(f"{where} does not answer: {type(error).__name__}") from None

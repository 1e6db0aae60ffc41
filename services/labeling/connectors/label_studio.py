"""Label Studio: its project, tasks in, answers out, over its HTTP API (1.13 and later).

Nothing is asked of its webhooks: they are sent once, unsigned, and not again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from services.errors import InvalidRequest, NotFound
from services.labeling.connectors import label_studio_read as reading
from services.labeling.connectors.label_studio_http import NAME, Http
from services.labeling.connectors.protocol import Outgoing, Prepared, Remote, Sizes

OVERLAP_S = 60.0
"""A change is dated when its transaction begins, and seen when it ends."""
TIES_S = 0.001
PAGE = 100
COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
KEYS = "1234567890"


class LabelStudio:
    """A project of a Label Studio server.

    Args:
        url: of the server.
        token: a personal access token or a legacy one.
        project: its id there; None: not made yet.
        layout: what :meth:`prepare` found.
        mark: tells our tasks from others'.
    """

    def __init__(
        self, url: str, token: str, project: str | None, layout: dict[str, Any], mark: str
    ) -> None:
        self._http = Http(url, token)
        self._project, self._layout, self._mark = project, layout, mark
        self._people: dict[int, str] | None = None

    @property
    def name(self) -> str:
        """For people."""
        return NAME

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def prepare(
        self, project: str | None, adopted: bool, mark: str, title: str, classes: Sequence[str]
    ) -> Prepared:
        """Make, find or look at the project."""
        found = self._marked(mark) if project is None else self._http.get(_path(project))
        if found is None:
            body = {
                "title": title,
                "description": f"Made by e2x, which finds it by this: {mark}",
                "label_config": config_of(classes),
                "skip_queue": "IGNORE_SKIPPED",  # a skipped task is not asked again here either
                "show_collab_predictions": True,
            }
            found = self._http.send("POST", "/api/projects", None, body)
        layout = layout_of(found)
        missing = [name for name in classes if name not in layout["classes"]]
        notes: list[str] = []
        if missing and adopted:
            names = ", ".join(missing)
            notes.append(
                f"project {found['id']} does not offer the classes {names}: add them there"
            )
        elif missing:
            every = list(dict.fromkeys((*layout["classes"], *classes)))
            body = {"label_config": config_of(every)}
            layout = layout_of(self._http.send("PATCH", _path(found["id"]), None, body))
        self._project, self._layout, self._mark = str(found["id"]), layout, mark
        return Prepared(self._project, layout, notes)

    def _marked(self, mark: str) -> dict[str, Any] | None:
        """The project that was made, but of which nothing was written down."""
        page = 1
        while True:
            found = self._http.get("/api/projects", page=page, page_size=PAGE)
            for one in found["results"]:
                if mark in str(one.get("description")):
                    return dict(one)
            if not found.get("next"):
                return None
            page += 1

    def push(self, tasks: Sequence[Outgoing]) -> dict[int, str]:
        """Give tasks; ids by their data, since nothing is promised of their order."""
        arrived: dict[int, str] = {}
        for start in range(0, len(tasks), PAGE):
            part = tasks[start : start + PAGE]
            bodies = [reading.task_body(one, self._layout, self._mark) for one in part]
            query = {"return_task_ids": "true"}
            path = f"{_path(self._project)}/import"
            done = self._http.send("POST", path, query, bodies) or {}
            least = min((int(one) for one in done.get("task_ids") or ()), default=None)
            after = None if least is None else str(least - 1)
            arrived |= self.find({one.task_id for one in part}, after)
        return arrived

    def ask(self, remote_id: str, people: int) -> None:
        """Offer a task to so many people; one who has answered it is not offered it again."""
        self._http.send("PATCH", f"/api/tasks/{int(remote_id)}", None, {"overlap": people})

    def find(self, task_ids: Collection[int], after: str | None) -> dict[int, str]:
        """Which of these have arrived."""
        found: dict[int, str] = {}
        for entry in self._list("task_only", after):
            number = reading.task_of(entry, self._mark)
            if number is not None and number in task_ids:
                found.setdefault(number, str(entry["id"]))
        return found

    def changed(self, since: str | None, sizes: Sizes) -> tuple[list[Remote], str | None]:
        """Tasks that changed, in the order of their changes.

        By time and not by pages: a task that changes meanwhile moves to the end, and pushes
        another one over the border of a page.
        """
        entries: dict[int, dict[str, Any]] = {}
        at = None if since is None else reading.moment_of({"updated_at": since}, OVERLAP_S)
        newest, size = since, PAGE
        while True:
            page = self._page("all", "updated_at", "Datetime", at, size)
            fresh = [one for one in page if entries.get(one["id"]) != one]
            entries |= {one["id"]: one for one in page}
            if page:
                newest = max(newest or "", reading.moment_of(page[-1]))
            if len(page) < size:
                break
            if not fresh:  # more of one moment than a page holds
                size *= 2
            at = reading.moment_of(page[-1], TIES_S)
        return self._remotes(entries.values(), sizes), newest

    def read(self, remote_ids: Collection[str], sizes: Sizes) -> list[Remote]:
        """These tasks as they are now."""
        entries = []
        for one in sorted(remote_ids):
            try:
                entries.append(self._http.get(f"/api/tasks/{int(one)}"))
            except NotFound:
                continue
        return self._remotes(entries, sizes)

    def ids(self) -> set[str]:
        """The ids of all tasks of the project."""
        return {str(entry["id"]) for entry in self._list("task_only", None)}

    def point(self, remote_id: str, task: Outgoing) -> None:
        """Give a task the new address of its picture."""
        body = {"data": reading.data_of(task, self._layout, self._mark)}
        self._http.send("PATCH", f"/api/tasks/{int(remote_id)}", None, body)

    def withdraw(self, remote_ids: Collection[str]) -> None:
        """Delete tasks; one that is gone already is gone."""
        for one in sorted(remote_ids):
            try:
                self._http.send("DELETE", f"/api/tasks/{int(one)}")
            except NotFound:
                continue

    def _remotes(self, entries: Collection[dict[str, Any]], sizes: Sizes) -> list[Remote]:
        ours = [one for one in entries if reading.task_of(one, self._mark) in sizes]
        people = self._names(ours)
        found = (reading.remote_of(one, self._mark, sizes, self._layout, people) for one in ours)
        return [one for one in found if one is not None]

    def _names(self, entries: Sequence[dict[str, Any]]) -> dict[int, str]:
        """Addresses of people by their ids, asked for where an annotation tells only the id."""
        told = [
            annotation.get("completed_by")
            for entry in entries
            for annotation in entry.get("annotations") or ()
        ]
        if self._people is None and any(isinstance(one, int) for one in told):
            rows = self._http.get("/api/users/")
            self._people = {row["id"]: str(row.get("email") or row["id"]) for row in rows}
        return self._people or {}

    def _list(self, fields: str, after: str | None) -> Iterator[dict[str, Any]]:
        """All tasks by id."""
        last = int(after or 0)
        while True:
            page = self._page(fields, "id", "Number", last, 10 * PAGE)
            yield from page
            if len(page) < 10 * PAGE:
                return
            last = int(page[-1]["id"])

    def _page(
        self, fields: str, key: str, kind: str, above: str | int | None, size: int
    ) -> list[dict[str, Any]]:
        """Tasks whose key is greater, in its order."""
        items = []
        if above is not None:
            items.append(
                {
                    "filter": f"filter:tasks:{key}",
                    "operator": "greater",
                    "type": kind,
                    "value": above,
                }
            )
        query = {
            "filters": {"conjunction": "and", "items": items},
            "ordering": [f"tasks:{key}"],
        }
        try:
            answer = self._http.get(
                "/api/tasks",
                project=self._project,
                fields=fields,
                page_size=size,
                query=json.dumps(query),
            )
        except NotFound:
            # It answers so too where the project is gone.
            self._http.get(_path(self._project))
            return []
        return list(answer["tasks"])


def config_of(classes: Sequence[str]) -> str:
    """The labelling interface: the reason, the picture, a rectangle of each class."""
    labels = "".join(
        f"<Label value={quoteattr(name)} background={quoteattr(COLOURS[place % len(COLOURS)])}"
        + (f" hotkey={quoteattr(KEYS[place])}" if place < len(KEYS) else "")
        + "/>"
        for place, name in enumerate(classes)
    )
    return (
        '<View><Text name="reason" value="$reason"/>'
        '<Image name="image" value="$image" zoom="true" zoomControl="true"/>'
        f'<RectangleLabels name="label" toName="image" canRotate="false">{labels}'
        "</RectangleLabels></View>"
    )


def layout_of(project: dict[str, Any]) -> dict[str, Any]:
    """What a project calls its rectangles and its picture, and its classes.

    Raises:
        InvalidRequest: it has no rectangles on a picture.
    """
    for name, control in (project.get("parsed_label_config") or {}).items():
        inputs = control.get("inputs") or ()
        if control.get("type") == "RectangleLabels" and inputs and inputs[0]["type"] == "Image":
            return {
                "from_name": name,
                "to_name": control["to_name"][0],
                "image": str(inputs[0]["value"]).lstrip("$"),
                "classes": list(control.get("labels") or ()),
            }
    raise InvalidRequest(
        f"project {project.get('id')} of {NAME} has no RectangleLabels on an Image: adopt another, "
        "or connect without --project, and one is made"
    )


def _path(project: object) -> str:
    if not str(project).isdigit():
        raise InvalidRequest(f"{NAME} numbers its projects: {str(project)[:40]!r} is none")
    return f"/api/projects/{project}"

"""The demo's HTTP client: what a fleet and a labelling tool would send."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx

from services.errors import ServiceError

TIMEOUT_S = 60.0


def make_client(url: str, token: str) -> httpx.Client:
    """A client of the project's API."""
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S
    )


def check(response: httpx.Response) -> httpx.Response:
    """The response, or an error with what the API said.

    Raises:
        ServiceError: the status is an error.
    """
    if response.is_error:
        raise ServiceError(
            f"{response.request.method} {response.request.url.path}: "
            f"{response.status_code} {response.text[:500]}"
        )
    return response


def report_frames(client: httpx.Client, folder: Path, on_frame: Callable[[int], None]) -> int:
    """Report every frame of a COCO folder with its truth; the number of frames."""
    coco = json.loads((folder / "annotations.json").read_text())
    names = {entry["id"]: entry["name"] for entry in coco["categories"]}
    objects: dict[int, list[dict[str, object]]] = {entry["id"]: [] for entry in coco["images"]}
    for entry in coco["annotations"]:
        x, y, width, height = entry["bbox"]
        objects[entry["image_id"]].append(
            {"box": [x, y, x + width, y + height], "label": names[entry["category_id"]]}
        )
    for number, entry in enumerate(coco["images"], 1):
        path = folder / entry["file_name"]
        check(
            client.post(
                "/v1/frames",
                files={"file": (path.name, path.read_bytes())},
                data={"objects": json.dumps(objects[entry["id"]])},
            )
        )
        on_frame(number)
    return len(coco["images"])

"""What strangers send to the API: a clear error each, and nothing of it is stored."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from benchmarks.common.waiting import PATIENCE
from services.api.auth import project_token
from services.context import Context
from services.db.tables import Image, Role
from services.errors import NotAllowed
from services.intake.imports import import_dataset
from tests import bad_images
from tests.services.api_server import CAR, MAX_BYTES, error_of, send_frame, stored
from tests.services.datasets_on_disk import pictures, write_coco

HEAD = "POST /v1/frames HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"

# --- who may


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Bearer", "Basic secret", "Bearer ü", "Bearer secret x", ""]
)
def test_without_the_token_nothing_is_answered(address: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}

    answer = httpx.get(f"{address}/v1/models", headers=headers)

    assert "Authorization: Bearer" in error_of(answer, 401, "not_allowed")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_every_route_but_health_and_login_needs_the_token(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            answer = httpx.request(method, address + path.replace("{", "").replace("}", ""))
            # Nothing works here: whether that is so is told to everybody.
            expected = {
                "/healthz": (200,),
                "/readyz": (503,),
                "/v1/login": (422,),
                "/i/{signed}/{name}": (404,),  # its signature is its token, and this is none
            }.get(path, (401,))
            assert answer.status_code in expected, path


@pytest.mark.parametrize("path", ["/nothing", "/docsx", "/healthz/", "//healthz"])
def test_an_address_that_is_not_open_is_closed(address: str, path: str) -> None:
    error_of(httpx.get(f"{address}{path}"), 401, "not_allowed")


def test_the_token_counts_once(address: str) -> None:
    twice = [("Authorization", "Bearer secret")] * 2

    error_of(httpx.get(f"{address}/v1/models", headers=twice), 401, "not_allowed")


def test_a_token_is_made_once_and_only_its_owner_may_read_it(sqlite_context: Context) -> None:
    first, second = project_token(sqlite_context), project_token(sqlite_context)

    assert first == second
    assert len(first) >= 32
    file = sqlite_context.project.state / "api-token"
    assert file.stat().st_mode & 0o077 == 0
    file.write_text(" \n")
    with pytest.raises(NotAllowed, match="is empty"):
        project_token(sqlite_context)


# --- what is too large


def test_a_request_that_says_it_is_too_large_is_refused(client: httpx.Client, api: Context) -> None:
    answer = send_frame(client, bad_images.png() + b"\0" * MAX_BYTES, objects=[])

    assert "api.max_request_bytes" in error_of(answer, 413, "too_large")
    assert stored(api) == (0, 0, 0)


def test_an_answer_reaches_a_sender_that_is_still_sending(address: str, api: Context) -> None:
    """The body comes slowly, so that the refusal is ready long before its end."""
    size = MAX_BYTES + 3 * 1024
    head = f"{HEAD}Content-Length: {size}\r\n\r\n"
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30 * PATIENCE) as sender:
        sender.sendall(head.encode())
        for _ in range(size // 1024):
            sender.sendall(b"\0" * 1024)
            time.sleep(0.002)
        answer = b"".join(iter(lambda: sender.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"api.max_request_bytes" in answer


def test_a_sender_that_waits_for_leave_is_refused_at_once(address: str, api: Context) -> None:
    head = f"{HEAD}Expect: 100-continue\r\n"
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5 * PATIENCE) as sender:
        sender.sendall(f"{head}Content-Length: {MAX_BYTES * 9}\r\n\r\n".encode())
        assert sender.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_request_that_hides_its_size_is_cut_off(client: httpx.Client, api: Context) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(40):
            yield b"\0" * 4096
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/frames", content=endless(), headers=headers)

    error_of(answer, 413, "too_large")
    assert stored(api) == (0, 0, 0)
    assert client.get("/models").status_code == 200


# --- frames


@pytest.mark.parametrize("name", bad_images.BAD)
def test_a_bad_image_is_a_clear_error_and_nothing_is_stored(
    client: httpx.Client, api: Context, name: str
) -> None:
    answer = send_frame(client, bad_images.BAD[name](), "field.jpg", objects=[])

    assert error_of(answer, 422, "image_unreadable").startswith("field.jpg: ")
    assert stored(api) == (0, 0, 0)


def test_odd_images_are_taken(client: httpx.Client, api: Context) -> None:
    for name, build in bad_images.ODD.items():
        assert send_frame(client, build(), f"{name}.jpg", objects=[]).status_code == 201
    assert stored(api) == (len(bad_images.ODD),) * 3


def test_the_same_frame_is_one_frame_and_its_file_comes_back(
    client: httpx.Client, api: Context
) -> None:
    first = send_frame(client, bad_images.png(1), objects=[CAR]).json()
    again = send_frame(client, bad_images.png(1), "b.png", objects=[CAR]).json()

    assert first == again
    assert client.get(f"/frames/{first['id']}").json() == first
    assert stored(api) == (1, 1, 1)
    file = client.get(f"/images/{first['image_id']}/file")
    assert file.content == bad_images.png(1)
    assert file.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "send `objects`"),
        ({"objects": "{"}, "objects: not JSON"),
        ({"objects": "[" * 20_000}, "objects: nested too deeply"),
        ({"objects": "{}"}, "objects"),
        ({"objects": '[{"box": [1, 2, 3], "label": "car"}]'}, "objects.0.box"),
        ({"objects": '[{"box": [1, 2, 3, 4]}]'}, "objects.0.label: Field required"),
        ({"objects": '[{"box": [1, 2, 3, 4], "label": "car", "iscrowd": 1}]'}, "objects.0.iscrowd"),
        ({"objects": '[{"box": [1, 2, 3, 4], "label": "boat"}]'}, "unknown class 'boat'"),
        ({"objects": '[{"box": [1, 2, 3, 4], "label": "\\ud800"}]'}, "objects.0.label"),
        ({"reports": '[{"kind": "odd", "box": [1, 2, 3, 4], "label": "car"}]'}, "reports.0.kind"),
        ({"objects": "[]", "reporter": "x" * 121}, "body.reporter"),
    ],
)
def test_malformed_words_are_named_and_nothing_is_stored(
    client: httpx.Client, api: Context, fields: dict[str, str], why: str
) -> None:
    answer = client.post("/frames", files={"file": ("a.png", bad_images.png())}, data=fields)

    assert why in error_of(answer, 422, "invalid_request")
    assert stored(api) == (0, 0, 0)


@pytest.mark.parametrize("box", [[9, 9, 4, 4], [-9, 0, 4, 4], [0, 0, 1e39, 4], [0, 0, 99, 9]])
def test_a_bad_box_is_named_and_nothing_is_stored(
    client: httpx.Client, api: Context, box: list[float]
) -> None:
    answer = send_frame(client, bad_images.png(), objects=[CAR, {**CAR, "box": box}])

    assert "a.png: box 1" in error_of(answer, 422, "invalid_boxes")
    assert stored(api) == (0, 0, 0)


@pytest.mark.parametrize("door", ["objects", "reports"])
def test_shares_for_pixels_are_told(client: httpx.Client, api: Context, door: str) -> None:
    entry = {"box": [0.1, 0.2, 0.5, 0.6], "label": "car"}
    entry |= {"kind": "missed"} if door == "reports" else {}

    answer = send_frame(client, bad_images.png(), **{door: [entry]})

    assert "give x1, y1, x2, y2 in pixels" in error_of(answer, 422, "invalid_boxes")
    assert stored(api) == (0, 0, 0)


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ({"width_px": 640, "height_px": 480}, "it is 64x48 but spoken of as 640x480"),
        ({"width_px": 48, "height_px": 64}, "boxes are of the upright picture"),
        ({"width_px": 64}, "give both width_px and height_px"),
        ({"width_px": "wide", "height_px": 48}, "body.width_px"),
    ],
)
def test_words_about_another_size_are_refused(
    client: httpx.Client, api: Context, size: dict[str, object], why: str
) -> None:
    answer = send_frame(client, bad_images.png(), objects=[CAR], **size)

    assert why in error_of(answer, 422, "invalid_request")
    assert stored(api) == (0, 0, 0)
    size = {"width_px": 64, "height_px": 48}
    assert send_frame(client, bad_images.png(), objects=[CAR], **size).status_code == 201


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ignore": "0"}, "objects.0.ignore"), ({"ignore": 0}, "objects.0.ignore"),
        ({"box": ["2", 3, 12, 11]}, "objects.0.box.0"), ({"box": [True, 3, 12, 11]}, "box.0"),
        ({"label": ""}, "objects.0.label"), ({"label": 3}, "objects.0.label"),
    ],
)  # fmt: skip
def test_nothing_is_taken_for_what_it_is_not(
    client: httpx.Client, api: Context, change: dict[str, object], why: str
) -> None:
    answer = send_frame(client, bad_images.png(), objects=[{**CAR, **change}])

    assert why in error_of(answer, 422, "invalid_request")
    assert stored(api) == (0, 0, 0)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\x1b[2J.png", "x" * 900])
def test_a_hostile_file_name_is_only_a_name(client: httpx.Client, api: Context, name: str) -> None:
    assert send_frame(client, bad_images.png(1), name, objects=[]).status_code == 201

    assert stored(api) == (1, 1, 1)
    with api.sessions() as session:
        image = session.scalars(select(Image).where(Image.role == Role.FIELD)).one()
        assert len(image.name) <= 300
        assert image.name.isprintable()


def test_a_frame_without_a_file_is_malformed(client: httpx.Client) -> None:
    assert "body.file" in error_of(client.post("/frames"), 422, "invalid_request")


def test_an_evaluation_image_is_no_field_frame(
    client: httpx.Client, api: Context, tmp_path: Path
) -> None:
    import_dataset(api, write_coco(tmp_path / "holdout", pictures(5)), Role.HOLDOUT)

    error_of(send_frame(client, bad_images.png(5), objects=[]), 409, "conflict")


# --- addresses


@pytest.mark.parametrize(
    "path",
    [
        "/frames/9", "/failures/none", "/failures/none/overlay.png", "/cycles/9", "/tasks/9",
        "/models/9", "/tasks/x", "/failures/a%00b", f"/frames/{'9' * 50}", f"/tasks/{'9' * 5000}",
        "/images/..%2F..%2Fstate%2Fapi-token/file", "/nothing",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(client: httpx.Client, path: str) -> None:
    error_of(client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        f"/tasks/{2**63}", "/tasks/0", "/failures?cursor=x",
        f"/tasks?cursor={2**70}", "/units?cursor=x", "/cycles?cursor=-1", "/units?limit=0",
        "/failures?label=%00", f"/failures?mode={2**64}", f"/units/counts?cycle_id={2**64}",
    ],
)  # fmt: skip
def test_a_senseless_address_is_malformed(client: httpx.Client, path: str) -> None:
    error_of(client.get(path), 422, "invalid_request")


def test_a_wrong_method_has_an_error_of_the_same_form(client: httpx.Client) -> None:
    error_of(client.delete("/models"), 405, "method_not_allowed")


def test_an_error_quotes_nothing_that_a_terminal_obeys(client: httpx.Client) -> None:
    answer = client.get("/failures/%1B[2J%C2%9B31m%E2%80%AE")

    assert "\x9b" in error_of(answer, 404, "not_found")
    assert answer.text.isprintable()

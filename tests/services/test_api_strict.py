"""Nothing is said twice, nothing unknown, and every answer has one form and safe headers."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from services.context import Context
from services.errors import InvalidRequest
from services.intake import strict_json
from tests import bad_images
from tests.services.api_server import error_of, stored

OBJECTS = '[{"box": [2, 3, 12, 11], "label": "car"}]'
EMPTY = "[]"

# --- twice, or unknown


def _part(name: str, content: bytes | str, file: str | None = None) -> tuple[str, Any]:
    return name, (file, content)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([_part("file", bad_images.png(1), "a.png")], "body.file: sent 2 times"),
        ([_part("objects", EMPTY)], "body.objects: sent 2 times"),
        ([_part("reporter", "anna"), _part("reporter", "bert")], "body.reporter: sent 2 times"),
        ([_part("object", EMPTY)], "body.object: unknown"),
        ([_part("file2", bad_images.png(1), "a.png")], "body.file2: unknown"),
    ],
)
def test_a_form_says_everything_once(
    client: httpx.Client, api: Context, parts: list[Any], why: str
) -> None:
    good = [_part("file", bad_images.png(), "a.png"), _part("objects", OBJECTS)]

    answer = client.post("/frames", files=good + parts)

    assert why in error_of(answer, 422, "invalid_request")
    assert stored(api) == (0, 0, 0)
    assert client.post("/frames", files=good).status_code == 201


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("multipart/form-data", b"x", "Missing boundary"),
        ("multipart/form-data; boundary=x", b"no part", "Invalid multipart data"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--", "Content-Disposition"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n\r\n' * 9,
            "Too many files",
        ),
    ],
)
def test_what_is_no_form_is_told(
    client: httpx.Client, api: Context, kind: str, body: bytes, why: str
) -> None:
    answer = client.post("/frames", content=body, headers={"Content-Type": kind})

    assert why in error_of(answer, 400, "invalid_request")
    assert stored(api) == (0, 0, 0)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/failures?limit=1&limit=2", "query.limit: sent 2 times"),
        ("/failures?stat=queued", "query.stat: unknown; there is: cursor, drive, kind, label"),
        ("/models?limit=5", "query.limit: unknown; there is: none"),
        ("/tasks/1?x=", "query.x: unknown"),
    ],
)
def test_a_query_says_everything_once(client: httpx.Client, path: str, why: str) -> None:
    assert why in error_of(client.get(path), 422, "invalid_request")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/cycles", '{"budget_boxes": 5, "budget_boxes": 50}'),
        ("/tasks/lease", '{"owner": "a", "count": 1, "count": 2}'),
        ("/labels/import", '{"images": [], "annotations": [], "categories": [], "images": [1]}'),
        ("/labels/import?author=a", '{"images": [{"id": 1, "id": 2}]}'),
    ],
)
def test_a_body_says_everything_once(client: httpx.Client, path: str, body: str) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = client.post(path, content=body, headers=headers)

    assert "is there twice" in error_of(answer, 422, "invalid_request")


@pytest.mark.parametrize("field", ["objects", "reports"])
def test_so_do_the_words_about_a_frame(client: httpx.Client, api: Context, field: str) -> None:
    said = '[{"kind": "missed", "box": [2, 3, 12, 11], "label": "car", "label": "bus"}]'

    answer = client.post("/frames", files={"file": ("a.png", bad_images.png())}, data={field: said})

    assert f"{field}: the field 'label' is there twice" in error_of(answer, 422, "invalid_request")
    assert stored(api) == (0, 0, 0)


# --- JSON


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not JSON"), (b"{", "not JSON: Expecting property name"), (b"[1] 2", "Extra data"),
        (b"\xff", "not text in UTF-8"), (b"[" * 10**5, "nested too deeply"),
        (b"[NaN]", "NaN is no JSON"),
        (b"[-Infinity]", "no JSON number"), (b"[1e999]", "too large for a number"),
        (b"1" * 5000, "Exceeds the limit"), (b'{"a": 1, "b": 2, "a": 1}', "'a' is there twice"),
        (b"[" + b"[]," * 2_000_000 + b"[]]", "over 2000000 lists"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_not_quite_json_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as caught:
        strict_json.loads(text, "here")

    assert str(caught.value).startswith("here: ")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be"]
)
def test_json_may_be_encoded_as_its_standard_says(encoding: str) -> None:
    assert strict_json.loads('{"a": ["é", 1.5, -2, null]}'.encode(encoding), "here") == {
        "a": ["é", 1.5, -2, None]
    }


# --- answers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200), ("GET", "/docs", 200), ("GET", "/docs/docs.js", 200),
        ("GET", "/openapi.json", 200), ("GET", "/v1/models", 200), ("GET", "/v1/nothing", 404),
        ("GET", "/docs/nothing.js", 404), ("PATCH", "/v1/models", 405),
        ("OPTIONS", "/v1/cycles", 204),
        ("TRACE", "/healthz", 405), ("POST", "/v1/cycles", 422), ("HEAD", "/v1/models", 200),
        ("GET", "/v1/models/", 404), ("GET", "/redoc", 404), ("GET", "/v1/failures/a%00b", 404),
    ],
)  # fmt: skip
def test_every_answer_has_the_headers_that_keep_a_browser_safe(
    address: str, method: str, path: str, status: int
) -> None:
    headers = {"Authorization": "Bearer secret"}
    answer = httpx.request(method, address + path, headers=headers)

    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    kept = "no-cache" if path.startswith("/docs/d") else "no-store"
    assert answer.headers["Cache-Control"] == kept
    assert "Server" not in answer.headers
    if status >= 400:
        assert set(answer.json()) == {"code", "message"}


def test_without_the_token_too(address: str) -> None:
    answer = httpx.get(f"{address}/v1/models")

    assert answer.status_code == 401
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/cycles", "GET, HEAD, OPTIONS, POST"), ("/models/rollback", "OPTIONS, POST"),
        ("/frames", "OPTIONS, POST"), ("/models", "GET, HEAD, OPTIONS"),
    ],
)  # fmt: skip
def test_a_wrong_method_is_told_the_right_ones(
    client: httpx.Client, path: str, allowed: str
) -> None:
    wrong = client.delete(path)

    assert allowed in error_of(wrong, 405, "method_not_allowed")
    assert wrong.headers["Allow"] == allowed
    assert client.options(path).headers["Allow"] == allowed


def test_head_is_get_without_its_body(client: httpx.Client) -> None:
    asked, got = client.head("/models"), client.get("/models")

    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["Content-Length"] == got.headers["Content-Length"] != "0"
    assert client.head("/models").status_code == 200  # the connection is in order


@pytest.mark.parametrize("given", ["abc-1.2_3", "x" * 64])
def test_a_senders_number_is_taken(client: httpx.Client, given: str) -> None:
    answer = client.get("/models", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "a\x9b2J", "ü"])
def test_one_that_is_not_fit_for_a_log_is_not(client: httpx.Client, given: str) -> None:
    answer = client.get("/models", headers={"X-Request-Id": given.encode("latin-1")})

    assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-Id"])


# --- the page


def test_the_page_loads_nothing_from_elsewhere(address: str) -> None:
    page = httpx.get(f"{address}/docs")
    policy = dict(
        rule.strip().split(" ", 1) for rule in page.headers["Content-Security-Policy"].split(";")
    )

    assert policy["script-src"] == "'self'"
    assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert "//" not in page.text
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|javascript:", page.text)
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 4
    for file in files:
        answer = httpx.get(f"{address}/{file}")
        assert (answer.status_code, len(answer.content) > 100) == (200, True), file
    assert httpx.get(f"{address}/docs/docs.js").text.count("://") == 0

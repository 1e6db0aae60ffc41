"""``/metrics`` of the API and ``e2x metrics``: who may read them, and what they say of requests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError
from typer.testing import CliRunner

from benchmarks.common.projects import make_context
from services.api.app import create_app
from services.api.routes import health
from services.cli import make_app
from services.config.settings import Settings, get_settings
from services.context import Context
from services.telemetry.catalogue import METRICS, Source

SCRAPE = "only for scraping"


@pytest.fixture
def watched_api(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    context = make_context(
        tmp_path / "project", sqlite_url, api={"token": "secret"}, telemetry={"token": SCRAPE}
    )
    with TestClient(create_app(context), headers=bearer("secret")) as client:
        yield client
    context.engine.dispose()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def series(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for found in text_string_to_metric_families(text)
        for sample in found.samples
        if sample.name == name
    }


def requests_of(text: str) -> dict[tuple[str, str, str], float]:
    return {
        (dict(labels)["method"], dict(labels)["route"], dict(labels)["code"]): value
        for labels, value in series(text, "e2x_http_request_seconds_count").items()
    }


def test_a_token_of_its_own_opens_the_metrics_and_nothing_else(watched_api: TestClient) -> None:
    assert watched_api.get("/metrics", headers={"Authorization": ""}).status_code == 401
    assert watched_api.get("/metrics", headers=bearer("wrong")).status_code == 401
    assert watched_api.get("/metrics").status_code == 200
    scraped = watched_api.get("/metrics", headers=bearer(SCRAPE))
    assert scraped.status_code == 200
    assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
    for path in ("/v1/units", "/metrics/", "/v1/metrics"):
        assert watched_api.get(path, headers=bearer(SCRAPE)).status_code == 401


def test_without_a_scrape_token_only_that_of_the_api_opens_it(
    tmp_path: Path, sqlite_url: str
) -> None:
    context = make_context(tmp_path / "project", sqlite_url, api={"token": "secret"})
    with TestClient(create_app(context)) as client:
        for headers in ({}, bearer(""), bearer("None")):
            assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/metrics", headers=bearer("secret")).status_code == 200
    context.engine.dispose()


def test_a_short_scrape_token_is_refused() -> None:
    with pytest.raises(ValidationError, match="16"):
        Settings(telemetry={"token": "short"})


def test_requests_are_told_by_template_status_and_method(watched_api: TestClient) -> None:
    for number in range(50):
        watched_api.get(f"/v1/units?state={number}")
        watched_api.get(f"/v1/tasks/{number + 1}")
        watched_api.get(f"/v1/{'0' * number}/no-such-thing")
        watched_api.get(f"/v1/secret-{number}", headers=bearer("wrong"))
        watched_api.request(f"EVIL{number}", "/v1/units")
    watched_api.head("/v1/units")
    watched_api.post("/v1/units/7/redrive")
    text = watched_api.get("/metrics").text
    found = requests_of(text)
    assert found["GET", "/v1/units", "200"] == 50
    assert found["HEAD", "/v1/units", "200"] == 1
    assert found["POST", "/v1/units/{unit_id}/redrive", "404"] == 1
    assert found["GET", "none", "404"] == 50
    assert found["GET", "none", "401"] == 50
    assert sum(count for (method, *_), count in found.items() if method == "other") == 50
    assert len(found) < 12
    assert not re.search(r"secret|no-such-thing|EVIL", text)
    assert requests_of(watched_api.get("/metrics").text)["GET", "/metrics", "200"] == 1


def test_the_seconds_of_a_request_are_in_its_histogram(watched_api: TestClient) -> None:
    watched_api.get("/healthz")
    text = watched_api.get("/metrics").text
    named = (("code", "200"), ("method", "GET"), ("route", "/healthz"))
    buckets = {
        float(dict(labels)["le"]): value
        for labels, value in series(text, "e2x_http_request_seconds_bucket").items()
        if set(named) <= set(labels)
    }
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets[float("inf")] == 1
    assert 0 < series(text, "e2x_http_request_seconds_sum")[named] < 30


def test_a_fault_counts_as_one(watched_api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("services.units.counts", broken)
    assert watched_api.get("/v1/units/counts").status_code == 500
    found = requests_of(watched_api.get("/metrics").text)
    assert found["GET", "/v1/units/counts", "500"] == 1


def test_everything_that_is_exposed_is_known_and_parses(watched_api: TestClient) -> None:
    text = watched_api.get("/metrics").text
    families = {found.name: found for found in text_string_to_metric_families(text)}
    assert {name for name in families if not name.startswith(("e2x_", "process_"))} == set()
    assert "process_open_fds" in families
    exposed = {sample.name for found in families.values() for sample in found.samples}
    known = {name for metric in METRICS.values() for name in metric.exposed}
    assert {name for name in exposed if name.startswith("e2x_")} <= known
    for metric in METRICS.values():
        if metric.source in (Source.DATABASE, Source.PROCESS) and metric.labels != (
            "number",
            "version",
        ):
            assert metric.name in families or f"{metric.name}_total" in families, metric.name


def test_an_unknown_field_is_refused(watched_api: TestClient) -> None:
    assert watched_api.get("/metrics?name[]=e2x_units").status_code == 422


def test_the_command_prints_and_writes_the_same(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("E2X_PROJECT", str(sqlite_context.project.root))
    monkeypatch.setenv("E2X_DATABASE_URL", str(sqlite_context.engine.url))
    get_settings.cache_clear()
    try:
        printed = CliRunner().invoke(make_app(), ["metrics"])
        file = tmp_path / "e2x.prom"
        written = CliRunner().invoke(make_app(), ["metrics", "--output", str(file)])
    finally:
        get_settings.cache_clear()
    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert 'e2x_units{kind="scan",queue="explain",state="queued"} 0.0' in printed.output
    assert "e2x_http" not in printed.stdout
    names = [
        {found.name for found in text_string_to_metric_families(text)}
        for text in (printed.stdout, file.read_text())
    ]
    assert names[0] == names[1]

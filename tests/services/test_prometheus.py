"""``deploy/prometheus`` and ``deploy/grafana`` against Prometheus itself and our real metrics."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE, wait_until
from services.api.app import create_app
from services.context import Context
from services.telemetry import counts
from services.telemetry.catalogue import METRICS
from services.telemetry.counts import OUTCOMES, Recorder
from services.telemetry.gpu import Gpu
from services.units.pipeline import STAGES
from services.worker import redis_server
from tests.services.api_server import serving
from tests.services.builders import add_champion

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"][0]["rules"]
RULE_TESTS = [
    test
    for file in sorted(PROMETHEUS.glob("rules_*test.yml"))
    for test in yaml.safe_load(file.read_text())["tests"]
]
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "e2x.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
GUIDE = (ROOT / "docs" / "watching.md").read_text()
ADDED = {"project", "instance", "job"}
"""Labels that Prometheus itself adds."""
TOKEN = "only for scraping"


def program(name: str) -> str:
    """The path of one of Prometheus' programs; without it a test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NO ALERT IS TESTED: {name} is not there (apt-get install prometheus)")
    return found


def promtool(*arguments: str, folder: Path = PROMETHEUS) -> None:
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def full(sqlite_context: Context, broker: str, tmp_path: Path) -> Iterator[str]:
    """Where an API answers that has something to say of every metric."""
    context = make_context(
        sqlite_context.project.root,
        str(sqlite_context.engine.url),
        api={"token": "secret"},
        telemetry={"token": TOKEN},
    )
    with context.sessions.begin() as session:
        add_champion(session)
    recorder = Recorder(partial(redis_server.client, broker))
    for kind in STAGES:
        for outcome in OUTCOMES:
            recorder.unit(kind, outcome, 1.0, 1.0)
    connection = redis_server.client(broker)
    gpu = Gpu("box", "uuid", 1, 2, 1, 0.0).to_dict()
    connection.set(f"{counts.GPUS}box:1", json.dumps(gpu))
    connection.close()
    with serving(create_app(context)) as (url, _):
        httpx.get(f"{url}/healthz")
        yield url
    context.engine.dispose()


def exposed(url: str) -> dict[str, list[dict[str, str]]]:
    """Labels of all samples by name."""
    answer = httpx.get(
        f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60 * PATIENCE
    )
    assert answer.status_code == 200
    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def test_the_rules_and_the_configuration_are_valid() -> None:
    promtool("check", "rules", "rules.yml")
    promtool("check", "config", "--syntax-only", "prometheus.yml")


def test_the_rules_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", *(file.name for file in sorted(PROMETHEUS.glob("rules_*test.yml"))))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_is_tested_both_ways_and_has_its_page(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    fires = {
        bool(case["exp_alerts"])
        for test in RULE_TESTS
        for case in test["alert_rule_test"]
        if case["alertname"] == name
    }
    assert fires == {True, False}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/watching.md#{name.lower()}"
    section = GUIDE.partition(f"\n### {name}\n")[2].partition("\n##")[0]
    assert "**Do:**" in section, "the page has no section of it that says what to do"


def test_the_page_has_no_alert_that_is_gone() -> None:
    named = set(re.findall(r"^### (E2x\w+)$", GUIDE, re.M))
    assert named == {rule["alert"] for rule in RULES}


def test_everything_is_exposed_and_everything_exposed_is_known(full: str) -> None:
    ours = {name for name in exposed(full) if name.startswith("e2x_")}
    assert ours == {name for metric in METRICS.values() for name in metric.exposed}


def test_rules_and_dashboard_ask_for_what_is_exposed(full: str) -> None:
    found = exposed(full)
    asked = [*QUERIES, *(rule["expr"] for rule in RULES)]
    for query in asked:
        selectors = re.findall(r"\b(e2x_\w+|process_\w+|up)\b(?:\{([^}]*)\})?", query)
        assert selectors, query
        for name, matchers in selectors:
            if name == "up":
                continue
            assert name in found, query
            for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', matchers):
                if label in ADDED:
                    continue
                there = {labels.get(label) for labels in found[name]} - {None}
                assert there, f"{name} has no label {label}: {query}"
                if label != "code":  # errors come when they come
                    wanted = value.split("|") if "~" in operator else [value]
                    assert set(wanted) <= there, f"{name} has never {label} {value}: {query}"
        labels = set(re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", query))))
        known = {label for name, _ in selectors for one in found.get(name, []) for label in one}
        assert labels <= known | ADDED, query


def test_the_dashboard_is_whole(tmp_path: Path) -> None:
    numbers = Counter(panel["id"] for panel in DASHBOARD["panels"])
    assert set(numbers.values()) == {1}
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places)), "panels lie over each other"
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$project", "demo")}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", file.name, folder=tmp_path)


def test_prometheus_scrapes_it_and_evaluates_rules_and_panels(full: str, tmp_path: Path) -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    token = tmp_path / "token"
    token.write_text(TOKEN)
    job["authorization"]["credentials_file"] = str(token)
    job["static_configs"][0]["targets"] = [full.removeprefix("http://")]
    config["rule_files"] = [str(PROMETHEUS / "rules.yml")]
    config["global"] = {"scrape_interval": "2s", "evaluation_interval": "1s"}
    job["scrape_timeout"] = "2s"
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    with running(tmp_path) as url:

        def ask(query: str) -> list[Any]:
            answer = httpx.get(f"{url}/api/v1/query", params={"query": query}).json()
            assert answer["status"] == "success", (query, answer)
            result: list[Any] = answer["data"]["result"]
            return result

        wait_until(
            lambda: any(one["value"][1] == "1" for one in ask('up{job="e2x",project="demo"}')),
            60,
            "Prometheus has scraped the API",
        )
        assert ask('e2x_units{kind="scan",state="queued",project="demo"}')
        assert ask("e2x_unit_seconds_bucket")
        for query in QUERIES:
            ask(query.replace("$project", "demo"))
        wait_until(
            lambda: "E2xNoRelay" in {one["metric"]["alertname"] for one in ask("ALERTS")},
            60,
            "the rules are evaluated: no relay runs here, so that one waits to fire",
        )


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """A Prometheus with the configuration in a folder; where it listens."""
    log = folder / "log"
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program("prometheus"), *options, "--web.listen-address=127.0.0.1:0"],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        found: list[str] = []

        def listens() -> bool:
            found[:] = re.findall(r'"Listening on" address=(\S+)', log.read_text())
            assert process.poll() is None, log.read_text()
            return bool(found)

        wait_until(listens, 60, "Prometheus listens")
        yield f"http://{found[0]}"
    finally:
        process.kill()
        process.wait()

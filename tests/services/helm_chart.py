"""Renders the Helm chart as `helm` does, for the tests of what comes out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "e2x"
IMAGES = {name: f"e2x-{name}@sha256:{'0' * 64}" for name in ("api", "worker", "cuda")}
ALL_ON = {
    "image": IMAGES,
    "settings": {"storage": {"url": "s3://bucket/prefix"}, "selection": {"budget_boxes": 250}},
    "workers": {
        "explain": {"gpus": 1, "scaling": {"enabled": True}},
        "embed": {"scaling": {"enabled": True}},
        "train": {"gpus": 1, "scaling": {"enabled": True}},
    },
    "ingress": {"enabled": True, "host": "e2x.example.org", "tlsSecret": "tls"},
    "serviceMonitor": {"enabled": True},
}
"""Values with which every template says something."""


def helm() -> str:
    """The program; without it a test is skipped."""
    found = os.environ.get("E2X_HELM") or shutil.which("helm")
    if found is None:
        pytest.skip("THE CHART IS NOT TESTED: helm is not there (E2X_HELM names it; see .ci/run)")
    return found


def run(folder: Path, command: str, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """One command of `helm` on the chart with these values."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    name = ("release",) if command == "template" else ("--strict",)
    return subprocess.run(
        [helm(), command, *name, str(CHART), "--values", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HELM_CACHE_HOME": str(folder), "HELM_CONFIG_HOME": str(folder)},
    )


def rendered(folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that the chart makes of these values."""
    done = run(folder, "template", values)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Those of a kind, by name."""
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The specification of each workload's pods, by its name."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in objects
        if one["kind"] in ("Deployment", "Job", "StatefulSet", "DaemonSet")
    }

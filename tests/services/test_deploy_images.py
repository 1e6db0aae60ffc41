"""The Containerfile and the compose file, held against our dependencies, settings, programs."""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import re
import shutil
import subprocess
import time
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.main import get_command

from services.cli import make_app
from services.config.settings import Settings
from services.units.pipeline import QUEUES
from services.worker import __main__ as programs
from services.worker.app import SOFT_SHUTDOWN_S

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "images" / "Containerfile"
COMPOSE = DEPLOY / "compose"
PYPROJECT = (ROOT / "pyproject.toml").read_text()
OURS = ("api", "relay", "beat", "migrations", *(f"worker-{queue}" for queue in QUEUES))
ONCE = ("migrations", "bucket")
"""Run to their end, and so have no probe."""


def lines() -> list[list[str]]:
    """The instructions of the Containerfile, each in words."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE)
    return [line.split() for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_hadolint_finds_nothing() -> None:
    hadolint = os.environ.get("E2X_HADOLINT") or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("THE CONTAINERFILE IS NOT LINTED: hadolint is not there (see .ci/run)")

    done = subprocess.run([hadolint, str(CONTAINERFILE)], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_base_is_given_and_the_images_run_as_nobody_in_particular() -> None:
    stages: list[str] = []
    for word, *rest in lines():
        if word == "FROM":
            assert rest[0] == "${BASE}" or rest[0] in stages
            stages.append(rest[2])
    assert ["ARG", "BASE"] in lines()  # without a default: who builds names it, by digest
    assert stages[-2:] == ["api", "worker"]
    uid, _, gid = next(rest[0] for word, *rest in reversed(lines()) if word == "USER").partition(
        ":"
    )
    assert uid == gid == "10001"
    after = [word for word, *_ in lines()]
    assert "RUN" not in after[len(after) - after[::-1].index("USER") :]


def test_dependencies_are_layers_before_the_code() -> None:
    copied = [" ".join(rest) for word, *rest in lines() if word in ("COPY", "RUN")]
    order = [
        next(i for i, text in enumerate(copied) if wanted in text)
        for wanted in ("--index-url", "-r /tmp/rest.txt", "COPY services", "--no-deps /src")
        if not wanted.startswith("COPY")
    ]
    code = next(i for i, text in enumerate(copied) if text.startswith("services "))
    assert order[0] < order[1] < code < order[2]


def test_what_is_copied_gets_past_the_ignore_file() -> None:
    kept = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for word, *rest in lines():
        if word == "COPY" and not rest[0].startswith("--from"):
            for source in rest[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source == one or source.startswith(f"{one}/") for one in kept), source
    assert not any(fnmatch.fnmatch("e2x.toml", one) for one in kept)


@pytest.fixture(scope="module")
def requirements() -> ModuleType:
    """The program that the Containerfile runs first."""
    file = DEPLOY / "images" / "requirements.py"
    spec = importlib.util.spec_from_file_location("requirements", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_is_installed_and_pytorch_by_itself(requirements: ModuleType) -> None:
    project = tomllib.loads(PYPROJECT)["project"]

    torch, rest = requirements.requirements(PYPROJECT, "cuda", ["postgres", "s3"])

    extras = project["optional-dependencies"]
    assert sorted(torch + rest) == sorted(
        project["dependencies"] + extras["postgres"] + extras["s3"]
    )
    assert [re.split("[<>=]", line)[0] for line in torch] == ["torch", "torchvision"]


def test_without_a_gpu_nothing_of_cuda_is_asked_for(requirements: ModuleType) -> None:
    _, cuda = requirements.requirements(PYPROJECT, "cuda", [])
    _, rest = requirements.requirements(PYPROJECT, "cpu", [])

    assert [line.replace("faiss-cpu", "faiss-gpu") for line in rest] == cuda
    assert any(line.startswith("faiss-cpu>=") for line in rest)
    assert not any("gpu" in line for line in rest)


@pytest.mark.parametrize(
    ("variant", "extras", "said"), [("rocm", [], "cpu, cuda"), ("cpu", ["postgre"], "no extra")]
)
def test_a_variant_or_an_extra_that_is_none_is_refused(
    requirements: ModuleType, variant: str, extras: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        requirements.requirements(PYPROJECT, variant, extras)


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What ``make-env.sh`` writes."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copy(COMPOSE / "make-env.sh", folder)
    for _ in range(2):  # the second time it changes nothing
        subprocess.run([folder / "make-env.sh"], check=True, capture_output=True)
        text = (folder / ".env").read_text()
    assert (folder / ".env").stat().st_mode & 0o077 == 0
    found = dict(line.split("=", 1) for line in text.splitlines())
    assert len(set(found.values())) == len(found)
    return found


@pytest.fixture(scope="module")
def services(env: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The services as compose reads them: variables put in, ``$$`` made ``$``."""

    def value(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":")
        if default.startswith("?"):
            return env[name]
        return env.get(name, default.removeprefix("-"))

    text = re.sub(r"(?<!\$)\$\{([^}]+)\}", value, (COMPOSE / "compose.yaml").read_text())
    read: dict[str, dict[str, Any]] = yaml.safe_load(text.replace("$$", "$"))["services"]
    return read


def test_every_service_is_bounded_and_probed(services: dict[str, dict[str, Any]]) -> None:
    for name, one in services.items():
        assert {"mem_limit", "cpus"} <= set(one), name
        assert ("healthcheck" in one) == (name not in ONCE) or name == "migrations", name
        assert one["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        assert "no-new-privileges:true" in one["security_opt"], name
        assert "." not in one["image"].partition("/")[0].partition(":")[0], f"{name}: a host"


def test_our_services_are_confined(services: dict[str, dict[str, Any]]) -> None:
    for name in OURS:
        one = services[name]
        assert (one["user"], one["read_only"], one["cap_drop"]) == ("10001:10001", True, ["ALL"])
        assert float(one["stop_grace_period"].rstrip("s")) >= 2 * SOFT_SHUTDOWN_S, name
    ports = [port for one in services.values() for port in one.get("ports", ())]
    assert ports == ["127.0.0.1:8321:8321"]


def test_every_process_is_there_and_every_queue_served_once(
    services: dict[str, dict[str, Any]],
) -> None:
    served: list[str] = []
    for name in OURS:
        module, *arguments = services[name].get("command", ["services.api"])
        if module == "services.worker":
            given = programs.parser().parse_args(arguments)
            served += given.queues.split(",") if given.program == "worker" else []
        elif module == "services.cli":
            assert arguments[0] in get_command(make_app()).commands  # type: ignore[attr-defined]
    assert sorted(served) == sorted(QUEUES)
    assert {services[name]["command"][1] for name in ("relay", "beat")} == {"relay", "beat"}


def test_the_settings_of_our_services_are_taken_in_production(
    services: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in OURS:
        for variable, said in services[name]["environment"].items():
            monkeypatch.setenv(variable, said)
        read = Settings(project=tmp_path)
        assert read.environment == "production"
        assert read.storage.endpoint == "http://store:8333"
        assert str(read.workers.alive_file) == "/tmp/alive"


def test_what_starts_waits_for_what_it_needs(services: dict[str, dict[str, Any]]) -> None:
    for name in OURS:
        needed = services[name]["depends_on"]
        if name != "migrations":
            assert needed == {"migrations": {"condition": "service_completed_successfully"}}
    waits = services["migrations"]["depends_on"]
    assert set(waits) == {"postgres", "redis", "bucket"}
    assert services["bucket"]["depends_on"]["store"] == {"condition": "service_healthy"}


def test_gpus_are_added_to_services_that_there_are(services: dict[str, dict[str, Any]]) -> None:
    text = (COMPOSE / "gpu.yaml").read_text()

    assert set(yaml.safe_load(text)["services"]) < set(services)


@pytest.mark.parametrize(("age_s", "healthy"), [(0, True), (500, True), (700, False)])
def test_a_process_that_hangs_is_seen(
    services: dict[str, dict[str, Any]], tmp_path: Path, age_s: int, healthy: bool
) -> None:
    file = tmp_path / "alive"
    file.touch()
    os.utime(file, (time.time() - age_s,) * 2)
    kind, command = services["worker-train"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"

    done = subprocess.run(["sh", "-c", command.replace("/tmp/alive", str(file))], check=False)

    assert (done.returncode == 0) is healthy

"""The Helm chart: what `helm` makes of it, held against Kubernetes' schemas and our own code."""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from benchmarks.common.projects import make_context
from services import units
from services.config.settings import Settings
from services.db.base import utc_now
from services.units.pipeline import QUEUES
from services.worker import __main__ as programs
from services.worker.app import SOFT_SHUTDOWN_S
from tests.services import helm_chart
from tests.services.helm_chart import ALL_ON, IMAGES, of_kind, pods

BYTES = {"Mi": 2**20, "Gi": 2**30}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All that the chart can make."""
    return helm_chart.rendered(tmp_path_factory.mktemp("helm"), ALL_ON)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What it makes where only images are named."""
    return helm_chart.rendered(tmp_path_factory.mktemp("helm"), {"image": IMAGES})


@pytest.mark.parametrize("values", [{"image": IMAGES}, ALL_ON], ids=["least", "all on"])
def test_helm_finds_nothing_to_complain_of(tmp_path: Path, values: dict[str, Any]) -> None:
    done = helm_chart.run(tmp_path, "lint", values)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("settings.selection.budgt_boxes", 3),
        ("settings.selection.budget_boxes", 0),
        ("settings.api.token", "in the clear"),
        ("settings.storage.secret_key", "in the clear"),
        ("settings.database_url", "postgresql+pg8000://u:in-the-clear@host/e2x"),
        ("workers.explain.queues", ["explian"]),
        ("workers.explain.replica", 2),
        ("terminationGracePeriodSeconds", SOFT_SHUTDOWN_S),
        ("podSecurityContext.runAsUser", 0),
        ("existingSecret", ""),
    ],
)
def test_values_that_cannot_work_are_refused(tmp_path: Path, path: str, value: Any) -> None:
    values: dict[str, Any] = {"image": IMAGES}
    at, *names = values, *path.split(".")
    for name in names[:-1]:
        at = at.setdefault(name, {})
    at[names[-1]] = value

    done = helm_chart.run(tmp_path, "template", values)

    assert done.returncode != 0
    assert "at '/" + "/".join(names[:-1]) in done.stderr


def test_an_image_that_nobody_named_is_said(tmp_path: Path) -> None:
    done = helm_chart.run(tmp_path, "template", {})

    assert done.returncode != 0
    assert "is empty: name an image, by digest" in done.stderr


def test_the_queue_that_must_be_served_is_not_scaled(tmp_path: Path) -> None:
    values = {"image": IMAGES, "workers": {"default": {"scaling": {"enabled": True}}}}

    done = helm_chart.run(tmp_path, "template", values)

    assert done.returncode != 0
    assert "must always be served" in done.stderr


def test_objects_are_what_kubernetes_takes(objects: list[dict[str, Any]]) -> None:
    reason = "THE CHART IS NOT HELD AGAINST SCHEMAS: pip install kubernetes-validate"
    schemas = pytest.importorskip("kubernetes_validate", reason=reason)
    others = []
    for one in objects:
        if one["apiVersion"].partition("/")[0] in ("keda.sh", "monitoring.coreos.com"):
            others.append(one["kind"])
        else:
            schemas.validate(one, "1.33", strict=True)

    assert set(others) == {"ScaledObject", "TriggerAuthentication", "ServiceMonitor"}


def test_every_container_is_confined(objects: list[dict[str, Any]]) -> None:
    assert len(pods(objects)) == 9
    for name, pod in pods(objects).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        for one in spec["containers"]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert set(one["resources"]["limits"]) >= {"cpu", "memory"}, name
            assert set(one["resources"]["requests"]) >= {"cpu", "memory"}, name
            mounted = {mount["mountPath"] for mount in one["volumeMounts"]}
            assert mounted >= {"/project", "/tmp"}, name
            assert "@sha256:" in one["image"], name


def test_deployments_are_probed_and_may_end(objects: list[dict[str, Any]]) -> None:
    for name, one in of_kind(objects, "Deployment").items():
        spec = one["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] >= 2 * SOFT_SHUTDOWN_S, name
        (container,) = spec["containers"]
        assert {"startupProbe", "livenessProbe"} <= set(container), name
    (api,) = of_kind(objects, "Deployment")["release-api"]["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert api[probe]["httpGet"] == {"path": "/healthz", "port": "http"}


def test_every_process_runs_and_every_queue_is_served_once(objects: list[dict[str, Any]]) -> None:
    served: list[str] = []
    kinds = []
    for pod in pods(objects).values():
        module, *arguments = pod["spec"]["containers"][0]["args"]
        if module == "services.worker":
            given = programs.parser().parse_args(arguments)
            kinds.append(given.program)
            served += given.queues.split(",") if given.program == "worker" else []
        else:
            kinds.append(module)

    assert sorted(served) == sorted(QUEUES)
    assert sorted(kinds) == ["beat", "relay", "services.api", "services.cli", *5 * ["worker"]]


def test_what_is_one_process_is_replaced_and_not_doubled(plain: list[dict[str, Any]]) -> None:
    single = {"release-index", "release-train", "release-default", "release-beat"}
    for name, one in of_kind(plain, "Deployment").items():
        recreate = one["spec"].get("strategy", {}).get("type") == "Recreate"
        assert recreate == (name in single), name


def test_settings_reach_the_processes(
    objects: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_ = of_kind(objects, "ConfigMap")["release-settings"]["data"]["e2x.toml"]
    (tmp_path / "e2x.toml").write_text(text_)
    monkeypatch.setenv("E2X_DATABASE_URL", "postgresql+pg8000://e2x@host/e2x")
    monkeypatch.setenv("E2X_BROKER_URL", "redis://host")

    read = Settings(project=tmp_path)

    assert (read.environment, read.selection.budget_boxes) == ("production", 250)
    assert tomllib.loads(text_)["storage"]["url"] == "s3://bucket/prefix"
    assert read.storage.cache_bytes < _bytes(_volume(objects, "release-explain", "cache"))


@pytest.mark.parametrize(
    ("which", "sharing"),
    [
        ("objects", {"default"}),
        ("plain", {*QUEUES, "api", "relay", "beat"}),
    ],
)
def test_who_needs_the_project_folder_has_it(
    which: str, sharing: set[str], request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(which)
    claims = of_kind(made, "PersistentVolumeClaim")
    having = {
        name.removeprefix("release-")
        for name in of_kind(made, "Deployment")
        if "persistentVolumeClaim" in _volume(made, name, "project")
    }

    assert having == sharing
    assert claims["release-project"]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_gpus_get_the_image_that_uses_them(objects: list[dict[str, Any]]) -> None:
    images = {}
    for name, pod in pods(objects).items():
        (container,) = pod["spec"]["containers"]
        gpus = container["resources"]["limits"].get("nvidia.com/gpu", 0)
        images[name] = (container["image"].partition("@")[0], gpus)

    assert images["release-explain"] == images["release-train"] == ("e2x-cuda", 1)
    assert images["release-embed"] == ("e2x-worker", 0)
    assert images["release-api"] == images["release-migrations"] == ("e2x-api", 0)


def test_disruption_budgets_and_policies_reach_their_pods(objects: list[dict[str, Any]]) -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(objects).items()}
    for name, budget in of_kind(objects, "PodDisruptionBudget").items():
        wanted = budget["spec"]["selector"]["matchLabels"]
        assert [n for n, has in labels.items() if wanted.items() <= has.items()] == [name]
        assert budget["spec"]["maxUnavailable"] == 1  # a part that is alone may be moved too
    assert len(of_kind(objects, "PodDisruptionBudget")) == 8
    policies = of_kind(objects, "NetworkPolicy")
    everybody = policies["release-all"]["spec"]
    wanted = everybody["podSelector"]["matchLabels"]
    assert all(wanted.items() <= has.items() for has in labels.values())
    assert "ingress" not in everybody
    assert set(everybody["policyTypes"]) == {"Ingress", "Egress"}
    open_to = policies["release-api"]["spec"]["podSelector"]["matchLabels"]
    assert [n for n, has in labels.items() if open_to.items() <= has.items()] == ["release-api"]


def test_migrations_come_before_everything_and_need_only_the_secret(
    objects: list[dict[str, Any]],
) -> None:
    job = of_kind(objects, "Job")["release-migrations"]
    spec = job["spec"]["template"]["spec"]

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert all("emptyDir" in volume for volume in spec["volumes"])
    assert spec["containers"][0]["envFrom"] == [{"secretRef": {"name": "e2x"}}]
    assert spec["restartPolicy"] == "Never"


def test_scaling_counts_what_waits_and_what_is_worked_on(
    objects: list[dict[str, Any]], postgres_url: str, tmp_path: Path
) -> None:
    scaled = of_kind(objects, "ScaledObject")
    assert set(scaled) == {"release-explain", "release-embed", "release-train"}
    deployments = of_kind(objects, "Deployment")
    for name, one in scaled.items():
        assert one["spec"]["scaleTargetRef"]["name"] == name
        assert "replicas" not in deployments[name]["spec"]  # else each `helm upgrade` resets it
    (trigger,) = scaled["release-explain"]["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    assert trigger["authenticationRef"]["name"] in of_kind(objects, "TriggerAuthentication")

    context = make_context(tmp_path / "project", postgres_url)
    with context.sessions.begin() as session:
        rows = [units.enqueue(session, "explain", f"explain/{i}", {}) for i in range(4)]
        units.enqueue(session, "embed", "embed/0", {})
        session.flush()
        ids = [row.id for row in rows]
        rows[2].not_before = utc_now() + timedelta(hours=1)
    with context.sessions.begin() as session:
        held = units.claim(session, ids[0], "worker", 60.0)
        done = units.claim(session, ids[3], "worker", 60.0)
        assert held is not None
        assert done is not None
        units.finish(session, done, {})
    context.engine.dispose()

    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        counted = connection.execute(text(trigger["metadata"]["query"])).scalar_one()
    engine.dispose()
    assert counted == 2


def _volume(objects: list[dict[str, Any]], name: str, volume: str) -> dict[str, Any]:
    (found,) = (v for v in pods(objects)[name]["spec"]["volumes"] if v["name"] == volume)
    return dict(found)


def _bytes(volume: dict[str, Any]) -> int:
    size = volume["emptyDir"]["sizeLimit"]
    return int(size[:-2]) * BYTES[size[-2:]]

"""What is asked of an MLflow server; each function may be called again and changes nothing then."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.config.setting_groups import MlflowSettings
from services.mirror.content import MODEL_TAG, Point, Told
from services.mirror.errors import MirrorRefused, MirrorUnavailable
from services.store import model_folders

CHAMPION = "champion"
METRICS_AT_ONCE, PARAMS_AT_ONCE = 1000, 100
"""What the server takes in one request."""
FILES = "model"
"""Folder of a run that holds the model's files."""
NOT_OUR_FAULT = (401, 403, 404, 408, 429)
"""Answers that say that the server or the way to it is not right, not what was said. 404 of a
model's own things is answered for where it is asked."""
EXISTS = "RESOURCE_ALREADY_EXISTS"
UNKNOWN = "RESOURCE_DOES_NOT_EXIST"


class Client:
    """One server, one experiment, one registered model.

    Args:
        settings: where it is.

    Raises:
        MirrorUnavailable: the client is not installed.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        self._name, self._experiment_name = settings.model_name, settings.experiment
        self._client = _client(settings)
        self._experiment = ""

    def prepare(self) -> None:
        """Have the experiment and the registered model there."""
        with _told():
            self._experiment = self._find_experiment()
            try:
                self._client.create_registered_model(
                    self._name, description="Detectors of Explain-to-Fix."
                )
            except Exception as error:
                if _code(error) != EXISTS:
                    raise

    def run_of(self, told: Told, known: str | None) -> str:
        """The run of a model: the known one if it is there, else by its tag, else a new one."""
        with _told():
            if known is not None and self._is_there(known):
                return known
            found = self._client.search_runs(
                [self._experiment], f"tags.`{MODEL_TAG}` = '{told.model_id}'", max_results=1
            )
            if found:
                return str(found[0].info.run_id)
            run = self._client.create_run(
                self._experiment,
                start_time=_ms(told.made_at),
                tags={MODEL_TAG: told.model_id},
                run_name=told.name,
            )
            return str(run.info.run_id)

    def describe(self, run_id: str, told: Told) -> None:
        """Write parameters, tags, curve, figures and texts of a run, as far as they are missing."""
        from mlflow.entities import Metric, Param, RunTag

        with _told():
            data = self._client.get_run(run_id).data
            params = [Param(*pair) for pair in told.params.items() if pair[0] not in data.params]
            tags = [
                RunTag(*pair) for pair in told.tags.items() if data.tags.get(pair[0]) != pair[1]
            ]
            metrics = [
                Metric(point.name, point.value, _ms(told.made_at), point.step)
                for point in self._missing(run_id, told.curve)
            ]
            now = _ms(datetime.now(UTC))
            metrics += [
                Metric(name, value, now, 0)
                for name, value in told.metrics.items()
                if data.metrics.get(name) != value
            ]
            for part in _parts(params, PARAMS_AT_ONCE):
                self._client.log_batch(run_id, params=part)
            for part in _parts(metrics, METRICS_AT_ONCE):
                self._client.log_batch(run_id, metrics=part)
            for part in _parts(tags, PARAMS_AT_ONCE):
                self._client.log_batch(run_id, tags=part)
            for name, text in told.texts.items():
                self._client.log_text(run_id, text, name)

    def register(self, run_id: str, told: Told, folder: Path) -> str:
        """Hand in the model's files, and register them; the number of the version."""
        with _told():
            found = self._client.search_model_versions(
                f"name = '{self._name}' and run_id = '{run_id}'", max_results=1
            )
            if found:
                return str(found[0].version)
            self._upload(run_id, told, folder)
            version = self._client.create_model_version(
                self._name,
                source=f"runs:/{run_id}/{FILES}",
                run_id=run_id,
                tags={MODEL_TAG: told.model_id},
                description=f"{told.name}: {told.params.get('architecture', '')}",
            )
            self._client.set_terminated(run_id, "FINISHED", _ms(told.made_at))
            return str(version.version)

    def label(self, version: str, told: Told) -> None:
        """Write the state of a model beside its version."""
        with _told():
            for name in ("e2x.state", "e2x.gate"):
                if name in told.tags:
                    self._client.set_model_version_tag(self._name, version, name, told.tags[name])

    def point_champion(self, version: str) -> None:
        """Have the alias ``champion`` mean a version."""
        with _told():
            self._client.set_registered_model_alias(self._name, CHAMPION, version)

    def _find_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment_name)
        if found is None:
            try:
                return str(self._client.create_experiment(self._experiment_name))
            except Exception as error:
                if _code(error) != EXISTS:
                    raise
                found = self._client.get_experiment_by_name(self._experiment_name)
        if found is None or found.lifecycle_stage != "active":
            raise MirrorUnavailable(
                f"the experiment {self._experiment_name!r} was deleted in MLflow: restore it, or "
                "set another mlflow.experiment"
            )
        return str(found.experiment_id)

    def _upload(self, run_id: str, told: Told, folder: Path) -> None:
        if not (folder / model_folders.LAST).is_file():
            raise MirrorRefused(f"its files are lost: {told.folder}; restore them from a backup")
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            if not file.name.startswith(model_folders.REPORTS):  # found out later, about it
                place = Path(FILES) / file.relative_to(folder).parent
                self._client.log_artifact(run_id, str(file), place.as_posix())

    def _is_there(self, run_id: str) -> bool:
        try:
            info = self._client.get_run(run_id).info
        except Exception as error:
            if _code(error) == UNKNOWN:
                return False
            raise
        return bool(info.lifecycle_stage == "active")

    def _missing(self, run_id: str, curve: Sequence[Point]) -> list[Point]:
        """Points of a curve that the server does not have: a try before may have told some."""
        known = {
            (name, one.step)
            for name in {point.name for point in curve}
            for one in self._client.get_metric_history(run_id, name)
        }
        return [point for point in curve if (point.name, point.step) not in known]


def _client(settings: MlflowSettings) -> Any:
    os.environ |= {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(settings.timeout_s))),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the whole exchange is tried again, later
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GIT_PYTHON_REFRESH": "quiet",  # it looks for git, which nothing here needs
    }
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MirrorUnavailable(
            f"mlflow.tracking_uri is set, and its client is missing ({error}): "
            "`pip install 'e2x[mlflow]'`"
        ) from error
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(settings.tracking_uri, settings.tracking_uri)


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the client as ours: of the server, or of what was said.

    Raises:
        MirrorRefused: the server does not take what it is told of this model.
        MirrorUnavailable: anything else that the client or the network says.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    try:
        yield
    except MlflowException as error:
        said = f"MLflow: {str(error).splitlines()[0][:500]}"
        status = _status(error)
        if _is_answer(error) and 400 <= status < 500 and status not in NOT_OUR_FAULT:
            raise MirrorRefused(said) from error
        raise MirrorUnavailable(said) from error
    except RequestException as error:
        raise MirrorUnavailable(f"MLflow: {str(error).splitlines()[0][:500]}") from error


def _status(error: Any) -> int:
    """The status of an answer, as the client tells it."""
    return int(error.get_http_status_code())


def _is_answer(error: Exception) -> bool:
    """Whether the server itself has answered; the client has errors of its own of one kind."""
    from mlflow.exceptions import RestException

    return isinstance(error, RestException)


def _code(error: BaseException) -> str:
    return str(getattr(error, "error_code", ""))


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)

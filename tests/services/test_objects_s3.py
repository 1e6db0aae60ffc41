"""A bucket whose server is away, slow, another's or not to be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.common.buckets import MISSING, SECRET_KEY, Seaweed, weed
from benchmarks.common.waiting import PATIENCE
from services.config.setting_groups import StorageSettings
from services.config.settings import Settings
from services.store.objects import Objects, StoreRefused, StoreUnavailable, open_objects
from tests.certificates import certificate
from tests.service_fixtures import run_seaweed

__all__ = ["certificate"]


def opened(settings: dict[str, object]) -> Objects:
    return open_objects(StorageSettings(**settings), Path("/none"))


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A server that the tests of this file may kill."""
    yield from run_seaweed(tmp_path_factory.mktemp("killed"))


WRONG = {
    "another secret": {"secret_key": "another"},
    "an unknown key": {"access_key": "nobody"},
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_credentials_are_told_and_never_shown(seaweed: Seaweed, what: str) -> None:
    objects = opened(seaweed.settings("p", **WRONG[what]))
    asked: list[Callable[[], object]] = [
        lambda: objects.put("a/b", b""),
        lambda: objects.get("a/b"),
        lambda: objects.head("a/b"),
        lambda: objects.page(),
    ]
    for ask in asked:
        with pytest.raises(StoreRefused, match=r"s3://e2x/p/.*storage.secret_key") as refused:
            ask()
        assert SECRET_KEY not in repr(refused.value) + repr(refused.value.__cause__)


def test_a_bucket_that_is_not_there_is_told(seaweed: Seaweed) -> None:
    objects = opened(seaweed.settings() | {"url": "s3://nobody-made-it/p"})

    for ask in (lambda: objects.get("a"), lambda: objects.head("a"), lambda: objects.page()):
        with pytest.raises(StoreRefused, match="no bucket nobody-made-it: make it"):
            ask()


def test_a_server_that_is_away_is_asked_again_until_it_is_back(own_server: Seaweed) -> None:
    objects = opened(own_server.settings(patience_s=120.0))
    objects.put("a", b"before")
    own_server.kill()
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(objects.get("a")[0]))
    asking.start()
    storing = threading.Thread(target=lambda: objects.put("b", b"meanwhile"))
    storing.start()

    own_server.start()
    asking.join(120 * PATIENCE)
    storing.join(120 * PATIENCE)

    assert answers == [b"before"]
    assert objects.get("b")[0] == b"meanwhile"


def test_patience_ends_with_what_was_asked_for_and_why() -> None:
    away = {"endpoint": "http://127.0.0.1:9", "access_key": "a", "secret_key": "b"}
    objects = opened({"url": "s3://e2x/p", "patience_s": 0.5, **away})

    with pytest.raises(StoreUnavailable, match=r"s3://e2x/p/a: http://127.* HTTP error") as told:
        objects.put("a", b"")
    assert told.value.retryable
    with pytest.raises(StoreUnavailable, match="s3://e2x/p"):
        objects.page()


def test_no_credentials_at_all_are_told(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", NO_CREDENTIALS],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * PATIENCE,
        env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
    )
    assert "there are no credentials: look at storage.access_key" in told.stdout, told.stderr


NO_CREDENTIALS = """
from pathlib import Path
from services.config.setting_groups import StorageSettings
from services.errors import ServiceError
from services.store.objects import open_objects
settings = StorageSettings(url="s3://e2x", endpoint="http://127.0.0.1:9", patience_s=0.1)
try:
    open_objects(settings, Path()).put("a", b"")
except ServiceError as error:
    print(error)
"""
FORKED = """
import os, sys
from pathlib import Path
from services.config.setting_groups import StorageSettings
from services.store.objects import open_objects
objects = open_objects(StorageSettings.model_validate_json(sys.argv[1]), Path())
objects.put("a", b"")
child = os.fork()
if child == 0:
    try:
        objects.get("a")
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_fork_is_refused_instead_of_hanging(seaweed: Seaweed) -> None:
    settings = StorageSettings(**seaweed.settings())
    text = settings.model_dump_json(exclude={"access_key", "secret_key"})
    told = subprocess.run(
        [sys.executable, "-c", FORKED, text],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * PATIENCE,
        env={**os.environ, "AWS_ACCESS_KEY_ID": "e2x-tests", "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
    )
    assert "open the store after the fork" in told.stdout, told.stderr


def test_a_link_lets_its_bearer_read_one_object_for_a_while(seaweed: Seaweed) -> None:
    settings = seaweed.settings("p")
    objects = opened(
        settings | {"public_endpoint": seaweed.endpoint.replace("127.0.0.1", "localhost")}
    )
    objects.put("images/a.jpg", b"a picture")
    objects.put("images/b.jpg", b"another")

    link = objects.link("images/a.jpg", 60)
    answer = httpx.get(str(link))

    assert str(link).startswith("http://localhost:")
    assert (answer.content, answer.headers["content-type"]) == (b"a picture", "image/jpeg")
    assert httpx.get(str(link).replace("a.jpg", "b.jpg")).status_code == 403
    assert opened(settings).link("images/a.jpg", 60) is None


TRUSTING = """
import sys
from pathlib import Path
from services.config.setting_groups import StorageSettings
from services.errors import ServiceError
from services.store.objects import open_objects
objects = open_objects(StorageSettings.model_validate_json(sys.argv[1]), Path())
try:
    objects.put("a", b"stored")
    print(objects.get("a")[0].decode())
except ServiceError as error:
    print(type(error).__name__, error)
"""


def test_a_certificate_of_nobody_is_refused_unless_it_is_named(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    for server in run_tls(tmp_path, certificate):
        said = {}
        for how, verify, trusted in (
            ("unknown", True, None),
            ("named", True, certificate[0]),
            ("unchecked", False, None),
        ):
            settings = StorageSettings(**server.settings(patience_s=2.0, verify_tls=verify))
            text = settings.model_dump_json(exclude={"access_key", "secret_key"})
            keys = {"AWS_ACCESS_KEY_ID": "e2x-tests", "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
            more = {"SSL_CERT_FILE": str(trusted)} if trusted else {}
            told = subprocess.run(
                [sys.executable, "-c", TRUSTING, text],
                capture_output=True,
                text=True,
                check=False,
                timeout=120 * PATIENCE,
                env={**os.environ, **keys, **more},
            )
            said[how] = told.stdout + told.stderr
        assert said["unknown"].startswith("StoreRefused"), said
        assert "is not trusted (UnknownIssuer): name its authority" in said["unknown"]
        assert said["named"] == "stored\n", said
        assert said["unchecked"] == "stored\n", said


def run_tls(folder: Path, certificate: tuple[Path, Path]) -> Iterator[Seaweed]:
    if weed() is None:
        pytest.skip(MISSING)
    server = Seaweed(folder / "tls", certificate)
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize(
    ("storage", "refused"),
    [
        ({"verify_tls": False, "endpoint": "https://store"}, "verify_tls is off"),
        ({"endpoint": "http://store:8333"}, "is not encrypted"),
        ({"endpoint": "https://store", "public_endpoint": "http://out"}, "http://out is not enc"),
        ({"endpoint": "http://store:8333", "plain_http": True}, ""),
        ({"endpoint": "https://store"}, ""),
    ],
)
def test_production_checks_who_the_store_is(storage: dict[str, object], refused: str) -> None:
    def settings(environment: str) -> Settings:
        return Settings(
            environment=environment,
            database_url="postgresql+pg8000://host/e2x",
            broker_url="redis://host",
            storage={"url": "s3://bucket", **storage},
        )

    assert settings("local")
    if not refused:
        assert settings("production")
        return
    with pytest.raises(ValueError, match=refused):
        settings("production")


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "bucket/prefix"},
        {"url": "s3://"},
        {"url": "s3://key:secret@bucket"},
        {"url": "file://host/folder"},
        {"endpoint": "store:8333"},
        {"endpoint": "https://key:secret@store"},
    ],
)
def test_a_store_that_is_none_is_refused_at_once(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"neither|no address|credentials"):
        StorageSettings(**wrong)

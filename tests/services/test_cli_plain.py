"""What comes from outside is shown, and nothing in it is obeyed: by a terminal, or by rich."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.common.projects import make_model
from services import units
from services.cli import common
from services.db.tables import Observation, Role
from services.logs import JsonFormatter
from services.plain import json_text, plain_text, visible
from tests import bad_images
from tests.services.builders import add_champion, make_failure, make_image
from tests.services.commands import CommandLine, Ran

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
MARKED = "[red]car[/red][link=file:///etc/passwd]x :smile:"
HOSTILE = f"{ESCAPE}{MARKED}"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202e" + MARKED


def calm(ran: Ran) -> str:
    """All that was printed, of which a terminal obeys nothing."""
    text = ran.out + ran.err
    assert visible(text) == text
    return text


@pytest.fixture
def hostile(line: CommandLine) -> CommandLine:
    """A project whose rows hold such text wherever a stranger may choose it."""
    with line.opened() as context, context.sessions.begin() as session:
        champion, image = add_champion(session), make_image(1, Role.FIELD)
        image.name = f"{HOSTILE}.png"
        named = make_model(7, class_names=["background", HOSTILE], architecture=HOSTILE)
        session.add_all([image, named])
        session.flush()
        session.add(make_failure(1, image, champion, label=HOSTILE))
        session.add(Observation(image_id=image.id, has_truth=False, reports=[], reporter=HOSTILE))
        unit = units.enqueue(session, "index", "index:1", {"images": []})
        claim = units.claim(session, unit.id, "test", 60)
        assert claim is not None
        units.fail(session, claim, "odd", HOSTILE, retryable=False, backoff_s=0)
    return line


@pytest.mark.parametrize(
    "command",
    [
        ("models", "list"), ("models", "show", "7"), ("failures", "list"),
        ("failures", "show", f"{1:064x}"), ("units", "list"), ("units", "show", "1"),
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("as_json", [False, True])
def test_rows_are_shown_as_they_are(
    hostile: CommandLine, command: tuple[str, ...], as_json: bool
) -> None:
    ran = hostile.run(*command, *(("--json",) if as_json else ()))

    text = calm(ran)
    assert ran.code == 0, text
    if as_json:
        assert ran.json  # it is JSON still
    if command != ("units", "list"):  # which has no room for what went wrong
        assert "owned" in text


def test_a_file_name_is_shown_as_it_is(line: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / f"in{ESCAPE}[bold]"
    folder.mkdir()
    (folder / f"{ESCAPE}[red].png").write_bytes(bad_images.png())

    for command in (("ingest",), ("ingest", "--json"), ("import", "--role", "seed")):
        text = calm(line.run(command[0], folder, *command[1:]))
        assert "owned" in text


def test_an_error_is_shown_as_it_is(line: CommandLine, tmp_path: Path) -> None:
    told = calm(line.run("ingest", tmp_path / f"{HOSTILE}x".replace("/", "")))
    assert "[red]car" in told
    assert r"\x1b]0;owned\x07" in told
    assert "owned" in calm(line.run("models", "show", HOSTILE))
    assert "owned" in calm(line.run("models", f"sh{ESCAPE}"))
    assert "owned" in calm(line.run("failures", "list", f"--{ESCAPE}"))


def test_a_log_line_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    common.configure_logs(verbose=False)

    logging.getLogger("tests").warning("refused %s", HOSTILE)

    assert f"refused {SHOWN}" in capsys.readouterr().err


def test_so_is_a_line_of_a_log_file() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "took in %s", (HOSTILE,), None)

    line = JsonFormatter("api").format(record)

    assert line.isprintable()
    assert json.loads(line)["message"] == f"took in {HOSTILE}"


@pytest.mark.parametrize(
    ("make", "given", "made"),
    [
        (visible, "größe 車.png", "größe 車.png"),
        (visible, HOSTILE, SHOWN),
        (visible, "a\nb\tc\rd", "a\nb\tc\\rd"),
        (lambda text: visible(text, lines=False), "a\nb", "a\\nb"),
        (lambda text: plain_text(text, 9), "a\nb\x1bc \t d", "a bc d"),
        (lambda text: plain_text(text, 9, lines=True), "a\nb\x1bc", "a\nbc"),
        (lambda text: plain_text(text, 3), "abcdef", "def"),
        (json_text, {"ü": "\x9b\U000e0001"}, '{"ü": "\\u009b\\udb40\\udc01"}'),
    ],
)
def test_what_is_made_harmless(make: Callable[[object], str], given: object, made: str) -> None:
    assert make(given) == made

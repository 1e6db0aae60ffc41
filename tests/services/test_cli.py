"""The command line as a whole: help, errors, init, config, doctor."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from services.cli import MODULES, make_app
from services.config.settings import Settings
from tests.services.commands import CommandLine

ROOT = Path(__file__).parents[2]
EXPECTED = {
    *("init", "config", "doctor", "import", "ingest", "train", "up", "report", "demo"),
    *(f"cycle {name}" for name in ("run", "start", "list", "show", "cancel", "train", "wait")),
    *(f"labels {name}" for name in ("export", "import", "list")),
    *(f"models {name}" for name in ("list", "show", "promote", "rollback", "pin", "unpin")),
    *(f"failures {name}" for name in ("list", "show")),
    *(f"units {name}" for name in ("list", "show", "redrive")),
}


def all_commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for key, below in command.commands.items():
        yield from all_commands(below, f"{name} {key}".strip())


COMMANDS = dict(all_commands(get_command(make_app())))


@pytest.fixture
def line(tmp_path: Path) -> CommandLine:
    """A command line without a project."""
    return CommandLine(tmp_path / "project")


@pytest.fixture
def made(line: CommandLine) -> CommandLine:
    """A command line in a new project."""
    line.done("init", line.root)
    return line


def test_every_command_is_there() -> None:
    assert set(COMMANDS) >= EXPECTED


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_says_what_it_does(name: str, line: CommandLine) -> None:
    command = COMMANDS[name]
    assert command.help
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {parameter.opts}"
    shown = line.done(*name.split(), "--help").out
    assert command.help.splitlines()[0].split()[0] in shown


def test_help_needs_no_network_no_broker_and_no_web_server() -> None:
    program = (
        "import sys; from services.cli import make_app\n"
        "try: make_app()(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'faiss', 'celery', 'fastapi', 'skimage', 'sklearn', 'timm'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr.strip() == "[]"
    assert "doctor" in done.stdout


def test_all_modules_are_there() -> None:
    # make_app leaves out a module that is missing; none may be.
    for name in MODULES:
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file()


def test_version(line: CommandLine) -> None:
    assert line.done("--version").out.strip()[0].isdigit()


def test_init_makes_a_project_once(line: CommandLine) -> None:
    said = line.done("init", line.root).out
    assert "made" in said
    assert "import" in said
    token = (line.root / "state" / "api-token").read_text()
    assert len(token) > 20
    assert (line.root / "state" / "e2x.db").is_file()
    file = line.root / "e2x.toml"
    file.write_text("seed = 7\n")

    assert "kept" in line.done("init", line.root).out
    assert file.read_text() == "seed = 7\n"
    assert (line.root / "state" / "api-token").read_text() == token


def test_each_line_of_a_new_settings_file_may_be_switched_on(made: CommandLine) -> None:
    text = (made.root / "e2x.toml").read_text()
    assert tomllib.loads(text) is not None
    switched = "\n".join(
        line.removeprefix("# ") if " = " in line else line for line in text.splitlines()[2:]
    )
    (made.root / "e2x.toml").write_text(switched)
    settings = Settings(project=made.root)
    changed = settings.model_dump(exclude={"project"})
    usual = Settings(project=made.root / "nowhere").model_dump(exclude={"project"})
    assert str(changed["ingest"].pop("watch_folder")) not in ("", "None")
    usual["ingest"].pop("watch_folder")
    assert changed == usual


def test_config_shows_every_setting_with_value_and_source(
    made: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made.root / "e2x.toml").write_text("[training]\nepochs = 3\n")
    monkeypatch.setenv("E2X_LABELS__LEASE_S", "77")
    rows = {row["name"]: row for row in made.done("config", "--json").json}
    assert (rows["training.epochs"]["value"], rows["training.epochs"]["source"]) == (
        "3",
        "e2x.toml",
    )
    assert rows["labels.lease_s"]["source"] == "environment"
    assert rows["seed"]["source"] == "default"
    assert all(row["description"] for row in rows.values())
    assert "training.epochs" in made.done("config").out
    table = made.done("config", "--markdown").out
    assert all(f"`{name}`" in table for name in rows)


def test_config_masks_secrets(made: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2X_API__TOKEN", "hush-hush")
    monkeypatch.setenv("E2X_DATABASE_URL", "postgresql+pg8000://me:hush-hush@host/e2x")
    for arguments in (("config",), ("config", "--json"), ("config", "--markdown")):
        ran = made.done(*arguments)
        assert "hush-hush" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[training]\nepochs = -1\n", "training.epochs"),
        ("[training]\nepoch = 1\n", "training.epoch"),
        ("seed = =\n", "TOML"),
        ('environment = "production"\n', "E2X_DATABASE_URL"),
        ('[triggers]\ncycle_cron = "every day"\n', "five fields"),
        ('[triggers]\nretrain_cron = "0 25 * * *"\n', "triggers.retrain_cron"),
        ("[detector]\nmin_scale = 0.95\n", "below max_scale"),
        ("[workers]\nhard_limit_s = 60\n", "above soft_limit_s 1800"),
    ],
)
def test_bad_settings_are_one_line(text: str, said: str, made: CommandLine) -> None:
    (made.root / "e2x.toml").write_text(text)
    assert said in made.refused("models", "list")


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "list"),
        ("import", ".", "--role", "seed"),
        ("failures", "list"),
        ("train",),
        ("up",),
    ],
)
def test_without_a_project_the_way_out_is_named(
    arguments: tuple[str, ...], line: CommandLine
) -> None:
    assert "e2x init" in line.run(*arguments).err
    assert line.run(*arguments).code == 2


def test_a_project_is_named_before_the_command(made: CommandLine, tmp_path: Path) -> None:
    elsewhere = CommandLine(tmp_path / "nowhere")
    assert elsewhere.done("--project", made.root, "models", "list", "--json").json == []


def test_verbose_shows_the_traceback(line: CommandLine) -> None:
    with pytest.raises(Exception, match="is not a project"):
        line.run("--verbose", "models", "list")


def test_a_database_that_cannot_be_reached_is_one_line(
    made: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E2X_DATABASE_URL", f"sqlite:///{made.root}/state")  # a folder
    assert "database" in made.refused("models", "list", code=1)


def test_doctor_is_content_with_a_new_project(made: CommandLine) -> None:
    ran = made.run("doctor", "--json")
    found = {row["what"]: row for row in ran.json}
    assert {
        "packages",
        "device",
        "index",
        "disk",
        "memory",
        "project",
        "database",
        "broker",
    } <= set(found)
    failed = {name for name, row in found.items() if row["state"] == "fail"}
    assert failed <= {"disk"}  # this machine's own
    assert ran.code == (1 if failed else 0)


def test_doctor_says_what_to_do(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = line.run("doctor")
    assert ran.code == 1
    assert "e2x init" in ran.out

    line.done("init", line.root)
    monkeypatch.setenv("E2X_BROKER_URL", "redis://127.0.0.1:1/0")
    found = {row["what"]: row for row in line.run("doctor", "--json").json}
    assert found["broker"]["state"] == "fail"
    monkeypatch.delenv("E2X_BROKER_URL")

    monkeypatch.setenv("E2X_DATABASE_URL", f"sqlite:///{line.root}/empty.db")
    found = {row["what"]: row for row in line.run("doctor", "--json").json}
    assert found["database"]["state"] == "fail"
    assert "e2x init" in found["database"]["advice"]
    monkeypatch.delenv("E2X_DATABASE_URL")

    monkeypatch.setenv("E2X_DETECTOR__DEVICE", "cuda:99")
    found = {row["what"]: row for row in line.run("doctor", "--json").json}
    assert found["device"]["state"] == "fail"

    monkeypatch.setenv("E2X_DETECTOR__DEVICE", "cpu")
    assert "precision" not in found
    monkeypatch.setenv("E2X_EXPLANATION__MIXED_PRECISION", "fp16")
    found = {row["what"]: row for row in line.run("doctor", "--json").json}
    assert found["precision"]["state"] == "warn"
    assert "bf16" in found["precision"]["advice"]

    assert (found["names"]["state"], "watch" in found) == ("ok", False)
    monkeypatch.setenv("E2X_SELECTION__POLICY", "e2y")
    monkeypatch.setenv("E2X_INGEST__WATCH_FOLDER", "incoming")
    found = {row["what"]: row for row in line.run("doctor", "--json").json}
    assert found["names"]["state"] == "fail"
    assert "'e2y'" in found["names"]["found"]
    assert str(line.root / "incoming") in found["watch"]["found"]
    (line.root / "incoming").mkdir()
    assert "watch" not in {row["what"] for row in line.run("doctor", "--json").json}


def test_the_module_runs_like_the_script(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "models", "list"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "E2X_PROJECT": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr

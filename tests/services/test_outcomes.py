"""What became of an answer is said at every door: a first answer is never called the truth."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from services.api.app import create_app
from services.cli.label_answers import print_import
from services.context import Context
from services.db.tables import LabelTask
from services.labeling import outcomes
from services.labeling.coco import export_coco, import_coco
from services.labeling.outcomes import Outcome
from tests.services.browser import barriers, fits, person
from tests.services.commands import CommandLine
from tests.services.label_queue import CAR, TASKS, answered, lease
from tests.services.pages import Door, add_tasks, sign_in
from tests.services.test_second_look import FAR, NEAR, answer, looked, settle
from tests.services.test_second_look import twice as twice


def told(context: Context, who: str) -> dict[int, tuple[str, str]]:
    """What somebody is told of each task that they have answered."""
    with context.sessions() as session:
        rows = outcomes.given_by(session, who, 100)
    return {row.task_id: (row.outcome.value, row.words) for row in rows}


def test_each_way_that_an_answer_goes_has_its_words(twice: Context) -> None:
    first, agreed, ours, theirs, rejected = (lease(twice, "anna")[0] for _ in range(5))
    for task in (first, agreed, ours, theirs, rejected):
        assert answer(twice, "anna", CAR, task=task) is None
    assert set(told(twice, "Anna").values()) == {("second_look", "waits for a second look")}
    for _ in range(5):
        (task,) = lease(twice, "bert")
        if task.id == first.id:
            continue
        answer(twice, "bert", NEAR if task.id == agreed.id else FAR, task=task)
    assert told(twice, "anna")[ours.id] == ("undecided", "undecided: a curator settles it")
    settle(twice, ours.id, "first")
    settle(twice, theirs.id, "second")
    settle(twice, rejected.id, "reject")

    said = told(twice, "anna")
    assert said[first.id][0] == Outcome.SECOND_LOOK
    assert said[agreed.id] == ("agreed", "taken: two people say the same")
    assert said[ours.id] == ("settled", "settled by a curator: yours was taken")
    assert said[theirs.id] == ("settled", "settled by a curator: another answer was taken")
    assert said[rejected.id][0] == Outcome.REJECTED
    assert told(twice, "bert")[theirs.id][1].endswith("yours was taken")
    assert told(twice, "carl") == {}


def test_lists_of_answers_come_page_by_page_and_the_newest_first(waiting: Context) -> None:
    for _ in range(TASKS):
        assert answer(waiting, "anna", CAR) is not None
    with waiting.sessions() as session:
        whole = outcomes.given_by(session, "anna", 100)
        assert {row.outcome for row in whole} == {Outcome.TAKEN}
        assert [row.at for row in whole] == sorted((row.at for row in whole), reverse=True)
        paged, before = [], None
        while page := outcomes.given_by(session, "anna", 2, before):
            paged += page
            before = outcomes.read_cursor(outcomes.cursor_of(page[-1]))
    assert paged == whole
    assert len(whole) == TASKS


@pytest.mark.parametrize("name", ["Ärni", "ÅSA"])
def test_whoever_answered_first_is_known_whatever_letters_the_name_has(
    waiting: Context, name: str
) -> None:
    """The database of a file knows no case but that of plain letters."""
    context = looked(waiting)
    assert answer(context, name, CAR) is None
    assert len(lease(context, name, TASKS)) == TASKS - 1
    assert len(told(context, name)) == 1


def test_a_file_of_answers_says_how_many_are_undecided(
    twice: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    with twice.sessions() as session:
        document = answered(export_coco(session)[0])
    report = import_coco(twice, document, "anna")
    assert (report.submitted, report.undecided) == (TASKS, TASKS)
    assert report.to_dict()["undecided"] == TASKS
    print_import(report)
    assert f"{TASKS} of them are undecided" in capsys.readouterr().out
    assert import_coco(twice, document, "bert").undecided == 0


def test_the_command_line_tells_what_became_of_answers(line: CommandLine) -> None:
    with line.opened() as context:
        add_tasks(context, 2)
        answer(looked(context), "anna", CAR)
    listed = line.done("labels", "list", "--json").json["tasks"]
    assert sorted(task["outcome"] for task in listed) == ["open", "second_look"]
    shown = line.done("labels", "answers", "--by", "anna", "--json").json
    assert [row["words"] for row in shown] == ["waits for a second look"]
    for command in (("labels", "answers", "--by", "ANNA"), ("labels", "list")):
        assert "waits for a second look" in line.done(*command).out


def test_the_api_tells_it_in_the_answer_in_the_task_and_in_the_list(
    sqlite_context: Context, served: tuple[Any, str]
) -> None:
    door = Door(looked(sqlite_context), *served)
    (task,) = add_tasks(sqlite_context, 1)
    anna, bert, cora = door.as_("labeller"), door.as_("admin"), door.as_("curator")

    def answers(client: httpx.Client, *objects: dict[str, Any]) -> Any:
        held = client.post("/v1/tasks/lease", json={"owner": "x", "count": 1}).json()["items"][0]
        body = {"token": held["token"], "objects": list(objects)}
        return client.post(f"/v1/tasks/{task}/submit", json=body).json()

    assert answers(anna, CAR)["outcome"] == "second_look"
    assert anna.get(f"/v1/tasks/{task}").json()["outcome"] == "second_look"
    (own,) = anna.get("/v1/answers").json()["items"]
    assert (own["boxes"], own["words"]) == (1, "waits for a second look")
    (seen,) = bert.get("/v1/answers", params={"author": "labeller"}).json()["items"]
    assert seen["boxes"] is None  # the second person learns nothing of the first answer
    assert answers(bert, FAR)["outcome"] == "undecided"
    done = cora.post(f"/v1/looks/{task}/settle", json={"taken": "second"})
    assert done.status_code == 200, done.text
    (own,) = anna.get("/v1/answers").json()["items"]
    assert own["words"] == "settled by a curator: another answer was taken"
    assert anna.get("/v1/answers", params={"cursor": "nonsense"}).status_code == 422


def test_the_pages_tell_it(sqlite_context: Context, served: tuple[Any, str], browser: Any) -> None:
    switch, url = served
    context = looked(sqlite_context)
    switch.app = create_app(context)
    (task,) = add_tasks(context, 1)
    for who, said in (("anna", "waits for a second look"), ("bert", "undecided")):
        with person(browser, url, sign_in(switch.app, who)) as page:
            page.goto("/label")
            page.locator("[data-do=submit]:enabled").wait_for()
            if who == "bert":
                page.keyboard.press("n")
            page.keyboard.press("Enter")
            page.locator("#latest", has_text=f"Image {task}: {said}").wait_for()
            page.goto("/label/answers")
            page.locator("td", has_text=said).wait_for()
            assert barriers(page) == []
            assert fits(page)
            page.goto("/")
            waits = page.locator(".waits").first.inner_text()
            assert "images to label" not in waits
            told = "wait for a second look" if who == "anna" else "saw differently"
            assert told in waits
    with context.sessions() as session:
        assert session.get_one(LabelTask, task).state == "disputed"

"""What the commands of ``e2x cycle`` say: where a cycle stands, the gate's table, the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.cli.common import console, print_facts, print_table
from services.cli.follow import may_be_up
from services.cycle.time_left import TimeLeft
from services.cycle.unreadable import Unreadable
from services.db.tables import Cycle, CycleState
from services.errors import ServiceError
from services.selection.outlook import Plan

if TYPE_CHECKING:
    from services.context import Context


def tell_unreadable(lost: Unreadable) -> None:
    """Warn of images that work has gone on without, and say what to do; nothing where none is."""
    if lost:
        console().print(f"! {lost.advised()}", markup=False, style="yellow", soft_wrap=True)


def left_in_words(left: TimeLeft | None) -> str | None:
    """How far a step is and how long it still takes; None for a cycle that has ended."""
    if left is None:
        return None
    return f"{left.done} of {left.total} {left.what}, time left: {left.words}"


def say_where(cycle: Cycle, open_tasks: int, lost: Unreadable) -> None:
    """Print where a cycle stands, what it has gone on without, and what to do next.

    Raises:
        ServiceError: it failed or was cancelled.
    """
    out = console()
    if cycle.state in (CycleState.FAILED, CycleState.CANCELLED):
        raise ServiceError(f"cycle {cycle.id} {cycle.state}: {cycle.error}")
    tell_unreadable(lost)
    if cycle.state == CycleState.LABELLING:
        out.print(
            f"cycle {cycle.id} waits for {open_tasks} images to be labelled:\n"
            "  e2x labels export --out FOLDER    for a labelling tool, as COCO\n"
            "  e2x labels import FILE            its answers\n"
            "  e2x cycle wait                    then trains and decides",
            markup=False,
        )
    elif cycle.state == CycleState.DONE:
        if cycle.decision:
            print_gate(cycle.decision)
            print_drawn(cycle.decision)
        ended = "done: the challenger was promoted" if cycle.promoted else "done"
        if cycle.promoted is False:
            ended = "done: the champion stays"
        out.print(f"cycle {cycle.id} is {ended}{f' ({cycle.error})' if cycle.error else ''}")
    else:
        out.print(f"cycle {cycle.id} is {cycle.state}")


def say_who_goes_on(context: Context, done: str) -> None:
    """What was done, and how to see the rest of it; nothing happens where no worker is."""
    if may_be_up(context):
        console().print(f"{done}: `e2x cycle wait` follows it")
        return
    console().print(f"{done}, and waits: the services are not up")
    console().print("`e2x up` starts them; `e2x cycle wait` runs workers of its own meanwhile")


def print_gate(decision: dict[str, Any]) -> None:
    """The gate's table."""
    verdict = {True: "passed", False: "FAILED", None: "skipped"}
    print_table(
        f"Gate: {'promote' if decision['promote'] else 'do not promote'}",
        ("check", "#champion", "#challenger", "#bound", "verdict", "why"),
        [
            (
                check["name"],
                check["champion"],
                check["challenger"],
                check["bound"],
                verdict[check["passed"]],
                check["reason"],
            )
            for check in decision["checks"]
        ],
    )


def print_drawn(decision: dict[str, Any]) -> None:
    """How the gate chose between challengers with and without drawn samples, where it did."""
    drawn = decision.get("drawn")
    if drawn is None:
        return
    verdict = {True: "passed", False: "FAILED", None: "skipped"}
    print_table(
        f"With drawn samples or without: {drawn['chosen']}",
        ("check", "#without", "#with", "#bound", "verdict", "why"),
        [
            (
                *(check["name"], check["champion"], check["challenger"], check["bound"]),
                *(verdict[check["passed"]], check["reason"]),
            )
            for check in drawn["checks"]
        ],
    )


def drawing_in_words(drawing: dict[str, Any] | None) -> str | None:
    """What came of drawing samples for a cycle; None where none were."""
    if drawing is None:
        return None
    if drawing["why"]:
        return f"none drawn: {drawing['why']}"
    waiting = f", {drawing['waiting']} wait for a person" if drawing["waiting"] else ""
    return f"{drawing['kept']} kept{waiting}, {drawing['refused']} refused"


def print_plan(found: Plan) -> None:
    """The plan as a table, then what it lacks."""
    print_facts(
        "The next cycle",
        [
            ("champion", found.champion),
            ("open failures, explained", found.failures_explained),
            ("open failures, not yet", found.failures_waiting),
            ("by class", ", ".join(f"{n} {name}" for name, n in found.failures_by_class.items())),
            ("frames that teach, with truth", found.frames_with_truth),
            ("frames that teach, to label", found.frames_to_label),
            ("frames that judge", found.frames_judging),
            ("frames to deal", _to_deal(found)),
            ("pool images", found.pool_images),
            ("of these searchable", found.pool_searchable),
            ("of these labelled or asked", found.pool_spent),
            ("policy", found.policy),
            ("budget", f"{found.budget_boxes} boxes"),
            ("the champion looks at", to_look_at(found)),
        ],
    )
    tell_unreadable(Unreadable(**found.unreadable))
    for lack in found.lacks:
        console().print(f"! {lack}", markup=False, style="yellow")
    if not found.lacks:
        console().print("nothing is missing: `e2x cycle run` starts it")


def to_look_at(found: Plan) -> str:
    """What the policy costs before people are asked: it walks the pool, or asks the index."""
    if not found.walks_pool:
        return f"at most {found.images_to_look_at} pool images that the index proposes"
    told = f"all {found.images_to_look_at} pool images: {found.policy} compares every one"
    if found.minutes_to_look is None:
        return told
    return f"{told}, about {max(1, round(found.minutes_to_look))} minutes of one worker"


def _to_deal(found: Plan) -> str:
    """What the next selection does with frames that neither teach nor judge so far."""
    share = found.learn_from_field
    if not share:
        return f"{found.frames_undealt}: all judge (selection.learn_from_field is 0)"
    return f"{found.frames_undealt}: of each mode about {share:.0%} teach, the others judge"

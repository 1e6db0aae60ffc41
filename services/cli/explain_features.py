"""``e2x explain --fit-features``: which channels of a model tell the classes apart, and on what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.cli.common import console, opened, print_json, print_table
from services.cli.curve import sparkline
from services.cli.follow import progress
from services.store.project_store import store_of

TITLES = {
    "learning": "features of the seed set",
    "solving": "channels that tell classes apart",
    "drawing": "average pictures",
    "checking": "channels taken away",
}


def fit_features(model: str, most_images: int, as_json: bool) -> None:
    """Fit, with bars, and print what was found.

    Args:
        model: number or begin of the id; "": the champion.
        most_images: of the seed set.
        as_json: print JSON instead.
    """
    from services.db.engine import reading
    from services.models import registry

    with opened() as context:
        with reading(context.sessions) as session:
            row = registry.find(session, model) if model else registry.require_champion(session)
        with progress() as bars:
            from services.explaining import fit_features as fitting

            tasks: dict[str, Any] = {}

            def on_progress(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(TITLES[what], total=total, note="")
                bars.update(tasks[what], completed=done, total=total)

            told = fitting.fit(context, row.id, on_progress, most_images)
        root = store_of(context).root
    if as_json:
        print_json({"model": row.number, **told})
        return
    _print(row.number, told, "" if root is None else f"{root}/")


def _print(number: int, told: Mapping[str, Any], root: str) -> None:
    print_table(
        f"Channels of model {number} that tell apart",
        ("class", "channels, with their weights", "what the first ones answer to"),
        [
            (
                name,
                "\n".join(
                    f"{one['layer']} {one['channel']} ({one['weight']:+.3g})"
                    for one in entry["channels"][:3]
                ),
                "\n".join(f"{root}{key}" for key in entry["pictures"]),
            )
            for name, entry in told["classes"].items()
        ],
    )
    out, ablation = console(), told["ablation"]
    if ablation["objects"]:
        counts = ", ".join(map(str, ablation["channels"]))
        out.print(f"mean log-odds of {ablation['objects']} objects without {counts} channels:")
        for title, name in (("the relevant ones", "relevant"), ("others", "others")):
            values = ablation[name]
            drawn = sparkline(values)
            out.print(f"  {title:<18}{values[0]:.2f} {drawn} {values[-1]:.2f}", markup=False)
    lost = f", {told['unreadable']} could not be read" if told["unreadable"] else ""
    out.print(
        f"learnt from {told['boxes']} boxes of {told['images']} images{lost}; "
        "`e2x explain IMAGE --method vebi` uses them",
        soft_wrap=True,
    )

"""Puts the page together and writes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from services.context import Context
from services.db.engine import reading
from services.models.predict import Predict
from services.report import trends, words
from services.report.curve import Curve, curve_of
from services.report.exemplars import Artist
from services.report.extra import ReportExtra
from services.report.field import champion_of
from services.report.page import Page, PageCycle, PageMode
from services.report.pictures import PictureBudget
from services.report.read import CycleRows, ModeRows, ReportRows, read_rows
from services.report.summary import cycles_table, models_table, tiles_of
from services.store.storage import write_bytes

EXEMPLARS, SAMPLES, DRAWN, LINEAGE = 3, 6, 4, 40
"""Pictured failures, pictured samples, pictured drawn ones and lines of lineage a mode."""
PICTURE_BYTES = 10 * 2**20
"""Room for pictures; a page of this size still opens at once and fits a message."""


def build(
    context: Context,
    out: Path,
    cycle_ids: Sequence[int] | None = None,
    extra: ReportExtra | None = None,
    predict: Predict | None = None,
) -> Path:
    """Write the report as one HTML file that needs nothing else.

    Args:
        context: wiring.
        out: the file.
        cycle_ids: only these cycles; None: all.
        extra: title, figures and tables of the caller's.
        predict: runs a model, see :func:`services.report.predictor`; without it, there are no
            detections in the pictures and none after retraining.

    Returns:
        ``out``.

    Raises:
        NotFound: there is no such cycle.
    """
    with reading(context.sessions) as session:
        rows = read_rows(session, cycle_ids)
    artist = Artist(context, rows, predict, PictureBudget(PICTURE_BYTES))
    page = make_page(context, rows, artist, extra or ReportExtra())
    write_bytes(out, render(page).encode("utf-8"))
    return out


def environment() -> Environment:
    """Templates of all pages; what they are handed is escaped."""
    return Environment(
        loader=PackageLoader("services.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(page: Page) -> str:
    """The page as HTML."""
    return environment().get_template("page.html").render(page=page)


def make_page(context: Context, rows: ReportRows, artist: Artist, extra: ReportExtra) -> Page:
    """Everything that the page says."""
    modes = {
        mode.sighting.id: _mode(rows, cycle, mode, number)
        for cycle in rows.cycles
        for number, mode in enumerate(cycle.modes, 1)
    }
    overview = trends.overview(rows, artist)
    _draw(rows, artist, modes)
    tables = [(title, [list(row) for row in table]) for title, table in extra.tables.items()]
    own = (cycles_table(rows), models_table(rows))
    return Page(
        title=extra.title or "Explain-to-Fix report",
        intro=extra.intro,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("e2x"),
        project=context.project.root.name,
        tiles=extra.tiles or tiles_of(rows),
        tables=[*tables, *(table for table in own if len(table[1]) > 1)],
        trends=overview,
        cycles=[_cycle(rows, cycle, modes) for cycle in rows.cycles],
        next_steps=[] if rows.cycles else words.next_steps(rows),
        has_after=artist.predict is not None,
        curves=_curves(rows),
    )


def _curves(rows: ReportRows) -> list[Curve]:
    """Of the first model's training, and of the champion's where it is another."""
    shown = {model.number: model for model in (*rows.models[:1], champion_of(rows.models)) if model}
    drawn = [
        curve_of(f"Model {number}", (model.training or {}).get("history"))
        for number, model in sorted(shown.items())
    ]
    return [one for one in drawn if one is not None]


def _draw(rows: ReportRows, artist: Artist, modes: dict[int, PageMode]) -> None:
    """Pictures in rounds: every mode gets its first before any gets its second."""
    for turn in range(max(EXEMPLARS, SAMPLES)):
        for cycle in rows.cycles:
            for mode in cycle.modes:
                _draw_turn(artist, cycle, mode, modes[mode.sighting.id], turn)


def _draw_turn(artist: Artist, cycle: CycleRows, mode: ModeRows, page: PageMode, turn: int) -> None:
    if turn < min(EXEMPLARS, len(mode.failures)) and not artist.ledger.is_spent:
        exemplar = artist.exemplar(cycle.cycle, mode.failures[turn])
        if exemplar is not None:
            page.exemplars.append(exemplar)
    if turn < min(SAMPLES, len(mode.samples)) and not artist.ledger.is_spent:
        picture = artist.sample(mode.samples[turn])
        if picture is not None:
            page.pictures.append(picture)

    if turn < min(DRAWN, len(mode.drawn)) and not artist.ledger.is_spent:
        made = artist.drawn(mode.drawn[turn])
        if made:
            page.made.append(made)


def _mode(rows: ReportRows, cycle: CycleRows, mode: ModeRows, number: int) -> PageMode:
    row = mode.sighting
    lines = words.lineage(rows, cycle, mode)
    return PageMode(
        anchor=trends.sighting_anchor(cycle.cycle.id, mode.mode.id),
        trend_anchor=trends.mode_anchor(mode.mode.id),
        title=f"{number}. {words.headed(mode.mode.name)}",
        kind=words.mode_kind(mode.mode.family, row.kind),
        state=words.mode_state(mode.mode.state),
        failures=row.size - len(mode.taken_back),
        before=words.percent(row.found_before),
        after=words.percent(row.found_after),
        after_percent=None if row.found_after is None else round(row.found_after * 100, 1),
        samples=len(mode.samples),
        drawn=len(mode.drawn),
        drawn_in_words=words.drawn_in_words(cycle.cycle.drawing, mode.mode.id),
        lineage=lines[:LINEAGE],
        lineage_left_out=max(0, len(lines) - LINEAGE),
    )


def _cycle(rows: ReportRows, cycle: CycleRows, modes: dict[int, PageMode]) -> PageCycle:
    row = cycle.cycle
    answered = sum(sample.annotation is not None for sample in cycle.samples)
    dataset = rows.datasets.get(row.dataset_version_id or "")
    facts = [
        ("Started by", f"{row.trigger}, {row.created_at:%Y-%m-%d %H:%M} UTC"),
        ("Selection", f"{row.policy}, budget {row.budget_boxes} boxes, seed {row.seed}"),
        ("Asked for", f"{len(cycle.samples)} images, {answered} answered"),
        ("Labelled", f"{row.boxes_labelled} boxes"),
        ("Trained on", f"{dataset.images} images, {dataset.boxes} boxes" if dataset else "–"),
        ("Models", f"{rows.number(row.champion_id)} → {rows.number(row.challenger_id)}"),
    ]
    if cycle.unreadable:
        facts.append(("Left out", cycle.unreadable.advised()))
    facts += [(name, text) for name, text in words.drawing_facts(row) if text]
    if row.error:
        facts.append(("Remark", row.error))
    decision = row.decision or {}
    return PageCycle(
        number=row.id,
        outcome=_outcome(row.state, row.promoted),
        facts=facts,
        promote=decision.get("promote"),
        promoted=row.promoted,
        challenger=rows.number(row.challenger_id),
        checks=decision.get("checks", []),
        modes=[modes[mode.sighting.id] for mode in cycle.modes],
        policy=row.policy,
        other_samples=len(cycle.other_samples),
    )


def _outcome(state: str, promoted: bool | None) -> str:
    if promoted is None:
        return state
    return "promoted" if promoted else "not promoted"

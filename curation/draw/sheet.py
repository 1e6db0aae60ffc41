"""Sheets: captioned pictures in a grid, with panels of words where there is no picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from curation.kernel.types import ImageArray

_PAPER = (255, 255, 255)
_INK = (20, 20, 20)
_FAINT = (244, 244, 244)
_WARNING = (150, 60, 20)
_GAP_PX = 10


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One cell of a sheet.

    Attributes:
        title: its first line, bold by size.
        caption: lines below the title.
        picture: [H, W, 3] uint8; None for a panel that holds only words.
        words: what to say in place of the picture.
    """

    title: str
    caption: str = ""
    picture: ImageArray | None = None
    words: str = ""


def sheet(
    panels: Sequence[Panel], columns: int = 4, panel_width_px: int = 420, heading: str = ""
) -> ImageArray:
    """Panels in rows, each with its words under it, pictures scaled to one width.

    Args:
        panels: at least one; rows are filled from the left.
        columns: panels a row.
        panel_width_px: width of every panel.
        heading: a line over the sheet; empty for none.

    Returns:
        [H', W', 3] uint8 on white. A panel without a picture is as high as the first picture.

    Raises:
        ValueError: there is no panel, or a size is below 1.
    """
    if not panels or columns < 1 or panel_width_px < 1:
        raise ValueError(f"{len(panels)} panels in {columns} columns of {panel_width_px} px")
    columns = min(columns, len(panels))
    shapes = [one.picture.shape for one in panels if one.picture is not None]
    aspect = shapes[0][0] / shapes[0][1] if shapes else 0.75
    cells = [_cell(one, panel_width_px, round(panel_width_px * aspect)) for one in panels]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    width = columns * panel_width_px + (columns + 1) * _GAP_PX
    head = _words(heading, width - 2 * _GAP_PX, _font(panel_width_px, 1.15)) if heading else None
    top = _GAP_PX + (head.height + _GAP_PX if head else 0)
    page = Image.new("RGB", (width, top + sum(heights) + _GAP_PX * len(rows)), _PAPER)
    if head:
        page.paste(head, (_GAP_PX, _GAP_PX))
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            page.paste(cell, (_GAP_PX + column * (panel_width_px + _GAP_PX), top))
        top += height + _GAP_PX
    return np.asarray(page)


def columns_for(count: int, most: int = 5) -> int:
    """How many columns show ``count`` panels with the fewest empty places, the wider first."""
    if count <= most:
        return max(1, count)
    least = max(2, most - 2)
    return min(range(most, least - 1, -1), key=lambda n: (-count % n, -n))


def _cell(panel: Panel, width: int, blank_height: int) -> Image.Image:
    if panel.picture is None:
        picture = _blank(panel.words, width, blank_height)
    else:
        picture = _to_width(panel.picture, width)
    title = _words(panel.title, width, _font(width, 1.15))
    caption = _words(panel.caption, width, _font(width, 0.9)) if panel.caption else None
    height = picture.height + title.height + (caption.height if caption else 0) + 6
    cell = Image.new("RGB", (width, height), _PAPER)
    cell.paste(picture, (0, 0))
    cell.paste(title, (0, picture.height + 3))
    if caption:
        cell.paste(caption, (0, picture.height + 3 + title.height))
    return cell


def _blank(words: str, width: int, height: int) -> Image.Image:
    """A grey panel with words in its middle; higher than asked for where they need it."""
    margin = max(6, width // 24)
    text = _words(words, width - 2 * margin, _font(width, 1.0), _FAINT, _WARNING)
    panel = Image.new("RGB", (width, max(height, text.height + 2 * margin)), _FAINT)
    panel.paste(text, (margin, (panel.height - text.height) // 2))
    return panel


def _to_width(image: ImageArray, width: int) -> Image.Image:
    picture = Image.fromarray(image)
    if picture.width == width:
        return picture
    height = max(1, round(picture.height * width / picture.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _font(width_px: int, scale: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=max(10, round(width_px / 26 * scale)))
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _words(
    text: str,
    width: int,
    font: ImageFont.FreeTypeFont,
    paper: tuple[int, int, int] = _PAPER,
    ink: tuple[int, int, int] = _INK,
) -> Image.Image:
    """Text broken into lines of at most ``width`` px."""
    lines = [line for part in text.splitlines() for line in _broken(part, width, font)] or [""]
    step = math.ceil(font.size * 1.3)
    strip = Image.new("RGB", (width, step * len(lines)), paper)
    pen = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        pen.text((0, number * step), line, ink, font)
    return strip


def _broken(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= width or not line:
            line = longer
        else:
            lines.append(line)
            line = word
        while font.getlength(line) > width and len(line) > 1:  # a word longer than a line
            cut = next(n for n in range(len(line) - 1, 0, -1) if _fits(line[:n], width, font))
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line] if line else lines


def _fits(text: str, width: int, font: ImageFont.FreeTypeFont) -> bool:
    return len(text) == 1 or font.getlength(text) <= width

"""What a training did, as lines of text: how long it took, why it ended, and its curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 40


def curve_lines(history: Mapping[str, Any] | None) -> list[str]:
    """Lines for the terminal; none where nothing is known, as of a network from elsewhere."""
    if not history:
        return []
    looks = history["looks"]
    lines = [in_words(history)]
    for title, name, form in (("loss", "loss", ".2f"), ("validation AP50", "ap50", ".3f")):
        values = [look[name] for look in looks if look[name] is not None]
        if len(values) > 1:
            drawn = sparkline(values)
            lines.append(f"  {title:<16}{values[0]:{form}} {drawn} {values[-1]:{form}}")
    return lines


def in_words(history: Mapping[str, Any]) -> str:
    """Why a training ended where it did."""
    steps = f"trained {history['steps']} steps"
    if history["ended"] == "epochs":
        return f"{steps}, as many epochs as are set"
    if history["ended"] == "alone":
        return f"{steps}: {history['note']}"
    held = (
        f"{history['validation_images']} images with {history['validation_objects']} objects that "
        "were held back"
    )
    ended = {
        "patience": f"no further gain on {held}",
        "bound": f"as many as are allowed (`training.max_steps`), still gaining on {held}",
    }[history["ended"]]
    return (
        f"{steps}: {ended}; from step {history['cooled_from']} on the rate fell and they were "
        "trained on too"
    )


def sparkline(values: Sequence[float]) -> str:
    """Values as blocks from the least to the greatest, at most ``WIDTH`` of them."""
    count = min(len(values), WIDTH)
    picked = [values[round(n * (len(values) - 1) / max(1, count - 1))] for n in range(count)]
    low, high = min(picked), max(picked)
    reach = (high - low) or 1.0
    return "".join(BLOCKS[round((value - low) / reach * (len(BLOCKS) - 1))] for value in picked)

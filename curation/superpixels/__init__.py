"""Superpixels: an image in pieces, and how the pieces lie to each other."""

from curation.superpixels.segments import (
    SegmentArray,
    Segmentation,
    areas,
    centroids_xy,
    count,
    grid,
    mean_colours_lab,
    neighbours,
    relabel,
    ring,
    segment,
    slic,
    warp,
)

__all__ = [
    "SegmentArray",
    "Segmentation",
    "areas",
    "centroids_xy",
    "count",
    "grid",
    "mean_colours_lab",
    "neighbours",
    "relabel",
    "ring",
    "segment",
    "slic",
    "warp",
]

"""The region index: which pool images hold something that looks like this region.

Read in this order: ``metric`` (why raw vectors are not compared as they are), ``vectors`` (the
append-only files that are the truth), ``shards`` (sealed, compressed copies), ``region_index``
(search over all of it).
"""

from curation.index.metric import Metric
from curation.index.region_index import RegionIndex
from curation.index.snapshot import Hits, ImageScores

__all__ = ["Hits", "ImageScores", "Metric", "RegionIndex"]

"""The files of metrics beside an index."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from curation.index.metric import Metric
from curation.kernel.errors import ShardCorrupt
from curation.kernel.files import write_bytes


class MetricFiles:
    """Metrics by file; each is read once.

    Args:
        folder: of the index.
        width: W of a vector; the metric of no name leaves it as it is.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self._folder = folder
        self._known: dict[str, Metric] = {"": Metric.identity(width)}

    def write(self, metric: Metric, unique: str) -> str:
        """Write a metric; the name of its file.

        Args:
            metric: to be written.
            unique: end of the name, where other hosts write too.
        """
        name = f"metric-{metric.name}{unique}.npz"
        buffer = io.BytesIO()
        np.savez(
            buffer,
            means=metric.means,
            projections=metric.projections,
            part_weights=metric.part_weights,
        )
        write_bytes(self._folder / name, buffer.getvalue())
        self._known[name] = metric
        return name

    def read(self, name: str) -> Metric:
        """A metric by name of its file.

        Raises:
            ShardCorrupt: it is absent or damaged.
        """
        if name not in self._known:
            try:
                with np.load(self._folder / name) as arrays:
                    self._known[name] = Metric(
                        arrays["means"], arrays["projections"], arrays["part_weights"]
                    )
            except (OSError, ValueError, KeyError) as error:
                raise ShardCorrupt(f"{self._folder / name}: {error}") from error
        return self._known[name]

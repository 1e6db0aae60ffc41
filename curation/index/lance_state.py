"""What counts of an index in LanceDB: its table, and the metrics that its rows are coded under.

One small object, changed by compare-and-swap alone. The regions themselves are rows of the table,
whose commits LanceDB orders by itself.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from curation.index.depot import Depot
from curation.index.metric import Metric
from curation.kernel.errors import EncoderMismatch, ShardCorrupt

STATE = "ENGINE.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class State:
    """See the module.

    Attributes:
        encoder: hash of the encoder and its pooling.
        width: W of a vector; 0 of an index that was begun anew, until something comes.
        table: name of the table.
        fit: number of the metric that counts; grows by one with each.
        fitted: live regions when it was fitted.
        metrics: objects of the metrics that rows may be coded under, by number, that of ``fit``
            among them; "" leaves vectors as they are.
        learnt: number of the metric that the index of codes was learnt under, -1 for none.
    """

    encoder: str
    width: int
    table: str
    fit: int = 0
    fitted: int = 0
    metrics: Mapping[int, str] = field(default_factory=lambda: {0: ""})
    learnt: int = -1

    def to_bytes(self) -> bytes:
        """As it is stored."""
        metrics = {str(number): name for number, name in self.metrics.items()}
        said = {
            "format": FORMAT,
            "encoder": self.encoder,
            "width": self.width,
            "table": self.table,
            "fit": self.fit,
            "fitted": self.fitted,
            "metrics": metrics,
            "learnt": self.learnt,
        }
        return json.dumps(said, sort_keys=True).encode()

    def with_metric(self, name: str, fitted: int) -> State:
        """A new metric counts; rows under those of before have still to be coded anew."""
        number = self.fit + 1
        return replace(self, fit=number, fitted=fitted, metrics={**self.metrics, number: name})

    def alone(self) -> State:
        """All rows are coded under the metric that counts."""
        return replace(self, metrics={self.fit: self.metrics[self.fit]})


def state_of(data: bytes, where: str) -> State:
    """A stored state.

    Raises:
        ShardCorrupt: it is damaged, or of a format that is not known.
    """
    try:
        said: dict[str, Any] = json.loads(data)
        if said.pop("format") != FORMAT:
            raise ShardCorrupt(f"{where}: its format is not {FORMAT}: update this host")
        metrics = {int(number): str(name) for number, name in said.pop("metrics").items()}
        state = State(metrics=metrics, **said)
        _ = metrics[state.fit]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardCorrupt(f"{where}/{STATE} is damaged: {error}") from error
    return state


class States:
    """The state in a depot, read again whenever it has changed.

    Args:
        depot: where the index lies.
        encoder: version of the vectors' encoder.
        width: W of a vector.
    """

    def __init__(self, depot: Depot, encoder: str, width: int) -> None:
        self._depot = depot
        self._encoder, self._width = encoder, width
        self._tag: str | None = None
        self._state: State | None = None
        self._metrics: dict[str, Metric] = {"": Metric.identity(width)}

    def now(self) -> State | None:
        """What counts now; None where nothing was ever written.

        Raises:
            EncoderMismatch: it is of another encoder.
            ShardCorrupt: it is damaged.
        """
        tag = self._depot.tag(STATE)
        if tag is None:
            self._state = self._tag = None
            return None
        if tag != self._tag:
            data, tag = self._depot.get(STATE)
            self._take(state_of(data, self._depot.name), tag)
        return self._state

    def swap(self, state: State) -> None:
        """Replace the state that :meth:`now` returned last.

        Raises:
            IndexMoved: another process was quicker; nothing has changed.
        """
        self._take(state, self._depot.swap(STATE, state.to_bytes(), self._tag))

    def keep(self, metric: Metric, unique: str) -> str:
        """Store a metric; the name of its object."""
        name = f"metric-{metric.name}{unique}.npz"
        buffer = io.BytesIO()
        np.savez(
            buffer,
            means=metric.means,
            projections=metric.projections,
            part_weights=metric.part_weights,
        )
        self._depot.put(name, buffer.getvalue())
        self._metrics[name] = metric
        return name

    def metric(self, name: str) -> Metric:
        """A metric by the name of its object; each is read once.

        Raises:
            ShardCorrupt: it is lost or damaged.
        """
        if name not in self._metrics:
            try:
                with np.load(io.BytesIO(self._depot.get(name)[0])) as arrays:
                    self._metrics[name] = Metric(
                        arrays["means"], arrays["projections"], arrays["part_weights"]
                    )
            except (FileNotFoundError, ValueError, KeyError, EOFError) as error:
                raise ShardCorrupt(f"{self._depot.name}/{name}: {error}") from error
        return self._metrics[name]

    def _take(self, state: State, tag: str) -> None:
        if not state.width:
            state = replace(state, width=self._width)
        if (state.encoder, state.width) != (self._encoder, self._width):
            raise EncoderMismatch(
                f"{self._depot.name} holds {state.width}-wide vectors of encoder "
                f"{state.encoder[:12]}, asked for {self._width}-wide of {self._encoder[:12]}; "
                "embed the pool again into a new folder"
            )
        self._state, self._tag = state, tag

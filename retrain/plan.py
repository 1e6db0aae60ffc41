"""How long a training lasts: so many epochs, or until a validation share gains no more.

Read :class:`Patience`. A plan decides at the ends of epochs only, from what it has seen so far, and
all of that is in its state: a run that resumes decides as one that was never killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from retrain.config import TrainConfig
from retrain.data import TrainingSet, epoch_order
from retrain.validation import Held, held_out

LEAST_BOUND, EPOCHS_BOUND = 2000, 20
"""Without ``max_steps`` a training ends after so many steps or epochs, whichever are more: a few
dozen images need hundreds of epochs, ten thousand learn in a few."""
ALONE_STEPS = 600
"""Of a set that is too small to hold a share back."""
LOOK_STEPS = 50
COOLING = 0.3
"""Steps at a falling rate, as a share of those at the full rate before."""
WARMUP_STEPS = 50
MIN_GAIN = 0.002
SMOOTHED_LOOKS = 3
"""AP50 of ten images jumps by points from look to look; the mean of three is held against the best
so far, so that one lucky look does not end a training."""
PATIENT_SHARE = 0.25
"""Of the steps so far: the longer it takes to learn something, the longer is waited for more."""
POOR_AP50 = 0.05
"""Below it AP50 says little: as long as the loss falls, something is learnt."""
MOST_POINTS = 200
"""Of a curve."""


@dataclass(frozen=True, slots=True)
class Look:
    """A point of the curve.

    Attributes:
        step: finished steps.
        loss: mean of the last steps; None where none was measured.
        ap50: of the validation share, in 0..1; None where there is none, or none any more.
    """

    step: int
    loss: float | None
    ap50: float | None


@dataclass(frozen=True, slots=True)
class History:
    """What a training did, for people.

    Attributes:
        ended: ``epochs``, ``patience`` (no further gain), ``bound`` (no more steps allowed), or
            ``alone`` (by steps, without a validation share).
        steps: in all.
        cooled_from: step from which the rate fell and the validation share was trained on; None by
            epochs.
        validation_images: held back until then.
        validation_objects: in them.
        note: why nothing was held back; "" where something was, or where it was not asked for.
        looks: the curve.
    """

    ended: str
    steps: int
    cooled_from: int | None
    validation_images: int
    validation_objects: int
    note: str
    looks: tuple[Look, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "looks": [asdict(look) for look in self.looks]}


class Plan(Protocol):
    """When to stop, at what rate to learn, on what."""

    step: int
    """Finished steps at the beginning of the epoch."""

    @property
    def steps(self) -> int:
        """In all, as far as it is known."""
        ...

    @property
    def held(self) -> Held:
        """What is measured on and not trained on."""
        ...

    @property
    def ap50(self) -> float | None:
        """Of the last look."""
        ...

    def is_done(self, epoch: int) -> bool:
        """Whether no epoch follows."""
        ...

    def order(self, epoch: int) -> list[int]:
        """Rows of an epoch."""
        ...

    def factor(self, step: int) -> float:
        """Of the learning rate at a step."""
        ...

    def end_epoch(
        self, epoch: int, step: int, loss: float, measure: Callable[[], float | None]
    ) -> bool:
        """Note what was reached, decide how to go on; whether the run is to be saved now."""
        ...

    def history(self) -> History:
        """What was done."""
        ...

    def state(self) -> dict[str, Any]:
        """Plain types, for the resume file."""
        ...

    def restore(self, epoch: int, state: Mapping[str, Any] | None) -> None:
        """Go on from what :meth:`state` gave; None: a file of before there were plans."""
        ...


def plan_of(config: TrainConfig, data: TrainingSet) -> Plan:
    """By epochs where a number of them is set, else by patience."""
    return Epochs(config, data) if config.epochs else Patience(config, data)


class Epochs:
    """So many passes: a linear warm-up, then half a cosine to zero."""

    def __init__(self, config: TrainConfig, data: TrainingSet) -> None:
        self.step = 0
        self.held = Held()
        self.ap50: float | None = None
        self._config, self._data = config, data
        self._looks: list[Look] = []
        self._steps_at = [0]
        for epoch in range(config.epochs):
            size = len(epoch_order(data, config, epoch))
            self._steps_at.append(self._steps_at[-1] + _steps(size, config))
        self._warmup = max(1, round(config.warmup_share * self.steps))

    @property
    def steps(self) -> int:
        """In all."""
        return self._steps_at[-1]

    def is_done(self, epoch: int) -> bool:
        """Whether no epoch follows."""
        return epoch >= self._config.epochs

    def order(self, epoch: int) -> list[int]:
        """Rows of an epoch."""
        return epoch_order(self._data, self._config, epoch)

    def factor(self, step: int) -> float:
        """Of the learning rate at a step."""
        if step < self._warmup:
            return (step + 1) / self._warmup
        done = (step - self._warmup) / max(1, self.steps - self._warmup)
        return _cosine(done)

    def end_epoch(
        self, epoch: int, step: int, loss: float, measure: Callable[[], float | None]
    ) -> bool:
        """A point of the curve; every epoch is saved."""
        self.step = step
        if epoch % max(1, self._config.epochs // MOST_POINTS) == 0 or self.is_done(epoch):
            self._looks.append(Look(step, _finite(loss), None))
        return True

    def history(self) -> History:
        """What was done."""
        return History("epochs", self.step, None, 0, 0, "", tuple(self._looks))

    def state(self) -> dict[str, Any]:
        """Plain types, for the resume file."""
        return {"looks": [asdict(look) for look in self._looks]}

    def restore(self, epoch: int, state: Mapping[str, Any] | None) -> None:
        """Go on after so many epochs."""
        self.step = self._steps_at[epoch]
        self._looks = [Look(**look) for look in (state or {}).get("looks", ())]


class Patience:
    """Steps at the full rate until a validation share gains no more, then a falling rate.

    The share is held back, by group, as long as it decides; in the last part, while the rate falls
    as half a cosine to zero, all that is labelled is trained on, as a small set can spare nothing.

    Source:
        Hu et al., "MiniCPM", 2024, section 4 (warm-up, stable, decay: the length need not be known
        in advance); Hägele et al., "Scaling laws and compute-optimal training beyond fixed training
        durations", NeurIPS 2024 (a fifth of the steps of decay does as well as a cosine over all).
    """

    def __init__(self, config: TrainConfig, data: TrainingSet) -> None:
        self.step = 0
        self._config, self._data = config, data
        self.held = held_out(data.items, config.validation_share, config.seed)
        self._rows = set(self.held.rows)
        per_epoch = _steps(len(data) - len(self._rows), config)
        bound = config.max_steps or max(LEAST_BOUND, EPOCHS_BOUND * per_epoch)
        self._bound = bound if self._rows else min(bound, ALONE_STEPS)
        self._latest = max(1, round(self._bound / (1 + COOLING)))
        self._looks: list[Look] = []
        self._cooled_from: int | None = None
        self._ended = "bound"

    @property
    def steps(self) -> int:
        """In all; as long as the validation share gains, the bound."""
        if self._cooled_from is None:
            return self._bound
        left = max(1, min(round(COOLING * self._cooled_from), self._bound - self._cooled_from))
        return self._cooled_from + left

    @property
    def ap50(self) -> float | None:
        """Of the last look."""
        return next((one.ap50 for one in reversed(self._looks) if one.ap50 is not None), None)

    def is_done(self, epoch: int) -> bool:
        """Whether no epoch follows."""
        return self._cooled_from is not None and self.step >= self.steps

    def order(self, epoch: int) -> list[int]:
        """Rows of an epoch, the last one cut where the steps end."""
        rows = epoch_order(self._data, self._config, epoch)
        if self._cooled_from is None:
            rows = [row for row in rows if row not in self._rows]
            left = self._latest - self.step
        else:
            left = self.steps - self.step
        return rows[: left * self._config.batch_size]

    def factor(self, step: int) -> float:
        """Of the learning rate at a step."""
        warmup = min(WARMUP_STEPS, max(1, self._bound // 10))
        if step < warmup:
            return (step + 1) / warmup
        if self._cooled_from is None or step < self._cooled_from:
            return 1.0
        return _cosine((step - self._cooled_from) / (self.steps - self._cooled_from))

    def end_epoch(
        self, epoch: int, step: int, loss: float, measure: Callable[[], float | None]
    ) -> bool:
        """Look, where it is time, and begin the last part, where nothing is gained any more."""
        self.step = step
        seen = self._looks[-1].step if self._looks else 0
        last = self.is_done(epoch) if self._cooled_from is not None else step >= self._latest
        if step - seen < min(LOOK_STEPS, self._latest) and not last:
            return False
        measured = measure() if self._cooled_from is None and self._rows else None
        self._looks.append(Look(step, _finite(loss), measured))
        if self._cooled_from is None:
            enough = bool(self._rows) and is_enough(self._looks, self._config.patience)
            if enough or last:
                self._cooled_from = step
                self._ended = "patience" if enough else ("bound" if self._rows else "alone")
        return True

    def history(self) -> History:
        """What was done."""
        return History(
            self._ended,
            self.step,
            self._cooled_from,
            len(self.held.rows),
            self.held.objects,
            self.held.why_not,
            tuple(self._looks),
        )

    def state(self) -> dict[str, Any]:
        """Plain types, for the resume file."""
        return {
            "looks": [asdict(look) for look in self._looks],
            "step": self.step,
            "cooled_from": self._cooled_from,
            "ended": self._ended,
        }

    def restore(self, epoch: int, state: Mapping[str, Any] | None) -> None:
        """Go on from what :meth:`state` gave."""
        if state is None:
            raise ValueError("a run by patience has a state")
        self._looks = [Look(**look) for look in state["looks"]]
        self.step, self._cooled_from = int(state["step"]), state["cooled_from"]
        self._ended = str(state["ended"])


def is_enough(looks: Sequence[Look], patience: int) -> bool:
    """Whether the last looks gained nothing over the best before.

    Args:
        looks: in their order.
        patience: looks without a gain, each of ``LOOK_STEPS``; at least a quarter of all steps.
    """
    best, lowest, gained_at = -math.inf, math.inf, 0
    for number, look in enumerate(looks):
        last = looks[max(0, number + 1 - SMOOTHED_LOOKS) : number + 1]
        value = sum(one.ap50 or 0.0 for one in last) / len(last)
        falls = look.loss is not None and look.loss < 0.99 * lowest
        if value > best + MIN_GAIN or (value < POOR_AP50 and falls):
            gained_at = look.step
        best = max(best, value)
        lowest = min(lowest, math.inf if look.loss is None else look.loss)
    step = looks[-1].step
    return step - gained_at >= max(patience * LOOK_STEPS, PATIENT_SHARE * step)


def _steps(images: int, config: TrainConfig) -> int:
    return math.ceil(images / config.batch_size)


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _finite(loss: float) -> float | None:
    return round(loss, 5) if math.isfinite(loss) else None

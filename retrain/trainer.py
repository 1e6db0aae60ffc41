"""Training: ``train`` checks, ``fit`` runs the epochs, which end in a resume file.

A run is a function of configuration, data, initial weights and seed: order and augmentation are
drawn from (seed, epoch, position), so that a killed run that resumes ends in the same weights as
one that was never killed. Several processes, as ``accelerate launch`` starts them, make each step
together (``processes.py``): the same run, to the rounding of its sums.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from torchvision.models.detection.ssd import SSD

from curation.kernel.images import ImageLimits
from curation.kernel.manifest import Manifest
from retrain import processes
from retrain.config import DetectorConfig, TrainConfig
from retrain.data import EpochView, TrainingSet, check, collate
from retrain.detector import SsdDetector
from retrain.engine import (
    RESUME_FILE,
    LossModule,
    Progress,
    freeze,
    make_average,
    make_optimiser,
    read_resume,
    write_resume,
)
from retrain.errors import CheckpointCorrupt, NonFiniteLoss, TrainingInterrupted
from retrain.plan import History, Plan, plan_of
from retrain.readable import require_few, tell
from retrain.ssd import build
from retrain.tensor_files import require_finite
from retrain.transforms import augmentation
from retrain.validation import ap50
from retrain.weights import WeightsRecord, initialise

_log = logging.getLogger(__name__)
_SMOOTHING = 0.9


def train(
    config: TrainConfig,
    detector_config: DetectorConfig,
    manifest: Manifest,
    image_root: Path,
    out: Path,
    init: Path | None = None,
    resume: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    limits: ImageLimits = ImageLimits(),
    on_lost: Callable[[list[str]], None] | None = None,
    on_history: Callable[[History], None] | None = None,
) -> SsdDetector:
    """Train a detector and write it to ``out``.

    An image that cannot be read is left out, each time that it comes up.

    Args:
        config: how to train.
        detector_config: what to train.
        manifest: on what.
        image_root: folder that the items' files are relative to.
        out: model folder; holds the resume file while the run lasts.
        init: model folder to fine-tune from; its architecture and classes must be the same.
        resume: go on from the resume file of the same run where there is one.
        on_progress: called after every step.
        should_stop: asked before every step.
        limits: of the images that are read.
        on_lost: told at the end which files could not be read.
        on_history: told at the end how long it lasted and why, with the curve.

    Returns:
        The trained detector; with a weight average, the average.

    Raises:
        TrainingDataInvalid: the data cannot be trained on.
        ImagesUnreadable: more than a small share of the images cannot be read.
        NonFiniteLoss: the loss, or in the last step a weight, became NaN or infinite.
        TrainingInterrupted: ``should_stop`` said so; the last epoch's resume file remains.
        CheckpointCorrupt: ``init`` or the resume file is damaged.
    """
    check(manifest, image_root, detector_config.class_names)
    if config.num_threads and not torch.cuda.is_available():
        torch.set_num_threads(max(1, config.num_threads // processes.on_this_host()))
    model, record = _initial_model(config, detector_config, init)
    if record.source == "random":  # nothing that is worth keeping still
        config = replace(config, freeze_stages=0, freeze_batch_norm=False, backbone_rate_factor=1.0)
    run = _Run(config, detector_config, model, manifest, image_root, out, limits)
    with torch.random.fork_rng():  # layers and loaders may draw; the caller's generator stays
        torch.manual_seed(config.seed)
        if resume:
            run.restore()
        run.fit(on_progress, should_stop)
    lost = sorted(run.lost)
    tell(lost, len(manifest.items), "trained")
    if on_lost:
        on_lost(lost)
    if on_history:
        on_history(run.plan.history())
    _require_finite(run.result(), config)
    detector = SsdDetector(run.result(), detector_config, str(run.accelerator.device))
    if processes.is_first():
        detector.save(out, record)
        (out / RESUME_FILE).unlink(missing_ok=True)
    return detector


def _require_finite(model: SSD, config: TrainConfig) -> None:
    """A finite loss may still be followed by a step, or by statistics, that are not."""
    try:
        require_finite(model.state_dict(), "the trained network")
    except CheckpointCorrupt as error:
        raise NonFiniteLoss(
            f"{error}; lower the learning rate, now {config.learning_rate:.2g}, or set "
            "mixed_precision to 'no'"
        ) from error


def _initial_model(
    config: TrainConfig, detector_config: DetectorConfig, init: Path | None
) -> tuple[SSD, WeightsRecord]:
    model = build(detector_config, config.seed)
    if init is None:
        return model, initialise(model, detector_config, config.weights)
    start = SsdDetector.load(init)
    model.load_state_dict(start.state())
    return model, WeightsRecord("checkpoint", start.version)


@dataclass(slots=True)
class _Pace:
    """Smoothed loss and seconds to go."""

    started_s: float
    first_step: int
    loss: float = math.nan

    def update(self, loss: float, step: int, steps: int) -> float:
        """Seconds to go after ``step`` steps."""
        self.loss = loss if math.isnan(self.loss) else _SMOOTHING * self.loss + 0.1 * loss
        pace = (time.monotonic() - self.started_s) / max(1, step - self.first_step)
        return pace * (steps - step)


class _Run:
    """One training run: its parts, and how they are saved and restored."""

    def __init__(
        self,
        config: TrainConfig,
        detector_config: DetectorConfig,
        model: SSD,
        manifest: Manifest,
        image_root: Path,
        out: Path,
        limits: ImageLimits,
    ) -> None:
        self.config, self.detector_config, self.out = config, detector_config, out
        self.lost: set[str] = set()
        size_hw, names = detector_config.input_size_hw, detector_config.class_names
        held_bytes = config.cache_bytes // processes.on_this_host()
        self.data = TrainingSet(manifest, image_root, size_hw, names, held_bytes, limits)
        self.augment = augmentation(config.augment, size_hw, config.augment_share)
        self.accelerator = _accelerator(config.mixed_precision)
        processes.require_together(config.batch_size, self.accelerator.num_processes)
        freeze(model, config.freeze_stages)
        self.model: SSD = model
        self.module = LossModule(model, size_hw, config.freeze_batch_norm)
        self.plan: Plan = plan_of(config, self.data)
        if self.plan.held.why_not:
            _log.warning("%s: trains %d steps", self.plan.held.why_not, self.plan.steps)
        self.optimiser: AdamW = make_optimiser(model, config)
        self.schedule = LambdaLR(self.optimiser, self.plan.factor)
        self.average: AveragedModel | None = None
        if config.ema_decay:
            self.average = make_average(model, config.ema_decay).to(self.accelerator.device)
        self.wrapped, self.stepper = self.accelerator.prepare(self.module, self.optimiser)
        self.epoch, self.loss = 0, math.nan
        self.fingerprint = _fingerprint(config, detector_config, manifest, model)

    def fit(
        self,
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        """Run the epochs that are left."""
        step = self.plan.step
        pace = _Pace(time.monotonic(), step, self.loss)
        while not self.plan.is_done(self.epoch):
            for pixels, targets, lost in self._loader():
                stop = bool(should_stop and should_stop())
                images = self._agree(stop, len(targets), lost)
                loss = self._step(pixels, targets, images) if images else pace.loss
                step += 1
                steps = self.plan.steps
                eta_s = pace.update(loss, step, steps)
                if on_progress:
                    on_progress(self._progress(step, pace.loss, eta_s))
            self.epoch, self.loss = self.epoch + 1, pace.loss
            if self.plan.end_epoch(self.epoch, step, pace.loss, self._measure):
                self._save()
                _log.info("%s", _told(self.epoch, step, self.plan, pace.loss))

    def _agree(self, stop: bool, images: int, lost: list[str]) -> int:
        """The images of the step, of all processes; what ends the run ends all of them here.

        Raises:
            TrainingInterrupted: one of them was asked to stop.
            ImagesUnreadable: together they cannot read too many.
        """
        device = self.accelerator.device
        stops, everywhere, missing = processes.summed([stop, images, len(lost)], device)
        if stops:
            raise TrainingInterrupted(f"stopped in epoch {self.epoch + 1}")
        if missing:
            self.lost.update(processes.gathered(lost))
            require_few(self.lost, len(self.data))
        return int(everywhere)

    def _progress(self, step: int, loss: float, eta_s: float) -> Progress:
        epochs, plan = self.config.epochs, self.plan
        return Progress(self.epoch, epochs, step, plan.steps, loss, eta_s, plan.ap50)

    def _measure(self) -> float | None:
        """AP50 of what would be kept now on the validation share."""
        device = str(self.accelerator.device)
        detector = SsdDetector(self.result(), self.detector_config, device)
        return ap50(detector, self.data, self.plan.held.rows)

    def _loader(self) -> Any:
        order = self.plan.order(self.epoch)
        view = EpochView(self.data, order, self.augment, self.config.seed, self.epoch)
        return DataLoader(
            view,
            # Dealt out here: Accelerate would show images twice to fill up the last batch.
            batch_sampler=processes.DealtBatches(len(order), self.config.batch_size),
            collate_fn=collate,
            num_workers=self.config.num_workers,
            generator=torch.Generator(),  # else the loader draws from the global one
        )

    def _step(self, pixels: torch.Tensor, targets: Any, images: int) -> float:
        """Loss of a step of so many images, of which those here are this process's share."""
        if images == 1:  # batch normalisation refuses a map of one cell of one image
            pixels, targets = pixels.repeat(2, 1, 1, 1), targets * 2
        with self.accelerator.autocast():
            loss = self.wrapped(pixels.to(self.accelerator.device), targets)
        (value,) = processes.summed([float(loss.detach())], self.accelerator.device)
        value /= processes.count()
        if not math.isfinite(value):
            rate = self.schedule.get_last_lr()[-1]
            raise NonFiniteLoss(
                f"loss {value} in epoch {self.epoch + 1} at learning rate {rate:.2g}: lower the "
                "learning rate or set mixed_precision to 'no'"
            )
        self.accelerator.backward(loss)
        if self.config.clip_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.stepper.step()
        self.schedule.step()
        self.stepper.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.model)
        return value

    def result(self) -> SSD:
        """The model to keep."""
        kept: SSD = self.average.module if self.average is not None else self.model
        return kept

    def _save(self) -> None:
        if not processes.is_first():
            return
        state = {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": {"last_epoch": self.schedule.last_epoch, "step": self.schedule._step_count},
            "average": self.average.state_dict() if self.average is not None else None,
            "generator": torch.get_rng_state(),
            "lost": sorted(self.lost),
            "loss": self.loss,
            "plan": self.plan.state(),
        }
        write_resume(self.out, state)

    def restore(self) -> None:
        """Continue where the resume file of the same run stands; another run's is ignored.

        Of several processes the first reads it: the others may be on hosts that do not have it.
        """
        state = processes.told_by_first(lambda: read_resume(self.out))
        if state is None:
            return
        if state["fingerprint"] != self.fingerprint:
            _log.warning("%s is of other settings or data: starting over", self.out / RESUME_FILE)
            return
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.last_epoch = state["schedule"]["last_epoch"]
        self.schedule._step_count = state["schedule"]["step"]
        self.schedule._last_lr = [group["lr"] for group in self.optimiser.param_groups]
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        torch.set_rng_state(state["generator"])
        self.epoch = int(state["epoch"])
        self.lost = set(state.get("lost", ()))
        self.loss = float(state.get("loss", math.nan))
        self.plan.restore(self.epoch, state.get("plan"))
        _log.info("resumes after epoch %d, step %d", self.epoch, self.plan.step)


def _told(epoch: int, step: int, plan: Plan, loss: float) -> str:
    measured = "" if plan.ap50 is None else f", validation AP50 {plan.ap50:.3f}"
    return f"epoch {epoch}, step {step} of at most {plan.steps}, loss {loss:.3f}{measured}"


def _accelerator(mixed_precision: str) -> Accelerator:
    # Accelerate keeps its first precision for the life of a process; a worker trains many times.
    AcceleratorState._reset_state(reset_partial_state=False)
    return Accelerator(mixed_precision=mixed_precision)


def _fingerprint(
    config: TrainConfig, detector_config: DetectorConfig, manifest: Manifest, model: SSD
) -> str:
    """What must be equal for a resume file to belong to this run, on whatever machines."""
    parts = [config.of_the_result(), detector_config.to_dict(), manifest.version]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

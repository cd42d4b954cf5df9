"""One rank of a training: what Ray Train runs on every worker, around the loop of `icnet.training`."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import ray.train
import torch
import torch.distributed
from ray.train import Checkpoint
from ray.train.torch import get_device, prepare_model

from icnet import checkpoint, training
from icnet.hardware import trains_fast_with_channels_last
from icnet.inference import compile_parts
from icnet.memory import keep_freed_blocks
from icnet.model import ICNet
from icnet.precision import resolve_precision
from icnet.training import Batch, EpochLayout, SivSources, Step, Training
from pipeline.runtime import parallel
from pipeline.train.augment import Augmentation
from pipeline.train.dataset import BatchLoader, open_memory_map
from pipeline.train.feature_files import StoredFeatures
from pipeline.train.job import Job
from pipeline.train.losses import LossFile
from pipeline.train.meter import Meter
from pipeline.train.pasting import is_pasting
from pipeline.train.reports import Divergence, Epoch, Panel, Report, Steps
from pipeline.train.sampler import BatchSlot, PlannedBatch, assign_to_rank, plan_epoch, plan_group_batches
from pipeline.train.validation import Validation

UNSCORED = -1e9
"""The score of a checkpoint that was not validated."""

REPORT_STEPS = 20
"""Steps between reports to the driver; a report costs the ranks one collective of a few numbers."""


class Worker:
    """One rank of a training."""

    def __init__(self, job: Job) -> None:
        logging.getLogger().setLevel(logging.WARNING)  # Ray logs every report at level INFO
        warnings.filterwarnings("ignore", "Grad strides do not match")  # 1x1 convolutions have no memory order
        keep_freed_blocks()
        context = ray.train.get_context()
        self.job, self.config = job, job.config
        self.rank, self.ranks = context.get_world_rank(), context.get_world_size()
        cores = max(1, len(os.sched_getaffinity(0)) // context.get_local_world_size())
        torch.set_num_threads(cores)
        self.history: list[dict[str, float]] = []
        self.meter = Meter()
        self.training = self._make_training()
        count = self._restore()
        self.losses = LossFile(Path(job.losses), count) if self.rank == 0 else None
        self.num_losses = count
        device = self.training.device
        changes = Augmentation(**{one.name: getattr(job.config, one.name) for one in fields(Augmentation)})
        groups, views = job.split.train, 1 + job.config.zooms
        stored = None if job.features is None else StoredFeatures(Path(job.features), groups, views)
        self.loader = BatchLoader(open_memory_map(Path(job.samples)), job.config.seed, changes, device, stored, groups)
        self.threads = job.config.prefetch_threads or (min(8, cores) if device.type == "cuda" else 1)
        held = job.split.validation
        self.validation = None
        if held:
            ranks = self.ranks, self.rank
            self.validation = Validation(held, self.loader, *ranks, self.threads, job.config.num_panels)

    def plan_steps(self, epoch: int, position: int) -> list[list[BatchSlot]]:
        """This rank's slots in every step that is left of an epoch after `position` batches."""
        return assign_to_rank(self._plan(epoch), self.ranks, self.rank, self.config.grad_accum_steps, position)

    def load_steps(self, epoch: int, steps: Sequence[list[BatchSlot]]) -> Iterator[list[Batch]]:
        """The batches of each step; threads decode the next ones and bring them to the training's device."""
        slots = [slot for step in steps for slot in step]
        pasting = is_pasting(self.config, epoch)
        loaded = parallel.prefetch(lambda slot: self.loader.load_slot(slot, epoch, pasting), slots, self.threads)
        for step in steps:
            yield [next(loaded) for _ in step]

    def run(self) -> None:
        """Train to the end, or until the loss is not finite; report, validate and save as the options say.

        It starts with reports of what the checkpoint holds: a driver may have died before it logged them.
        """
        if self.losses is not None:
            self._send(Steps(1, self.losses.read()))
        for row in self.history:
            self._send(Epoch(row))
        try:
            self._train()
        except training.DivergedError as error:  # on all ranks at once; an exception would make Ray Train try again
            self._send(Divergence(str(error)))

    def _train(self) -> None:
        steps = training.run_steps(
            self.training, self.config.epochs, self.plan_steps, self.load_steps, self.config.seed
        )
        for number, step in enumerate(steps, start=1):
            self.meter.add(step)
            due = not step.ends_epoch and self._is_checkpoint_due(step)
            if step.ends_epoch or due or number % REPORT_STEPS == 0:
                self._report(step)
            if step.ends_epoch:
                self._end_epoch(step)
            elif due:
                self.save(step.epoch, UNSCORED)

    def _is_checkpoint_due(self, step: Step) -> bool:
        """Whether the step reached a multiple of `checkpoint_steps` steps of its epoch."""
        if self.config.checkpoint_steps is None:
            return False
        every = self.config.checkpoint_steps * self.training.layout.step_batches
        return step.position // every > (step.position - step.batches) // every

    def _plan(self, epoch: int) -> list[PlannedBatch]:
        """The batches of an epoch, over all ranks."""
        groups, config = self.job.split.train, self.config
        if config.sampling == "groups":
            return plan_group_batches(groups, config.batch_size, config.seed, epoch, config.min_batch_size)
        return plan_epoch(groups, config.batch_size, config.seed, epoch)

    def _make_training(self) -> Training:
        """The training at its start."""
        config, device = self.config, get_device() if self.job.gpus else torch.device("cpu")
        model = self._load_model(device)
        if config.compile:
            compile_parts(model)
        # A sum of three numbers depends on their order, and DDP changes the order once it knows the used parameters.
        exact = self.ranks > 2 and not self.job.gpus
        torch.backends.cudnn.benchmark = True  # batches are of one size
        parallel = prepare_model(
            model,
            move_to_device=device,
            parallel_strategy_kwargs={"find_unused_parameters": exact, "broadcast_buffers": False},
        )
        optimizer = training.make_optimizer(
            model, config.optimizer, config.lr, config.backbone_lr, config.weight_decay, config.decay_all
        )
        layout = EpochLayout(len(self._plan(0)), self.ranks * config.grad_accum_steps)
        schedule = training.make_schedule(optimizer, config.schedule, config.epochs * layout.num_steps, config.warmup)
        precision = self._choose_precision(device)
        return Training(
            model,
            optimizer,
            schedule,
            parallel,
            precision,
            config.grad_clip_norm,
            config.ema_decay,
            layout,
            config.loss,
            SivSources(config.siv_masks, config.siv_looks),
            config.joint_batches,
        )

    def _load_model(self, device: torch.device) -> ICNet:
        """The model with its first weights and frozen parts, in the memory format for a device."""
        model = checkpoint.load(self.job.initial)
        chosen = self.config.channels_last
        if chosen is None:  # DDP refuses ranks with different strides
            chosen = self._agree(trains_fast_with_channels_last(device), device)
        model.channels_last = chosen
        model.to(memory_format=torch.channels_last if model.channels_last else torch.contiguous_format)
        for part in self.config.freeze:
            model.part(part).requires_grad_(False)
        if self.config.batch_norm == "sync":
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def _choose_precision(self, device: torch.device) -> str:
        """The precision of the options; `auto` is bf16 where every rank has it in hardware."""
        precision = resolve_precision(self.config.precision, device)
        if self.config.precision == "auto":
            precision = "bf16" if self._agree(precision == "bf16", device) else "float32"
        return precision

    def _agree(self, wanted: bool, device: torch.device) -> bool:
        """Whether all ranks want it."""
        if self.ranks == 1:
            return wanted
        votes = torch.tensor(int(wanted), device=device)
        torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MIN)
        return bool(votes.item())

    def _restore(self) -> int:
        """Load the last checkpoint, if there is one; returns its number of step losses."""
        last = ray.train.get_checkpoint()
        if last is None:
            return 0
        with last.as_directory() as folder:
            extra = self.training.load(Path(folder))
        self.history, self.meter = extra["history"], Meter(**extra["meter"])
        return extra["num_losses"]

    def _report(self, step: Step) -> None:
        losses = self.meter.flush(self.training.device, self.ranks)
        training.check_losses(losses, step.epoch)
        if self.losses is not None:
            self.losses.append(losses)
        self._send(Steps(self.num_losses + 1, losses, step.epoch, step.position, step.total))
        self.num_losses += len(losses)

    def _end_epoch(self, step: Step) -> None:
        config, epoch, last = self.config, step.epoch, step.epoch == self.config.epochs
        row = {"epoch": epoch, **self.meter.summarize(self.training, self.ranks)}
        if self.validation and (last or epoch % config.validate_every == 0):
            row |= {f"val_{name}": value for name, value in self.validation.score(self.training).items()}
        if self.validation and (last or epoch % config.panels_every == 0):
            for group, picture in self.validation.draw_panels(self.training):
                self._queue(Panel(group, epoch, picture))
        row["seconds"] = self.meter.state()["seconds"]
        best = max((self._score(old) for old in self.history), default=UNSCORED)
        self.history.append(row)
        self.meter = Meter()
        self._send(Epoch(row))
        if last or epoch % config.checkpoint_every == 0 or self._score(row) > best:
            self.save(epoch, self._score(row))

    def _score(self, row: dict[str, float]) -> float:
        """The number that the best checkpoint has most of; without validation that is the epoch."""
        if self.validation is None:
            return row["epoch"]
        value = row.get(f"val_{self.config.best_metric}")
        if value is None:
            return UNSCORED
        return -value if self.config.best_metric in ("mae", "loss") else value

    def save(self, epoch: int, score: float) -> None:
        """Report a checkpoint to Ray Train. Every rank calls this; rank 0 writes it."""
        metrics = {"epoch": epoch, "score": score}
        if self.losses is None:
            ray.train.report(metrics)
            return
        self.losses.sync()
        with tempfile.TemporaryDirectory() as folder:
            facts = {"history": self.history, "meter": self.meter.state(), "num_losses": self.losses.count}
            self.training.save(Path(folder), metrics=metrics, **facts)
            ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))

    def _send(self, report: Report) -> None:
        """Send a report that is the same on all ranks once."""
        if self.rank == 0:
            self._queue(report)

    def _queue(self, report: Report) -> None:
        if self.job.queue is not None:
            self.job.queue.put(report)

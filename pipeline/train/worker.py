"""One rank of a training: what Ray Train runs on every worker, around the loop of `icnet.training`."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import Checkpoint
from ray.train.torch import get_device, prepare_model

from icnet import checkpoint, training
from icnet.inference import compile_parts
from icnet.memory import keep_freed_blocks
from icnet.training import Batch, Step, Training
from pipeline.runtime import parallel
from pipeline.train.augment import Augmentation
from pipeline.train.dataset import BatchLoader, open_memory_map
from pipeline.train.job import Job
from pipeline.train.meter import Meter
from pipeline.train.reports import Epoch, Panel, Steps
from pipeline.train.sampler import BatchSlot, assign_to_rank, plan_epoch
from pipeline.train.validation import Validation

UNSCORED = -1e9
"""The score of a checkpoint that was not validated."""

REPORT_STEPS = 20
"""Steps between reports to the driver; a report costs the ranks one collective of a few numbers."""


class Worker:
    """One rank of a training."""

    def __init__(self, job: Job) -> None:
        logging.getLogger().setLevel(logging.WARNING)  # Ray tells of every report at a level of its own
        warnings.filterwarnings("ignore", "Grad strides do not match")  # of 1x1 convolutions, which have no order
        keep_freed_blocks()
        context = ray.train.get_context()
        self.job, self.config = job, job.config
        self.rank, self.ranks = context.get_world_rank(), context.get_world_size()
        cores = max(1, len(os.sched_getaffinity(0)) // context.get_local_world_size())
        torch.set_num_threads(cores)
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.meter = Meter()
        self.training = self._begin()
        gpu = self.training.device.type == "cuda"
        changes = Augmentation(job.config.flip, job.config.crop, job.config.color_jitter, job.config.sism_noise)
        self.loader = BatchLoader(open_memory_map(Path(job.samples)), job.config.seed, changes, pin=gpu)
        self.threads = job.config.prefetch_threads or (min(8, cores) if gpu else 1)
        held = job.split.validation
        self.validation = Validation(held, self.loader, self.ranks, self.rank, self.threads) if held else None

    def _begin(self) -> Training:
        """The training as it starts, or as its last checkpoint left it."""
        config, model = self.config, checkpoint.load(self.job.initial)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        for part in config.freeze:
            model.part(part).requires_grad_(False)
        if config.batch_norm == "sync":
            model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        if config.compile:
            compile_parts(model)
        # Sums of three numbers depend on their order, and DDP orders anew once it knows all parameters are used.
        exact = {"find_unused_parameters": self.ranks > 2 and not self.job.gpus}
        device = get_device() if self.job.gpus else torch.device("cpu")
        parallel = prepare_model(model, move_to_device=device, parallel_strategy_kwargs=exact)
        optimizer = training.make_optimizer(model, config.optimizer, config.lr, config.backbone_lr, config.weight_decay)
        steps = config.epochs * len(self.steps(0))
        rates = training.make_schedule(optimizer, config.schedule, steps, config.warmup)
        begun = Training(model, optimizer, rates, parallel, config.precision, config.grad_clip_norm, config.ema_decay)
        if (last := ray.train.get_checkpoint()) is not None:
            with last.as_directory() as folder:
                extra = begun.load(Path(folder))
            self.history, self.losses, self.meter = extra["history"], extra["losses"], Meter(**extra["meter"])
        return begun

    def steps(self, epoch: int) -> list[list[BatchSlot]]:
        """This rank's seats in each step of an epoch."""
        plan = plan_epoch(self.job.split.train, self.config.batch_size, self.config.seed, epoch)
        return assign_to_rank(plan, self.ranks, self.rank, self.config.grad_accum_steps)

    def load(self, epoch: int, steps: Sequence[list[BatchSlot]]) -> Iterator[list[Batch]]:
        """The batches of each step, decoded ahead, on the training's device."""
        seats = [seat for step in steps for seat in step]
        loaded = parallel.prefetch(lambda seat: self.loader.seat(seat, epoch), seats, self.threads)
        for step in steps:
            yield [next(loaded).to(self.training.device) for _ in step]

    def run(self) -> None:
        """Train to the end; report, validate and save as often as the params say.

        It begins with what the checkpoint holds, as a driver may have died before it logged that.
        """
        self._tell(Steps(dict(enumerate(self.losses, 1))))
        for row in self.history:
            self._tell(Epoch(row))
        every = self.config.checkpoint_steps
        for step in training.run_steps(self.training, self.config.epochs, self.steps, self.load, self.config.seed):
            self.meter.add(step)
            due = not step.ends and every is not None and step.position % every == 0
            if step.ends or due or step.position % REPORT_STEPS == 0:
                self._report(step)
            if step.ends:
                self._end(step)
            elif due:
                self._save(step.epoch, UNSCORED)

    def _report(self, step: Step) -> None:
        fresh = self.meter.flush(self.training.device, self.ranks)
        training.check_losses(fresh, step.epoch)
        first = len(self.losses) + 1
        self.losses += fresh
        self._tell(Steps(dict(enumerate(fresh, first)), step.epoch, step.position, step.steps))

    def _end(self, step: Step) -> None:
        config, epoch, last = self.config, step.epoch, step.epoch == self.config.epochs
        loss = sum(self.losses[-step.steps :]) / step.steps
        row = {"epoch": epoch, "train_loss": loss, **self.meter.row(self.training, self.ranks)}
        if self.validation and (last or epoch % config.validate_every == 0):
            row |= {f"val_{name}": value for name, value in self.validation.scores(self.training).items()}
        if self.validation and (last or epoch % config.panels_every == 0):
            for group, picture in self.validation.panels(self.training):
                self.job.queue.put(Panel(group, epoch, picture))
        row["seconds"] = self.meter.state()["seconds"]
        best = max((self._score(old) for old in self.history), default=UNSCORED)
        self.history.append(row)
        self.meter = Meter()
        self._tell(Epoch(row))
        if last or epoch % config.checkpoint_every == 0 or self._score(row) > best:
            self._save(epoch, self._score(row))

    def _score(self, row: dict[str, float]) -> float:
        """What the best checkpoint has most of; without validation that is epochs."""
        if self.validation is None:
            return row["epoch"]
        value = row.get(f"val_{self.config.best_metric}")
        return UNSCORED if value is None else -value if self.config.best_metric in ("mae", "loss") else value

    def _save(self, epoch: int, score: float) -> None:
        metrics = {"epoch": epoch, "score": score}
        if self.rank != 0:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            self.training.save(Path(folder), history=self.history, losses=self.losses, meter=self.meter.state())
            ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))

    def _tell(self, report: Any) -> None:
        if self.rank == 0:
            self.job.queue.put(report)

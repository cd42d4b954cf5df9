"""Quality on real photographs: the recipe of a preset in plain torch, in one process, without Ray and MLflow.

    python -m benchmarks.quality data/samples/pascal_coseg vgg16.pth out --preset presets/pascal_vgg16.yaml
    python -m benchmarks.quality ... -S epochs=8 -S lr=1e-3 --network features=nf

It splits, shuffles and augments as stage train does, so that it learns the same model on a machine that has nothing
but torch. `out/model.safetensors` holds the averaged weights of the last epoch; killed, it goes on from its last one.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml

from icnet import checkpoint, pretrained, training, whitening
from icnet.config import Config
from icnet.loss import iou_loss
from icnet.model import ICNet
from icnet.precision import resolve_precision
from icnet.training import Batch, EpochLayout, Training
from pipeline.runtime import parallel
from pipeline.train.augment import Augmentation
from pipeline.train.dataset import BatchLoader, load_examples, write_memory_map
from pipeline.train.sampler import BatchSlot, assign_to_rank, plan_epoch
from pipeline.train.split import Split, split_groups

PAPERS = {"seed": 0, "validation": 0.15, "batch_size": 10, "epochs": 60, "flip": 0.5, "precision": "float32"}
"""Where the preset is silent."""


def main(
    samples: Path,
    weights: Path,
    out: Path,
    preset: Annotated[Path, typer.Option()] = Path("presets/pascal_vgg16.yaml"),
    change: Annotated[list[str], typer.Option("-S", help="KEY=VALUE of the preset's section train")] = [],  # noqa: B006
    network: Annotated[list[str], typer.Option(help="KEY=VALUE of icnet.config.Config")] = [],  # noqa: B006
) -> None:
    """Train on a samples table and print the loss on its validation groups, epoch by epoch, beside the SISMs'."""
    sections = yaml.safe_load(preset.read_text())
    config = PAPERS | sections["train"] | _values(change)
    made = {key: value for key, value in sections["model"].items() if key != "weights"} | _values(network)
    torch.manual_seed(config["seed"])
    model = ICNet(Config(**made))
    pretrained.load_weights(model, weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device, memory_format=torch.channels_last)
    for part in config.get("freeze", []):
        model.part(part).requires_grad_(False)
    out.mkdir(parents=True, exist_ok=True)
    table = write_memory_map({"toys": samples}, out / "samples.arrow")
    split = split_groups(table, config["validation"], config["seed"])
    if model.config.init == "whitened":
        whitening.whiten_compression(model, load_examples(table, split).to(device), whitening.PRETRAINED_POWER)
    changes = Augmentation(**{name: config.get(name, 0.0) for name in ("flip", "crop", "color_jitter", "sism_noise")})
    fit(
        model,
        split,
        BatchLoader(table, config["seed"], changes, device),
        BatchLoader(table, config["seed"], device=device),
        config,
        out,
    )


def fit(
    network: ICNet, split: Split, loader: BatchLoader, plain: BatchLoader, config: dict[str, Any], out: Path
) -> None:
    """Train to the end, from the start or from the last saved epoch."""

    def plan(epoch: int, position: int) -> list[list[BatchSlot]]:
        return assign_to_rank(plan_epoch(split.train, config["batch_size"], config["seed"], epoch), 1, 0, 1, position)

    def load(epoch: int, steps: Sequence[list[BatchSlot]]) -> Iterator[list[Batch]]:
        slots = [slot for step in steps for slot in step]
        threads = 8 if loader.device.type == "cuda" else 1
        yield from ([batch] for batch in parallel.prefetch(lambda slot: loader.load_slot(slot, epoch), slots, threads))

    named = {name: config.get(name) for name in ("lr", "backbone_lr")}
    kind, decay = config.get("optimizer", "adam"), config.get("weight_decay", 1e-4)
    optimizer = training.make_optimizer(network, kind, weight_decay=decay, **named)
    layout = EpochLayout(len(plan(0, 0)))
    steps = config["epochs"] * layout.num_steps
    rates = training.make_schedule(optimizer, config.get("schedule", "constant"), steps, config.get("warmup", 0.0))
    clip, ema_decay = config.get("grad_clip_norm"), config.get("ema_decay")
    precision = resolve_precision(config["precision"], next(network.parameters()).device)
    trained = Training(network, optimizer, rates, None, precision, clip, ema_decay, layout)
    if (out / training.STATE_FILE).is_file():
        trained.load(out)
    held = sum(map(len, split.validation.values()))
    print(f"{sum(map(len, split.train.values()))} images to train on, {held} of {', '.join(split.validation)} held out")
    losses, began = [], time.perf_counter()
    for step in training.run_steps(trained, config["epochs"], plan, load, config["seed"]):
        losses.append(step.loss)
        if not step.ends_epoch:
            continue
        loss = torch.stack(losses[-layout.num_steps :]).mean().item()
        spent = time.perf_counter() - began
        ours, theirs = validate(trained, split, plain)
        print(
            f"epoch {step.epoch}: loss {loss:.3f}, held out {ours:.3f} (SISMs {theirs:.3f}),"
            f" {len(losses) * config['batch_size'] / spent:.1f} images/s",
            flush=True,
        )
        trained.save(out)
        checkpoint.save(trained.best_model, out / "model.safetensors")


@torch.no_grad()
def validate(trained: Training, split: Split, loader: BatchLoader) -> tuple[float, float]:
    """Mean IoU loss of the finest maps and of the SISMs on the validation groups."""
    model: ICNet = trained.best_model.eval()
    ours, theirs = [], []
    for rows in split.validation.values():
        batch = loader.load_plain(rows)
        with trained.autocast():
            maps = model(batch.images, batch.sisms)
        for found, sism, mask in zip(maps.float(), batch.sisms, batch.masks, strict=True):
            ours.append(float(iou_loss(found[None], mask[None])))
            theirs.append(float(iou_loss(sism[None], mask[None])))
    return sum(ours) / max(1, len(ours)), sum(theirs) / max(1, len(theirs))


def _values(changes: list[str]) -> dict[str, Any]:
    return {key: yaml.safe_load(value) for key, _, value in (change.partition("=") for change in changes)}


if __name__ == "__main__":
    typer.run(main)

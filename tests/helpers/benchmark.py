"""A small benchmark for tests of evaluate and register: a collection with the tables and the model that led to maps."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from icnet import checkpoint, images
from icnet.config import Config
from icnet.model import ICNet
from pipeline import tables
from pipeline.evaluate.inputs import Inputs
from tests.helpers import photographs

SIDE = 48


def blurred(mask: np.ndarray, seed: int, noise: float) -> np.ndarray:
    """The mask as a method that errs would find it, uint8."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(-noise, noise, (6, 6)).astype(np.float32)
    wide = np.asarray(Image.fromarray(coarse).resize(mask.shape[::-1], Image.Resampling.BILINEAR))
    return images.quantize(mask / 255 * 0.8 + 0.1 + wide)


def model(folder: Path, seed: int = 0, run_id: str | None = None) -> Path:
    """A model folder as stage train leaves it, with weights of that seed."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    checkpoint.save(ICNet(Config(size=SIDE, width=0.125, init="he")), folder / "model.safetensors")
    (folder / "run.json").write_text(json.dumps({"run_id": run_id}))
    return folder


def write(folder: Path, sizes: dict[str, int], noise: float = 0.6, labelled: bool = True) -> Inputs:
    """Write a collection, its index, samples and maps; the maps err by `noise`, the SISMs more."""
    root = photographs.write(folder / "root", sizes, 40, 56)
    index = photographs.index(root, folder / "index")
    rows = tables.read_table(index).to_pylist()
    if not labelled:
        rows = [{**row, "mask": None, "mask_digest": None} for row in rows]
        tables.write_table(index, pa.Table.from_pylist(rows, schema=tables.INDEX), [], root=str(root))
    _tables(folder, root, rows, noise)
    return Inputs("small", root, index, folder / "samples", folder / "maps", model(folder / "model"))


def maps(folder: Path, root: Path, rows: list[dict], noise: float) -> Path:
    """Write a maps table that errs by `noise`."""
    made = []
    for seed, row in enumerate(rows):
        mask = images.decode_mask((root / "masks" / row["group"] / f"{row['name']}.png").read_bytes())
        made.append({"group": row["group"], "name": row["name"], "map": images.encode(blurred(mask, seed, noise))})
    tables.write_table(folder, pa.Table.from_pylist(made, schema=tables.MAPS), [], stage="predict")
    return folder


def _tables(folder: Path, root: Path, rows: list[dict], noise: float) -> None:
    made = []
    for seed, row in enumerate(rows):
        data = (root / row["image"]).read_bytes()
        mask = images.decode_mask((root / "masks" / row["group"] / f"{row['name']}.png").read_bytes())
        small = images.resize(mask, (SIDE, SIDE))
        made.append(
            {
                **{name: row[name] for name in ("group", "name", "height", "width")},
                "digest": row["image_digest"],
                "image": images.encode(images.resize(images.decode(data), (SIDE, SIDE))),
                "sism": images.encode(blurred(small, 1000 + seed, 1.2)),
                "mask": images.encode(small) if row["mask"] else None,
            }
        )
    samples = pa.Table.from_pylist(made, schema=tables.SAMPLES)
    tables.write_table(folder / "samples", samples, [], stage="sism", method="gc", size=SIDE)
    maps(folder / "maps", root, rows, noise)

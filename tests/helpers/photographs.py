"""Small collections of photographs for tests, and their index, drawn with a seed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from icnet import images
from pipeline import tables


def photograph(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy RGB picture uint8 [H, W, 3] with one bright disc, and the disc's mask uint8 [H, W]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    row, column = random.uniform(0.3, 0.7, 2) * (height, width)
    disc = (y - row) ** 2 + (x - column) ** 2 < (0.25 * min(height, width)) ** 2
    picture = random.integers(0, 90, (height, width, 3)) + disc[..., None] * random.integers(90, 165, 3)
    return picture.astype(np.uint8), disc.astype(np.uint8) * 255


def write(root: Path, sizes: dict[str, int], height: int = 48, width: int = 64, seed: int = 0) -> Path:
    """Write a collection of groups with so many images each, PNG, and their masks; returns its root."""
    for number, (group, size) in enumerate(sizes.items()):
        for folder in ("images", "masks"):
            (root / folder / group).mkdir(parents=True, exist_ok=True)
        for image in range(size):
            picture, mask = photograph(seed + 1000 * number + image, height + image % 3, width)
            Image.fromarray(picture).save(root / "images" / group / f"{image:04d}.png")
            Image.fromarray(mask).save(root / "masks" / group / f"{image:04d}.png")
    return root


def index(root: Path, folder: Path) -> Path:
    """An index table of such a collection, made without the stage; returns its folder."""
    rows = []
    for file in sorted((root / "images").glob("*/*.png")):
        with Image.open(file) as image:
            width, height = image.size
        name = f"{file.parent.name}/{file.name}"
        rows.append(
            {
                "group": file.parent.name,
                "name": file.stem,
                "image": f"images/{name}",
                "mask": f"masks/{name}",
                "height": height,
                "width": width,
                "bytes": file.stat().st_size,
                "image_digest": tables.digest_file(file.read_bytes()),
                "mask_digest": tables.digest_file((root / "masks" / name).read_bytes()),
            }
        )
    tables.write_table(folder, pa.Table.from_pylist(rows, schema=tables.INDEX), [], root=str(root))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def samples(folder: Path, sizes: dict[str, int], side: int, seed: int = 0) -> Path:
    """A samples table of such groups, made without the stage, with blurred masks as SISMs; returns its folder."""
    rows = []
    for number, (group, size) in enumerate(sizes.items()):
        for image in range(size):
            picture, mask = photograph(seed + 1000 * number + image, side, side)
            sism = np.asarray(Image.fromarray(mask).resize((4, 4), Image.Resampling.BOX).resize((side, side)))
            rows.append(
                {
                    "group": group,
                    "name": f"{image:04d}",
                    "image": images.encode(picture),
                    "sism": images.encode(sism),
                    "mask": images.encode(mask),
                    "height": side + image % 3,
                    "width": side + 9,
                    "digest": f"{group}-{image}-{seed}",
                }
            )
    table = pa.Table.from_pylist(rows, schema=tables.SAMPLES)
    tables.write_table(folder, table, [], stage="sism", seed=seed, sizes=sizes)
    return folder

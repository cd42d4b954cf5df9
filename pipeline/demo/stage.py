"""Stage demo: nothing -> the embedded collection, toys in groups, generated: the same bytes from the same seed.

Each image shows one toy of its group's category and one or two of other categories that change from image to image.
OUT/train teaches, OUT/unseen asks about categories that share no shape and no texture with those of train.
"""

import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.demo.config import DemoConfig
from pipeline.demo.drawing import draw_scene
from pipeline.demo.formats import COMMON_FORMATS, RARE_FORMATS, _animated, _deep, _jpeg, _save, _turned
from pipeline.demo.scene import CATEGORIES, SPLITS, Category, describe_scene
from pipeline.runtime import params, report


class DemoError(ValueError):
    """The folder to write to holds something else than an embedded collection."""


@dataclass(frozen=True)
class Picture:
    """One image file to make: number `number` of a group of the split, stored as `form` says."""

    split: str
    category: Category
    number: int
    form: str

    @property
    def name(self) -> str:
        """The name that image and mask share."""
        return f"{self.number + 1:02d}"


def plan_pictures(config: DemoConfig) -> list[Picture]:
    """Every picture of both splits; one truncated file in each, beyond the groups' full counts."""
    plan = []
    for split, images in (("train", config.images), ("unseen", config.unseen_images)):
        groups = CATEGORIES[split][: config.categories]
        for place, category in enumerate(groups):
            forms = [COMMON_FORMATS[(place + number) % len(COMMON_FORMATS)] for number in range(images)]
            if place < len(RARE_FORMATS):
                forms[(3 + place) % images] = RARE_FORMATS[place]
            plan += [Picture(split, category, number, form) for number, form in enumerate(forms)]
        plan.append(Picture(split, groups[0], images, "truncated"))
    return plan


FORMS: dict[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "jpeg": (".jpg", _jpeg),
    "png": (".png", lambda pixels: _save(Image.fromarray(pixels), "PNG")),
    "webp": (".webp", lambda pixels: _save(Image.fromarray(pixels), "WEBP", quality=90)),
    "gray": (".png", lambda pixels: _save(Image.fromarray(pixels).convert("L"), "PNG")),
    "turned": (".jpg", _turned),
    "deep": (".png", _deep),
    "cmyk": (".jpg", lambda pixels: _save(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=92)),
    "palette": (".png", lambda pixels: _save(Image.fromarray(pixels).quantize(200), "PNG")),
    "animated": (".gif", _animated),
    "truncated": (".jpg", lambda pixels: _jpeg(pixels)[:3000]),
}
"""File name's ending and encoder, uint8 RGB [h, w, 3] -> bytes."""


def write_picture(picture: Picture, config: DemoConfig, out: Path) -> None:
    """Draw one picture and write image and mask below `out`."""
    cv2.setNumThreads(1)
    shown = describe_scene(config.seed, picture.split, picture.category, picture.number, config.categories)
    pixels, mask = draw_scene(shown)
    ending, encode = FORMS[picture.form]
    folders = [out / picture.split / kind / picture.category.name for kind in ("images", "masks")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    (folders[0] / f"{picture.name}{ending}").write_bytes(encode(pixels))
    (folders[1] / f"{picture.name}.png").write_bytes(_save(Image.fromarray(mask), "PNG"))


def write_collection(out: Path, config: DemoConfig) -> None:
    """Write the collection to `out`, whole or not at all. Raises DemoError where `out` holds something else."""
    strange = {entry.name for entry in out.iterdir()} - set(SPLITS) if out.is_dir() else set()
    if strange:
        raise DemoError(f"{out} holds {min(strange)!r}, which this stage did not write: choose another folder")
    plan = plan_pictures(config)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_picture, plan, [config] * len(plan), [part] * len(plan), chunksize=8))
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    for split in SPLITS:
        own = [picture for picture in plan if picture.split == split]
        groups = len({picture.category for picture in own})
        report.print_summary(
            "demo", f"{len(own)} images of {groups} categories in {out / split}, one of them truncated on purpose"
        )


def main(out: Path) -> None:
    """Write the embedded collection to OUT."""
    write_collection(out, params.load_section("demo", DemoConfig))

"""Stage demo: write the embedded collection, drawn toys in groups. The same seed gives the same files.

Each image shows one toy of its group's category, and one or two toys of categories that change from image to image.
OUT/train is for training. OUT/unseen has other categories, which share no shape and no texture with those of train.
"""

import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
from PIL import Image

from pipeline.demo.config import DemoConfig
from pipeline.demo.drawing import draw_scene
from pipeline.demo.formats import COMMON_FORMATS, FORMATS, RARE_FORMATS, encode_image
from pipeline.demo.scene import CATEGORIES, SPLITS, Category, describe_scene
from pipeline.runtime import params, report


class DemoError(ValueError):
    """The folder to write to holds files that are not of an embedded collection."""


@dataclass(frozen=True)
class Picture:
    """One image file to write: image `number` of a group of the split, in the format `format` of FORMATS."""

    split: str
    category: Category
    number: int
    format: str

    @property
    def name(self) -> str:
        """The name that image and mask share."""
        return f"{self.number + 1:02d}"


def plan_pictures(config: DemoConfig) -> list[Picture]:
    """All pictures of both splits, and one truncated file in each."""
    plan = []
    for split, images in (("train", config.images), ("unseen", config.unseen_images)):
        groups = CATEGORIES[split][: config.categories]
        for place, category in enumerate(groups):
            formats = [COMMON_FORMATS[(place + number) % len(COMMON_FORMATS)] for number in range(images)]
            if place < len(RARE_FORMATS):
                formats[(3 + place) % images] = RARE_FORMATS[place]
            plan += [Picture(split, category, number, format) for number, format in enumerate(formats)]
        plan.append(Picture(split, groups[0], images, "truncated"))
    return plan


def write_picture(picture: Picture, config: DemoConfig, out: Path) -> None:
    """Draw one picture and write image and mask below `out`."""
    cv2.setNumThreads(1)
    shown = describe_scene(config.seed, picture.split, picture.category, picture.number, config.categories)
    pixels, mask = draw_scene(shown)
    suffix, encode = FORMATS[picture.format]
    folders = [out / picture.split / kind / picture.category.name for kind in ("images", "masks")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    (folders[0] / f"{picture.name}{suffix}").write_bytes(encode(pixels))
    (folders[1] / f"{picture.name}.png").write_bytes(encode_image(Image.fromarray(mask), "PNG"))


def write_collection(out: Path, config: DemoConfig) -> None:
    """Write the collection to `out`, whole or not at all. Raises DemoError if `out` holds other files."""
    foreign = {entry.name for entry in out.iterdir()} - set(SPLITS) if out.is_dir() else set()
    if foreign:
        raise DemoError(f"{out} contains {min(foreign)!r}, which this stage did not write: choose another folder")
    plan = plan_pictures(config)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_picture, plan, [config] * len(plan), [part] * len(plan), chunksize=8))
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    for split in SPLITS:
        own = [picture for picture in plan if picture.split == split]
        groups = len({picture.category for picture in own})
        report.print_summary(
            "demo", f"{len(own)} images of {groups} categories in {out / split}, one of them truncated"
        )


def main(out: Path) -> None:
    """Write the embedded collection to OUT."""
    write_collection(out, params.load_section("demo", DemoConfig))

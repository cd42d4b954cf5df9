"""Stage demo: nothing -> the embedded collection, toys in groups, generated: the same bytes from the same seed.

Each image shows one toy of its group's category and one or two of other categories that change from image to image.
OUT/train teaches, OUT/unseen asks about categories that share no shape and no texture with those of train.
"""

import io
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
from pydantic import Field

from pipeline import command, drawing, params, scene, summary


class Params(params.Section):
    """`categories` of training with `images` each; the benchmark's six categories with `unseen_images` each."""

    seed: int = Field(7, ge=0)
    categories: int = Field(32, ge=6, le=len(scene.CATEGORIES["train"]))
    images: int = Field(12, ge=2)
    unseen_images: int = Field(10, ge=2)


class DemoError(ValueError):
    """The folder to write to holds something else than an embedded collection."""


@dataclass(frozen=True)
class Picture:
    """One image file to make: number `number` of a group of the split, stored as `form` says."""

    split: str
    category: scene.Category
    number: int
    form: str

    @property
    def name(self) -> str:
        """The name that image and mask share."""
        return f"{self.number + 1:02d}"


def pictures(knobs: Params) -> list[Picture]:
    """Every picture of both splits; one truncated file in each, beyond the groups' full counts."""
    plan = []
    for split, images in (("train", knobs.images), ("unseen", knobs.unseen_images)):
        groups = scene.CATEGORIES[split][: knobs.categories]
        for place, category in enumerate(groups):
            forms = [COMMON[(place + number) % len(COMMON)] for number in range(images)]
            if place < len(RARE):
                forms[(3 + place) % images] = RARE[place]
            plan += [Picture(split, category, number, form) for number, form in enumerate(forms)]
        plan.append(Picture(split, groups[0], images, "truncated"))
    return plan


# --- file formats ---------------------------------------------------------------------------------------------


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _jpeg(pixels: np.ndarray) -> bytes:
    return _save(Image.fromarray(pixels), "JPEG", quality=92)


def _turned(pixels: np.ndarray) -> bytes:
    """Stored on its side; EXIF says to turn it a quarter clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return _save(Image.fromarray(np.ascontiguousarray(np.rot90(pixels))), "JPEG", quality=92, exif=exif)


def _deep(pixels: np.ndarray) -> bytes:
    """16 bits a channel."""
    return cv2.imencode(".png", pixels[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


def _animated(pixels: np.ndarray) -> bytes:
    frames = [Image.fromarray(frame).quantize(128) for frame in (pixels, 255 - pixels)]
    return _save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=500)


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

COMMON = ("jpeg", "jpeg", "png", "jpeg", "webp")
RARE = ("gray", "turned", "deep", "cmyk", "palette", "animated")


# --- writing --------------------------------------------------------------------------------------------------


def write(picture: Picture, knobs: Params, out: Path) -> None:
    """Draw one picture and write image and mask below `out`."""
    cv2.setNumThreads(1)
    shown = scene.describe(knobs.seed, picture.split, picture.category, picture.number, knobs.categories)
    pixels, mask = drawing.draw(shown)
    ending, encode = FORMS[picture.form]
    folders = [out / picture.split / kind / picture.category.name for kind in ("images", "masks")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    (folders[0] / f"{picture.name}{ending}").write_bytes(encode(pixels))
    (folders[1] / f"{picture.name}.png").write_bytes(_save(Image.fromarray(mask), "PNG"))


def make(out: Path, knobs: Params) -> None:
    """Write the collection to `out`, whole or not at all. Raises DemoError where `out` holds something else."""
    strange = {entry.name for entry in out.iterdir()} - set(scene.SPLITS) if out.is_dir() else set()
    if strange:
        raise DemoError(f"{out} holds {min(strange)!r}, which this stage did not write: choose another folder")
    plan = pictures(knobs)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write, plan, [knobs] * len(plan), [part] * len(plan), chunksize=8))
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    for split in scene.SPLITS:
        own = [picture for picture in plan if picture.split == split]
        groups = len({picture.category for picture in own})
        summary.tell(
            "demo", f"{len(own)} images of {groups} categories in {out / split}, one of them truncated on purpose"
        )


def main(out: Path) -> None:
    """Write the embedded collection to OUT."""
    make(out, params.load("demo", Params))


if __name__ == "__main__":
    command.run("pipeline.demo")

"""Scores of a SOD method's maps on folders of images and masks.

python -m benchmarks.sod_quality SPEC IMAGES MASKS [--without tree] [--void VOID] [--sheet sheet.png]
compares the maps of IMAGES/<group>/<name>.* with MASKS/<group>/<name>.png at one size.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from tqdm import tqdm

from icnet import images as image_files
from icnet import sod
from pipeline import pictures
from pipeline.metrics import aggregate
from pipeline.metrics.pysod import score_map_at


def main(
    spec: str,
    images: Path,
    masks: Path,
    size: int = 224,
    without: Annotated[list[str] | None, typer.Option(help="groups to leave out")] = None,
    void: Annotated[Path | None, typer.Option(help="masks of pixels without a label: a second row of scores")] = None,
    every: Annotated[int, typer.Option(help="score every n-th image only")] = 1,
    sheet: Annotated[Path | None, typer.Option(help="write a picture of ten images, masks and maps")] = None,
) -> None:
    """Print the scores of the SOD method SPEC."""
    method = sod.make_method(spec)
    files = [file for file in sorted(masks.glob("*/*.png")) if file.parent.name not in (without or [])][::every]
    plain, labelled, shown, seconds = [], [], {}, 0.0
    for number, file in enumerate(tqdm(files, disable=None)):
        key = file.parent.name, file.stem
        image = image_files.decode(next((images / key[0]).glob(f"{key[1]}.*")).read_bytes())
        start = time.perf_counter()
        found = image_files.quantize(method(image, key))
        seconds += time.perf_counter() - start
        mask = image_files.decode_gray(file.read_bytes())
        plain.append((key, score_map_at(found, mask, size=(size, size))))
        if void:
            unlabelled = image_files.decode_gray((void / key[0] / file.name).read_bytes())
            labelled.append((key, score_map_at(found, mask, unlabelled, (size, size))))
        if number * 10 // len(files) == len(shown):
            shown["/".join(key)] = image, mask, found
    rows = [(spec, str(size), aggregate.Scores.of(plain))]
    if void:
        rows.append(("without void pixels", str(size), aggregate.Scores.of(labelled)))
    print(aggregate.format_table(rows))
    print(f"{seconds / len(files):.3f} s an image on {torch.get_num_threads()} threads")
    if sheet:
        cells: list[tuple[np.ndarray, ...]] = list(shown.values())
        Image.fromarray(pictures.draw_sheet(cells, ("image", "mask", "map"), list(shown), spec)).save(sheet)


if __name__ == "__main__":
    typer.run(main)

"""Pictures for people: labelled sheets of images and maps, and a map drawn over its image."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

PAPER, INK, FAINT = (255, 255, 255), (32, 33, 36), (120, 124, 130)
LINE = (255, 64, 129)
GAP = 6


def draw_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    title: str = "",
    cell: int = 144,
) -> np.ndarray:
    """A table of pictures as one uint8 RGB picture: `columns` above, `labels` left of the rows, `title` on top.

    Each picture, uint8 [H, W, 3] or gray [H, W], is fitted whole into a square of `cell` px; None leaves it empty.
    """
    font, small = (_font(size) for size in (max(11, cell // 11), max(10, cell // 13)))
    wide = max((len(row) for row in rows), default=0)
    left = GAP + (max(round(font.getlength(_short(label))) for label in labels) + GAP if labels else 0)
    line = round(font.size * 1.6)
    top = GAP + (line if title else 0) + (line if columns else 0)
    size = (max(left + wide * (cell + GAP), _width(title, font)), top + len(rows) * (cell + GAP))
    paper = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(paper)
    if title:
        pen.text((GAP, GAP), title, INK, font)
    for number, column in enumerate(columns):
        middle = left + number * (cell + GAP) + cell // 2
        pen.text((middle, top - GAP - font.size // 4), _fit(column, font, cell), INK, font, anchor="ms")
    for number, row in enumerate(rows):
        y = top + number * (cell + GAP)
        if labels:
            pen.text((left - GAP, y + cell // 2), _short(labels[number]), FAINT, small, anchor="rm")
        for place, picture in enumerate(row):
            if picture is not None:
                _paste_picture(paper, picture, left + place * (cell + GAP), y, cell)
    return np.asarray(paper)


def draw_overlay(image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The image [H, W, 3] in color where its map [H, W] (both uint8) is bright, gray elsewhere, a line at one half."""
    picture = Image.fromarray(image)
    mask = Image.fromarray(found).resize(picture.size, Image.Resampling.BILINEAR)
    gray = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, PAPER), 0.45)
    inside = mask.point([0] * 128 + [255] * 128)
    thick = 2 * max(1, min(picture.size) // 150) + 1
    grown = np.asarray(inside.filter(ImageFilter.MaxFilter(thick))) > np.asarray(inside)
    result = np.array(Image.composite(picture, gray, mask))
    result[grown] = LINE
    return result


def _paste_picture(paper: Image.Image, picture: np.ndarray, x: int, y: int, cell: int) -> None:
    image = Image.fromarray(picture).convert("RGB")
    scale = cell / max(image.size)
    size = tuple(max(1, round(side * scale)) for side in image.size)
    image = image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BILINEAR)
    paper.paste(image, (x + (cell - size[0]) // 2, y + (cell - size[1]) // 2))


def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and knows most alphabets."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def _short(text: str, most: int = 24) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while font.getlength(text) > width and len(text) > 2:
        text = f"{text[:-2]}…"
    return text


def _width(text: str, font: ImageFont.FreeTypeFont) -> int:
    return round(font.getlength(text)) + 2 * GAP if text else 0

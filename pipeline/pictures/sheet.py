"""Contact sheets: labeled tables of images and maps, and a map drawn over its image."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

BACKGROUND, TEXT_COLOR, LABEL_COLOR = (255, 255, 255), (32, 33, 36), (120, 124, 130)

EDGE_COLOR = (255, 64, 129)

GAP = 6
"""px between cells."""

MAX_LABEL_LENGTH = 24


def draw_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    title: str = "",
    cell: int = 144,
) -> np.ndarray:
    """Draw a table of pictures as one uint8 RGB picture [H, W, 3].

    `columns` are headings above the cells, `labels` are left of the rows. Each picture, uint8 [H, W, 3] or gray [H, W],
    is scaled to fit into a square of `cell` px; None leaves the cell empty.
    """
    font, small_font = _load_font(max(11, cell // 11)), _load_font(max(10, cell // 13))
    texts = [_shorten(label) for label in labels]
    left = GAP + (max(round(font.getlength(text)) for text in texts) + GAP if texts else 0)
    line_height = round(font.size * 1.6)
    top = GAP + line_height * (bool(title) + bool(columns))
    num_columns = max((len(row) for row in rows), default=0)
    width = max(left + num_columns * (cell + GAP), round(font.getlength(title)) + 2 * GAP if title else 0)
    sheet = Image.new("RGB", (width, top + len(rows) * (cell + GAP)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((GAP, GAP), title, TEXT_COLOR, font)
    for number, heading in enumerate(columns):
        position = (left + number * (cell + GAP) + cell // 2, top - GAP - font.size // 4)
        draw.text(position, _fit(heading, font, cell), TEXT_COLOR, font, anchor="ms")
    for number, row in enumerate(rows):
        y = top + number * (cell + GAP)
        if texts:
            draw.text((left - GAP, y + cell // 2), texts[number], LABEL_COLOR, small_font, anchor="rm")
        for column, picture in enumerate(row):
            if picture is not None:
                _paste_picture(sheet, picture, left + column * (cell + GAP), y, cell)
    return np.asarray(sheet)


def draw_overlay(image: np.ndarray, map_: np.ndarray) -> np.ndarray:
    """Draw a map [H, W] over its image [H, W, 3], both uint8.

    The image keeps its colors where the map is bright and fades to gray elsewhere, with a line at one half.
    """
    picture = Image.fromarray(image)
    mask = Image.fromarray(map_).resize(picture.size, Image.Resampling.BILINEAR)
    gray = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, BACKGROUND), 0.45)
    inside = mask.point([0] * 128 + [255] * 128)
    line_width = 2 * max(1, min(picture.size) // 150) + 1
    edge = np.asarray(inside.filter(ImageFilter.MaxFilter(line_width))) > np.asarray(inside)
    overlay = np.array(Image.composite(picture, gray, mask))
    overlay[edge] = EDGE_COLOR
    return overlay


def _paste_picture(sheet: Image.Image, picture: np.ndarray, x: int, y: int, cell: int) -> None:
    image = Image.fromarray(picture).convert("RGB")
    scale = cell / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BILINEAR)
    sheet.paste(image, (x + (cell - width) // 2, y + (cell - height) // 2))


@lru_cache(maxsize=8)
def _load_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans from matplotlib's folder; it has most alphabets. matplotlib itself is slow to import."""
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None
    fonts = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), size)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_LABEL_LENGTH else f"{text[: MAX_LABEL_LENGTH - 1]}…"


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    while font.getlength(text) > width and len(text) > 2:
        text = f"{text[:-2]}…"
    return text

"""A collection of every kind of problematic file, and the expected result for each."""

import os
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (36, 48)
"""Height and width, upright, of every picture that is kept."""


@dataclass(frozen=True)
class Fate:
    """The result for a file: the stage that rejects it, words of the reason, whether it is used."""

    stage: str | None
    reason: str = ""
    kept: bool = False


KEPT = Fate(None, kept=True)


def photograph(seed: int = 0, size: tuple[int, int] = SIZE) -> Image.Image:
    """A small color picture with structure, never the same for two seeds."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC)


def file(image: Image.Image, format: str, **options) -> bytes:
    """`image` as the bytes of a file."""
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def mask(size: tuple[int, int] = SIZE) -> bytes:
    """A mask: the middle of the picture, as PNG."""
    values = np.zeros(size, np.uint8)
    values[size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = 255
    return file(Image.fromarray(values), "PNG")


def bomb() -> bytes:
    """A PNG of 400 million pixels in a hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def sideways(format: str, **options) -> bytes:
    """A picture that only its EXIF orientation sets upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return file(photograph(1, SIZE[::-1]), format, exif=exif, **options)


def odd_but_good() -> dict[str, bytes]:
    """File name -> bytes of unusual images that can be decoded."""
    picture = photograph()
    gray = picture.convert("L")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    alpha = picture.convert("RGBA")
    alpha.putalpha(gray)
    frames = {"save_all": True, "append_images": [photograph(2), photograph(3)]}
    return {
        "plain.jpg": file(picture, "JPEG"),
        "plain 2.JPEG": file(picture, "JPEG", progressive=True),
        "gray.jpg": file(gray, "JPEG"),
        "cmyk.jpg": file(picture.convert("CMYK"), "JPEG"),
        "exif.jpg": sideways("JPEG"),
        "exif.2.png": sideways("PNG"),
        "exif_tiff.tiff": sideways("TIFF"),
        "palette.png": file(picture.quantize(16), "PNG"),
        "see_through.png": file(picture.quantize(16), "PNG", transparency=0),
        "alpha.png": file(alpha, "PNG"),
        "gray_alpha.png": file(alpha.convert("LA"), "PNG"),
        "deep.png": file(deep, "PNG"),
        "deep.tif.tif": file(deep, "TIFF"),
        "bits.png": file(gray.convert("1"), "PNG"),
        "moving.gif": file(picture, "GIF", **frames),
        "moving_too.png": file(picture, "PNG", **frames),
        "moving_three.webp": file(picture, "WEBP", lossless=True, **frames),
        "pages.tif": file(picture, "TIFF", **frames),
        "no_suffix": file(picture, "PNG"),
        "wrong_suffix.png": file(picture, "JPEG"),
        "two..dots.bmp": file(picture, "BMP"),
        "Füße 円 😀.jpg": file(picture, "JPEG"),
        "decomposed e\u0301.jpg": file(picture, "JPEG"),
        "a very " + "long " * 40 + "name.jpg": file(picture, "JPEG"),
    }


def not_pictures() -> dict[str, tuple[bytes, Fate]]:
    """File name -> bytes that cannot be decoded, and the stage that rejects them."""
    jpeg, png = file(photograph(4), "JPEG", quality=95), file(photograph(5), "PNG")
    half = len(jpeg) // 2
    return {
        "empty.jpg": (b"", Fate("index", "is empty")),
        "words.jpg": (b"I am a letter, not a picture.", Fate("index", "is not an image")),
        "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", Fate("index", "a web page")),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", Fate("index", "Git LFS")),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), Fate("index", "HEIC")),
        "zeros.jpg": (bytes(4096), Fate("index", "begins with zeros")),
        "bomb.png": (bomb(), Fate("index", "decompression bomb")),
        "pixel.png": (file(photograph(6, (1, 1)), "PNG"), Fate("index", "smaller than index.min_side")),
        "half.jpg": (jpeg[:half], Fate("sism", "truncated")),
        "half_then_zeros.jpg": (jpeg[:half] + bytes(len(jpeg) - half), Fate("sism", "truncated")),
        "half.2.png": (png[: len(png) // 2], Fate("sism", "truncated")),
        "flipped.png": (png[:100] + bytes([png[100] ^ 255]) + png[101:], Fate("sism", "damaged")),
        "floats.tif": (file(photograph(7).convert("F"), "TIFF"), Fate("sism", "floats")),
    }


def write(folder: Path) -> dict[str, Fate]:
    """Write the collection (plain layout); returns the result for each path below `folder`.

    Groups: `odd` is kept whole, `bad` keeps a few images, `lost` and `empty` keep none, `masks` is about masks.
    """
    for group in ("odd", "bad", "lost", "empty", "masks"):
        (folder / "images" / group).mkdir(parents=True)
        (folder / "masks" / group).mkdir(parents=True)
    fates: dict[str, Fate] = {}

    def put(path: str, data: bytes, fate: Fate = KEPT, with_mask: bool = True) -> None:
        (folder / path).write_bytes(data)
        fates[path] = fate
        if with_mask:
            group, name = path.split("/")[1:]
            (folder / "masks" / group / f"{Path(name).stem}.png").write_bytes(mask())

    for name, data in odd_but_good().items():
        put(f"images/odd/{name}", data)
    put("images/bad/good.jpg", file(photograph(8), "JPEG"))
    for name, (data, fate) in not_pictures().items():
        put(f"images/bad/{name}", data, fate)
    put("images/lost/only.jpg", b"", Fate("index", "is empty"))
    for path, fate in list(fates.items()):
        if fate.stage == "index":
            group, name = path.split("/")[1:]
            fates[f"masks/{group}/{Path(name).stem}.png"] = Fate("index", f"is left out with {path!r}")
    fates["images/lost"] = Fate("index", "lost all its images")
    fates["images/empty"] = Fate("index", "without any file")
    _names(folder, put, fates)
    _places(folder, fates)
    _masks(folder, put, fates)
    return fates


def _names(folder: Path, put, fates: dict[str, Fate]) -> None:
    picture = file(photograph(9), "JPEG")
    put("images/bad/same.jpg", picture)
    put("images/bad/same.png", picture, Fate("index", "name of another file: 'same.jpg' is used"))
    put("images/bad/same.json", b"{}", Fate("index", "name of another file"))
    put("images/bad/line\nbreak.jpg", picture, Fate("index", "line break"), with_mask=False)
    put("images/bad/bell\a.jpg", picture, Fate("index", "control character"), with_mask=False)
    (folder / os.fsdecode(b"images/bad/latin\xe9.jpg")).write_bytes(picture)
    fates["images/bad/latin\\xe9.jpg"] = Fate("index", "not UTF-8")
    for litter in ("Thumbs.db", ".DS_Store", "._plain.jpg", ".jpg", "..jpg"):
        (folder / "images" / "bad" / litter).write_bytes(b"litter")


def _places(folder: Path, fates: dict[str, Fate]) -> None:
    bad = folder / "images" / "bad"
    outside = folder.parent / f"{folder.name} outside"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(file(photograph(10), "JPEG"))
    (bad / "within.jpg").symlink_to("good.jpg")
    (bad / "secret.jpg").symlink_to(outside / "secret.jpg")
    (bad / "nothing.jpg").symlink_to("absent.jpg")
    (bad / "circle.jpg").symlink_to("circle.jpg")
    (bad / "folder.jpg").mkdir()
    os.mkfifo(bad / "pipe.jpg")
    (folder / "images" / "elsewhere").symlink_to(outside)
    (folder / "images" / "alone.jpg").write_bytes(b"no group")
    (folder / "masks" / "bad" / "within.png").write_bytes(mask())
    fates |= {
        "images/bad/within.jpg": KEPT,
        "images/bad/secret.jpg": Fate("index", "leads outside"),
        "images/bad/nothing.jpg": Fate("index", "link to nothing"),
        "images/bad/circle.jpg": Fate("index", "link to nothing"),
        "images/bad/folder.jpg": Fate("index", "folder inside a group"),
        "images/bad/pipe.jpg": Fate("index", "a pipe"),
        "images/elsewhere": Fate("index", "leads outside"),
        "images/alone.jpg": Fate("index", "is outside every group"),
    }


def _masks(folder: Path, put, fates: dict[str, Fate]) -> None:
    masks = folder / "masks" / "masks"
    for name in ("unmasked", "resized", "spoilt", "suffixed"):
        put(f"images/masks/{name}.jpg", file(photograph(11), "JPEG"), with_mask=False)
    (masks / "resized.png").write_bytes(mask((SIZE[0], SIZE[1] + 1)))
    (masks / "spoilt.png").write_bytes(b"not a mask")
    (masks / "suffixed_GT.png").write_bytes(mask())
    (masks / "alone.png").write_bytes(mask())
    (folder / "masks" / "others").mkdir()
    fates["images/masks/unmasked.jpg"] = Fate("index", "has no mask", kept=True)
    fates["masks/masks/resized.png"] = Fate("index", "36 x 49 px, the image 36 x 48 px")
    fates["masks/masks/spoilt.png"] = Fate("index", "is not an image")
    fates["masks/masks/alone.png"] = Fate("index", "without an image")
    fates["masks/others"] = Fate("index", "group that has no images")
    for name in ("resized", "spoilt"):
        fates[f"images/masks/{name}.jpg"] = Fate("index", f"is left out with 'masks/masks/{name}.png'")

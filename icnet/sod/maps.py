"""Saliency maps that were computed elsewhere: <folder>/<group>/<name>.png, resized to the image."""

import hashlib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch

from icnet import images as image_files
from icnet.images import Pixels
from icnet.sod.base import Key, Method, MissingMapError, SaliencyMap, SodError, Spec

OUTPUT_VERSION = 1
"""Raise it whenever a map may change."""


def make(spec: Spec, device: torch.device) -> Method:
    """Make the method. Raises SodError if the folder is missing or holds no PNG file."""
    spec.refuse_options()
    folder = Path(spec.file)
    if not spec.file or not folder.is_dir():
        raise SodError(f"{spec.text!r}: there is no folder {spec.file!r}")
    try:
        files = list_maps(folder)
    except OSError as error:
        raise SodError(f"{spec.text!r}: {error.filename!r} cannot be read: {error.strerror}") from error
    if not files:
        raise SodError(f"{spec.text!r}: there is no <group>/<name>.png in {spec.file!r}")
    return Method(partial(read_batch, files), partial(identify, files))


def list_maps(folder: Path) -> dict[str, Path]:
    """Return the PNG files of the folder's groups by `<group>/<name>.png` in Unicode's composed form (NFC), sorted."""
    files: dict[str, Path] = {}
    for group in sorted(group for group in folder.iterdir() if group.is_dir()):
        for place, _, names in os.walk(group, onerror=_raise):
            for file in (Path(place, name) for name in names if name.endswith(".png")):
                files[unicodedata.normalize("NFC", file.relative_to(folder).as_posix())] = file
    return dict(sorted(files.items()))


def _raise(error: OSError) -> None:
    raise error


def read_batch(files: Mapping[str, Path], images: Sequence[Pixels], keys: Sequence[Key]) -> list[SaliencyMap]:
    """Return the maps, float32 [H, W], of the images with these keys.

    Raises MissingMapError with all images that have no map or a damaged one. Raises OSError if a map that was listed
    cannot be read now.
    """
    maps, reasons = [], {}
    for image, key in zip(images, keys, strict=True):
        name = f"{key[0]}/{key[1]}.png"
        if name not in files:
            reasons[key] = f"there is no map {name!r}"
            continue
        try:
            gray = image_files.decode_gray(files[name].read_bytes())
        except image_files.ImageError as error:
            reasons[key] = f"the map {name!r} {error}"
            continue
        maps.append(image_files.resize(gray, image.shape[:2]).astype(np.float32) / np.float32(255))
    if reasons:
        raise MissingMapError(reasons)
    return maps


def identify(files: Mapping[str, Path]) -> str:
    """Return the identity of a folder of maps: a digest of the names and contents of its PNG files."""
    total = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for name, digest in zip(files, pool.map(_digest, files.values()), strict=True):
            total.update(f"{name}\0{digest}\n".encode())
    return f"maps/{OUTPUT_VERSION} sha256={total.hexdigest()}"


def estimate_memory(spec: Spec, pixels: int) -> int:
    """Estimate the bytes for one image: a gray map at up to the image's size, and its float32 copies."""
    return 16 * pixels


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

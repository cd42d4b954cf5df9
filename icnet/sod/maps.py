"""Saliency maps made elsewhere: <folder>/<group>/<name>.png, resized to the image."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from icnet import images as pictures
from icnet.sod.base import Key, Method, MissingMapError, SodError, Spec

ALGORITHM = 1


def make(spec: Spec, device: torch.device) -> Method:
    """Maps read from a folder. SodError without such a folder; batch raises MissingMapError."""
    spec.options()
    folder = Path(spec.file)
    if not spec.file or not folder.is_dir():
        raise SodError(f"{spec.text!r}: there is no folder {spec.file!r}")
    return Method(partial(read_batch, folder), partial(identify, folder))


def read_batch(folder: Path, images: Sequence[np.ndarray], keys: Sequence[Key]) -> list[np.ndarray]:
    """Maps float32 [H, W] of the images with these keys. MissingMapError names all of those that cannot be had."""
    maps, reasons = [], {}
    for image, key in zip(images, keys, strict=True):
        try:
            maps.append(read(folder, key, image.shape[:2]))
        except (OSError, ValueError) as error:
            reasons[key] = f"no map of {'/'.join(key)}: {error}"
    if reasons:
        raise MissingMapError(reasons)
    return maps


def read(folder: Path, key: Key, size: tuple[int, int]) -> np.ndarray:
    """One map, resized to (height, width). ValueError or OSError with the reason if it cannot be had."""
    file = PurePosixPath(*key[:-1], f"{key[-1]}.png")
    if file.is_absolute() or ".." in file.parts:
        raise ValueError(f"{str(file)!r} leads out of the folder of maps")
    try:
        data = (folder / file).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"there is no {str(file)!r} in the folder of maps") from None
    return pictures.resize(pictures.decode_gray(data), size).astype(np.float32) / 255


def identify(folder: Path) -> str:
    """Identity of a folder of maps: a digest over the names and contents of its PNG files."""
    files = sorted(folder.rglob("*.png"), key=lambda file: file.relative_to(folder).as_posix())
    total = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for file, digest in zip(files, pool.map(_digest, files), strict=True):
            total.update(f"{file.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return f"maps/{ALGORITHM} sha256={total.hexdigest()}"


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

"""Sheets of groups: images, their SISMs, CSA maps, co-saliency maps and masks, row under row."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from icnet import checkpoint, images
from icnet.inference import Predictor, optimize
from pipeline import pictures, tables
from pipeline.runtime import devices

MAX_IMAGES = 8
"""Columns of a sheet."""
CSA_STAGE = 4
"""The co-saliency block whose CSA maps are shown."""
CHUNK_SIZE = 32
"""Images as network input at a time."""
VOID_GRAY = 110

Key = tuple[str, str]


@dataclass(frozen=True)
class Member:
    """One image and its maps at the samples' size, uint8; None where there is none."""

    name: str
    image: np.ndarray
    sism: np.ndarray
    found: np.ndarray | None
    mask: np.ndarray | None


class PanelSource:
    """The tables that sheets are drawn from and the model that led to the maps; `voids` are void masks by key."""

    def __init__(self, samples: Path, maps: Path, model: Path, voids: dict[Key, Path]) -> None:
        self.samples, self.maps, self.voids = samples, maps, voids
        self.places = {folder: tables.read_table(folder, ["group"])["group"].to_pylist() for folder in (samples, maps)}
        self.model = model

    def groups(self) -> list[str]:
        """The groups that have samples."""
        return list(dict.fromkeys(self.places[self.samples]))

    def group(self, group: str, title: str) -> np.ndarray:
        """The sheet of a group: its first images and the CSA maps that the whole group leads to, uint8 RGB."""
        members = self._members(group)
        csa = _csa(Predictor(optimize(checkpoint.load(self.model, devices.get_device()))), members)
        return _sheet(members[:MAX_IMAGES], [member.name for member in members], title, csa)

    def overview(self, groups: Sequence[str], title: str) -> np.ndarray:
        """The sheet of the first images of a few groups, the same ones whatever the model, uint8 RGB."""
        places = np.linspace(0, len(groups) - 1, min(MAX_IMAGES, len(groups)))
        chosen = [groups[round(place)] for place in places]
        return _sheet([self._members(group, 1)[0] for group in chosen], chosen, title)

    def _members(self, group: str, most: int | None = None) -> list[Member]:
        found = {row["name"]: images.decode_gray(row["map"]) for row in self._rows(self.maps, group, most)}
        return [
            Member(
                row["name"],
                images.decode(row["image"]),
                sism := images.decode_gray(row["sism"]),
                images.resize(found[row["name"]], sism.shape) if row["name"] in found else None,
                self._mask(group, row),
            )
            for row in self._rows(self.samples, group, most)
        ]

    def _rows(self, folder: Path, group: str, most: int | None) -> list[dict[str, Any]]:
        start, stop = bisect_left(self.places[folder], group), bisect_right(self.places[folder], group)
        stop = stop if most is None else min(stop, start + most)
        return tables.read_rows(folder, start, stop).to_pylist() if start < stop else []

    def _mask(self, group: str, row: dict[str, Any]) -> np.ndarray | None:
        if row["mask"] is None:
            return None
        mask = images.decode_gray(row["mask"])
        if file := self.voids.get((group, row["name"])):
            void = images.resize(images.decode_mask(file.read_bytes()), mask.shape)
            mask = np.where(void > 128, np.uint8(VOID_GRAY), mask)
        return mask


@torch.no_grad()
def _csa(predictor: Predictor, members: list[Member]) -> list[np.ndarray]:
    """The CSA maps of the first members, uint8; empty where the network has no CFM."""
    parts = [members[start : start + CHUNK_SIZE] for start in range(0, len(members), CHUNK_SIZE)]
    cues = predictor.gather_cues(lambda: (_inputs(predictor, part) for part in parts))
    csa = predictor.predict(*_inputs(predictor, members[:MAX_IMAGES]), cues).csa
    return [images.quantize(map_.float()) for map_ in csa[CSA_STAGE][:, 0]] if csa else []


def _inputs(predictor: Predictor, members: list[Member]) -> tuple[torch.Tensor, torch.Tensor]:
    device = next(predictor.model.parameters()).device
    pictured = images.normalize(np.stack([member.image for member in members])).to(device)
    return pictured, images.scale_maps(np.stack([member.sism for member in members])).to(device)


def _sheet(members: Sequence[Member], names: Sequence[str], title: str, csa: Sequence[np.ndarray] = ()) -> np.ndarray:
    rows = {
        "image": [member.image for member in members],
        "SISM": [member.sism for member in members],
        "CSA map": list(csa),
        "co-saliency": [member.found for member in members],
        "mask": [member.mask for member in members],
    }
    rows = {label: row for label, row in rows.items() if any(picture is not None for picture in row)}
    return pictures.draw_sheet(list(rows.values()), names[: len(members)], list(rows), title)

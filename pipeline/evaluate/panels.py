"""Sheets of groups, one row each for images, SISMs, CSA maps, co-saliency maps and masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from icnet import checkpoint, images
from icnet.inference import Predictor, optimize
from pipeline import pictures, tables
from pipeline.evaluate.inputs import Inputs
from pipeline.evaluate.scoring import key_of
from pipeline.metrics.aggregate import Scores
from pipeline.metrics.records import ICNET, RESIZED, Row
from pipeline.metrics.score import Key
from pipeline.runtime import devices

MAX_IMAGES = 8
"""Columns of a sheet."""
CSA_STAGE = 4
"""The co-saliency block whose CSA maps are shown."""
CHUNK_SIZE = 32
"""Images in one pass through the network."""
VOID_GRAY = 110
"""Gray value of void pixels in the masks."""


@dataclass(frozen=True)
class Member:
    """One image and its maps at the samples' size, uint8. None: there is no such map."""

    name: str
    image: np.ndarray
    sism: np.ndarray
    found: np.ndarray | None
    mask: np.ndarray | None


class PanelSource:
    """The tables that sheets are drawn from, and the model that made the maps."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.ranges = {folder: _find_ranges(folder) for folder in (inputs.samples, inputs.maps)}
        index = tables.read_table(inputs.index, ["group", "name", "void", "void_digest"])
        self.voids: dict[Key, tuple[str, str]] = {
            key_of(row): (row["void"], row["void_digest"])
            for row in index.filter(pc.field("void").is_valid() & (pc.field("void") != "")).to_pylist()
        }

    def groups(self) -> list[str]:
        """The groups that have samples."""
        return list(self.ranges[self.inputs.samples])

    def draw_group(self, group: str, title: str) -> np.ndarray:
        """The sheet of a group, uint8 RGB: its first images, with the CSA maps that the whole group gives."""
        members = self._members(group)
        csa = _compute_csa_maps(self._predictor, members)
        return _draw_sheet(members[:MAX_IMAGES], [member.name for member in members], title, csa)

    def draw_overview(self, groups: Sequence[str], title: str) -> np.ndarray:
        """The sheet of the first images of a few groups, uint8 RGB. The choice does not depend on the model."""
        places = np.linspace(0, len(groups) - 1, min(MAX_IMAGES, len(groups)))
        chosen = [groups[round(place)] for place in places]
        return _draw_sheet([self._members(group, 1)[0] for group in chosen], chosen, title)

    @cached_property
    def _predictor(self) -> Predictor:
        network = optimize(checkpoint.load(self.inputs.weights, devices.get_device()))
        return Predictor(network, looks=tables.load_manifest(self.inputs.maps).get("looks"))

    def _members(self, group: str, most: int | None = None) -> list[Member]:
        """Images with their maps at the samples' size; maps of the first MAX_IMAGES alone, which are drawn."""
        maps = self._rows(self.inputs.maps, group, min(most or MAX_IMAGES, MAX_IMAGES))
        found = {row["name"]: images.decode_gray(row["map"]) for row in maps}
        return [self._member(group, row, found) for row in self._rows(self.inputs.samples, group, most)]

    def _member(self, group: str, row: dict[str, Any], found: dict[str, np.ndarray]) -> Member:
        sism = images.decode_gray(row["sism"])
        map_ = images.resize(found[row["name"]], sism.shape) if row["name"] in found else None
        return Member(row["name"], images.decode(row["image"]), sism, map_, self._mask(group, row))

    def _rows(self, folder: Path, group: str, most: int | None) -> list[dict[str, Any]]:
        start, stop = self.ranges[folder].get(group, (0, 0))
        stop = stop if most is None else min(stop, start + most)
        return tables.read_rows(folder, start, stop).to_pylist() if start < stop else []

    def _mask(self, group: str, row: dict[str, Any]) -> np.ndarray | None:
        if row["mask"] is None:
            return None
        mask = images.decode_gray(row["mask"])
        if void := self.voids.get((group, row["name"])):
            content = tables.read_original(self.inputs.root, *void)
            mask = np.where(images.resize(images.decode_mask(content), mask.shape) > 128, np.uint8(VOID_GRAY), mask)
        return mask


def _find_ranges(folder: Path) -> dict[str, tuple[int, int]]:
    """The range of rows of each group of a table."""
    groups = tables.read_table(folder, ["group"])["group"].combine_chunks()
    runs = pc.run_end_encode(groups)
    stops = runs.run_ends.to_pylist()
    return dict(zip(runs.values.to_pylist(), zip([0, *stops], stops, strict=False), strict=True))


def draw_panels(inputs: Inputs, sums: dict[Row, Scores], count: int) -> dict[str, np.ndarray]:
    """Sheets by name: an overview, and the worst and best groups. The first groups, if nothing was scored."""
    source = PanelSource(inputs)
    if not (groups := source.groups()):
        return {}
    drawn = {"overview": source.draw_overview(groups, f"{inputs.dataset}: one image of each group")}
    values = sums[ICNET, RESIZED].by_group()
    for name, group in choose_groups(values, groups, count).items():
        value, title = values.get(group), f"{inputs.dataset} / {group} ({name.replace('-', ' ')})"
        if value:
            title += f": max F {value['max_f']:.3f}, S {value['s']:.3f}, MAE {value['mae']:.3f}"
        drawn[name] = source.draw_group(group, title)
    return drawn


def choose_groups(values: dict[str, dict[str, float]], groups: list[str], count: int) -> dict[str, str]:
    """The groups to draw, by the name of their sheet. `values`: the metrics of each scored group."""
    if not values:
        return {f"group-{n}": group for n, group in enumerate(groups[:count], start=1)}
    order = sorted(values, key=lambda group: (values[group]["max_f"], group))
    count = min(count, (len(order) + 1) // 2)
    worst = {f"worst-{n}": group for n, group in enumerate(order[:count], start=1)}
    return worst | {f"best-{n}": group for n, group in enumerate(order[::-1][:count], start=1) if len(order) > 1}


@torch.no_grad()
def _compute_csa_maps(predictor: Predictor, members: list[Member]) -> list[np.ndarray]:
    """The CSA maps of the first members, uint8. Empty if the network has no CFM."""
    parts = [members[start : start + CHUNK_SIZE] for start in range(0, len(members), CHUNK_SIZE)]
    cues = predictor.gather_cues(lambda: (_to_tensors(predictor, part) for part in parts))
    csa = predictor.predict(*_to_tensors(predictor, members[:MAX_IMAGES]), cues).csa
    return [images.quantize(map_.float()) for map_ in csa[CSA_STAGE][:, 0]] if csa else []


def _to_tensors(predictor: Predictor, members: list[Member]) -> tuple[torch.Tensor, torch.Tensor]:
    device = next(predictor.model.parameters()).device
    pixels = images.normalize(np.stack([member.image for member in members])).to(device)
    return pixels, images.scale_maps(np.stack([member.sism for member in members])).to(device)


def _draw_sheet(
    members: Sequence[Member], names: Sequence[str], title: str, csa: Sequence[np.ndarray] = ()
) -> np.ndarray:
    rows = {
        "image": [member.image for member in members],
        "SISM": [member.sism for member in members],
        "CSA map": list(csa),
        "co-saliency": [member.found for member in members],
        "mask": [member.mask for member in members],
    }
    rows = {label: row for label, row in rows.items() if any(picture is not None for picture in row)}
    return pictures.draw_sheet(list(rows.values()), names[: len(members)], list(rows), title)

"""Validation during training: whole groups, scores over all ranks, and a picture of each group."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
import torch.distributed
from torch import Tensor

from icnet import images
from icnet.images import Pixels
from icnet.inference import Predictor, join_predictions
from icnet.model import ICNet, Prediction
from icnet.training import Batch, Training
from pipeline import pictures
from pipeline.metrics import score
from pipeline.metrics.pysod import score_map
from pipeline.runtime.parallel import prefetch
from pipeline.train.dataset import BatchLoader
from pipeline.train.split import Groups

MAX_IMAGES = 64
"""Images of a group that are in memory together; larger groups take several passes."""
CPU_BATCH, GPU_BATCH = 4, 32
"""Images that go through the network at once."""
PANEL_IMAGES = 5
"""Images of a group in its panel."""
COLUMNS = ("image", "SISM", "CSA map", "prediction", "mask")


class Validation:
    """One rank's share of the validation groups, and those of them that have a panel.

    `num_panels`: evenly spaced groups, of all ranks, that have one. At most MAX_IMAGES images of a group, and those
    that `threads` load ahead, are in memory.
    """

    def __init__(
        self, groups: Groups, loader: BatchLoader, ranks: int, rank: int, threads: int, num_panels: int
    ) -> None:
        names = sorted(groups)
        self.groups = {name: groups[name] for name in names[rank::ranks]}
        places = np.linspace(0, len(names) - 1, min(num_panels, len(names))).round().astype(int)
        self.shown = {names[place] for place in places} & self.groups.keys()
        self.loader, self.threads = loader, threads

    def score(self, training: Training) -> dict[str, float]:
        """`loss` (of all four maps, as in training) and the scores of `pipeline.metrics` over all ranks' images.

        Every rank calls this and gets the same numbers: those of rank 0's weights, which are the ones to be saved.
        """
        training.share_best_model()
        sums = _Sums()
        for one in prefetch(_score_image, self._list_images(training), self.threads):
            sums.add(one)
        return sums.means(training.device)

    def _list_images(self, training: Training) -> Iterator["_Image"]:
        for piece in self._predict(training, list(self.groups.values())):
            maps, masks = piece.found.maps.float(), piece.batch.masks
            losses = [float(training.loss(*pair)) for pair in zip(maps.split(1), masks.split(1), strict=True)]
            finished = select_map(training, maps)
            for loss, found, mask in zip(losses, finished[:, 0], masks[:, 0], strict=True):
                yield _Image(images.quantize(found), images.quantize(mask), loss)

    def draw_panels(self, training: Training) -> Iterator[tuple[str, np.ndarray]]:
        """(group, picture) of this rank's groups with a panel, with the same images of a group every time."""
        names = [name for name in self.groups if name in self.shown]
        pieces = self._predict(training, [self.groups[name] for name in names])
        for group, of_group in groupby(pieces, key=lambda piece: piece.group):
            rows = self.groups[names[group]]
            places = np.linspace(0, len(rows) - 1, min(PANEL_IMAGES, len(rows))).round().astype(int)
            chosen = [piece.choose(rows[place] for place in places) for piece in of_group]
            found = join_predictions([prediction for some, prediction in chosen if some])
            table = self.loader.samples.take([row for some, _ in chosen for row in some])
            yield names[group], draw_panel(table, found, select_map(training, found.maps))

    @torch.no_grad()
    def _predict(self, training: Training, groups: Sequence[Sequence[int]]) -> Iterator["_Piece"]:
        """All four maps of whole groups of any size, piece by piece, by the weights to keep."""
        model: ICNet = training.best_model
        predictor = Predictor(model.eval(), GPU_BATCH if training.device.type == "cuda" else CPU_BATCH)
        divided = [[rows[at : at + MAX_IMAGES] for at in range(0, len(rows), MAX_IMAGES)] for rows in groups]
        order = [rows for pieces in divided for rows in pieces * (1 + predictor.looks * (len(pieces) > 1))]
        loaded = prefetch(self.loader.load_plain, order, self.threads)
        for group, pieces in enumerate(divided):
            with training.autocast():
                cues = None
                if len(pieces) > 1:
                    cues = predictor.gather_cues(partial(_load_pairs, loaded, len(pieces)))
            for rows in pieces:
                batch = next(loaded)
                with training.autocast():
                    found = predictor.predict(batch.images, batch.sisms, cues, every_map=True)
                yield _Piece(group, rows, batch, found)


def _load_pairs(loaded: Iterator[Batch], count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and SISMs of the next batches."""
    for batch in islice(loaded, count):
        yield batch.images, batch.sisms


@dataclass(frozen=True)
class _Piece:
    """A prediction for some rows of a group, given by its number."""

    group: int
    rows: Sequence[int]
    batch: Batch
    found: Prediction

    def choose(self, wanted: Iterable[int]) -> tuple[list[int], Prediction]:
        """Those of the wanted rows that are in this piece, and the prediction for them alone."""
        rows = [row for row in wanted if row in self.rows]
        places = [self.rows.index(row) for row in rows]
        csa = {stage: maps[places] for stage, maps in self.found.csa.items()}
        return rows, Prediction(self.found.maps[places], csa, self.found.weights[places])


def select_map(training: Training, maps: Tensor) -> Tensor:
    """The co-saliency map [n, 1, s, s] of all four maps [n, 4, s, s]."""
    model: ICNet = training.best_model
    return model.choose_map(maps)


def draw_panel(table: pa.Table, found: Prediction, maps: Tensor) -> np.ndarray:
    """A row per image: the image, its SISM, the CSA map of stage 5, the prediction and the mask."""
    rows = []
    for place, row in enumerate(table.to_pylist()):
        csa = found.csa.get(5)
        attention = None if csa is None else images.quantize(csa[place, 0].float())
        prediction = images.quantize(maps[place, 0].float())
        sism, mask = images.decode_gray(row["sism"]), images.decode_gray(row["mask"])
        rows.append([images.decode(row["image"]), sism, attention, prediction, mask])
    return pictures.draw_sheet(rows, COLUMNS, labels=[row["name"] for row in table.to_pylist()])


class _Image(NamedTuple):
    """A co-saliency map and its mask, uint8 [s, s], and the loss of all four maps."""

    map: Pixels
    mask: Pixels
    loss: float


def _score_image(image: _Image) -> np.ndarray:
    """1, the loss, and the scores: what _Sums adds up."""
    found = score_map(image.map, image.mask)
    return np.concatenate([[1.0, image.loss], found.numbers, found.curves.ravel()])


class _Sums:
    """Sums over images: their number, their loss, and the scores of `pipeline.metrics`."""

    def __init__(self) -> None:
        self.sums = np.zeros(2 + len(score.NUMBERS) + len(score.CURVES) * score.THRESHOLDS)

    def add(self, scored: np.ndarray) -> None:
        self.sums += scored

    def means(self, device: torch.device) -> dict[str, float]:
        sums = torch.tensor(self.sums, device=device)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        loss, *means = (sums[1:] / sums[0]).cpu().numpy()
        numbers, curves = np.split(np.array(means), [len(score.NUMBERS)])
        return {"loss": float(loss), **score.summarize(numbers, curves.reshape(len(score.CURVES), -1))}

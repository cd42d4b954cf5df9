"""Validation during training: whole groups, scores over all ranks, and a picture of each group."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
import torch
import torch.distributed
from torch import Tensor

from icnet import images
from icnet.inference import Predictor, join_predictions
from icnet.model import ICNet, Prediction
from icnet.training import Batch, Training
from pipeline import pictures
from pipeline.metrics import score
from pipeline.runtime.parallel import prefetch
from pipeline.train.dataset import BatchLoader
from pipeline.train.split import Groups

MAX_IMAGES = 64
"""Images of a group that are predicted in one pass; larger groups take two passes."""
CPU_BATCH, GPU_BATCH = 4, 32
"""Images that go through the network at once."""
PANEL_IMAGES = 5
"""Images of a group in its panel."""
COLUMNS = ("image", "SISM", "CSA map", "prediction", "mask")


class Validation:
    """One rank's share of the validation groups."""

    def __init__(self, groups: Groups, loader: BatchLoader, ranks: int, rank: int, threads: int) -> None:
        names = sorted(groups)
        self.groups = {name: groups[name] for name in names[rank::ranks]}
        self.loader, self.threads = loader, threads

    def score(self, training: Training) -> dict[str, float]:
        """`loss` (of all four maps, as in training) and the scores of `pipeline.metrics` over all ranks' images.

        Every rank calls this and gets the same numbers: those of rank 0's weights, which are the ones to be saved.
        """
        training.share_best_model()
        sums = _Sums(training.loss)
        for batch in self._load_groups():
            found = predict_group(training, batch)
            sums.add(found.maps.float().cpu(), select_map(training, found.maps).float().cpu(), batch.masks)
        return sums.means(training.device)

    def draw_panels(self, training: Training) -> Iterable[tuple[str, np.ndarray]]:
        """(group, picture) of this rank's groups, with the same images of a group every time."""
        for (group, rows), batch in zip(self.groups.items(), self._load_groups(), strict=True):
            shown = np.linspace(0, len(rows) - 1, min(PANEL_IMAGES, len(rows))).round().astype(int).tolist()
            table = self.loader.samples.take([rows[place] for place in shown])
            found = predict_group(training, batch)
            yield group, draw_panel(table, found, select_map(training, found.maps), shown)

    def _load_groups(self) -> Iterable[Batch]:
        return prefetch(self.loader.load_plain, self.groups.values(), self.threads)


@torch.no_grad()
def predict_group(training: Training, batch: Batch) -> Prediction:
    """All four maps of a whole group of any size, by the weights to keep."""
    model: ICNet = training.best_model
    predictor = Predictor(model.eval(), GPU_BATCH if training.device.type == "cuda" else CPU_BATCH)
    batch = batch.to(training.device)
    with training.autocast():
        if len(batch) <= MAX_IMAGES:
            return predictor.predict(batch.images, batch.sisms, every_map=True)
        pairs = list(zip(batch.images.split(MAX_IMAGES), batch.sisms.split(MAX_IMAGES), strict=True))
        cues = predictor.gather_cues(lambda: pairs)
        return join_predictions([predictor.predict(*pair, cues, every_map=True) for pair in pairs])


def select_map(training: Training, maps: Tensor) -> Tensor:
    """The co-saliency map [n, 1, s, s] of all four maps [n, 4, s, s]."""
    model: ICNet = training.best_model
    return model.choose_map(maps)


def draw_panel(table: pa.Table, found: Prediction, maps: Tensor, shown: Sequence[int]) -> np.ndarray:
    """A row per image: the image, its SISM, the CSA map of stage 5, the prediction and the mask."""
    rows = []
    for row, place in zip(table.to_pylist(), shown, strict=True):
        csa = found.csa.get(5)
        attention = None if csa is None else images.quantize(csa[place, 0].float())
        prediction = images.quantize(maps[place, 0].float())
        sism, mask = images.decode_gray(row["sism"]), images.decode_gray(row["mask"])
        rows.append([images.decode(row["image"]), sism, attention, prediction, mask])
    return pictures.draw_sheet(rows, COLUMNS, labels=[row["name"] for row in table.to_pylist()])


class _Sums:
    """Sums over images: their number, their loss, and the scores of `pipeline.metrics`."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.loss = loss
        self.sums = np.zeros(2 + len(score.NUMBERS) + len(score.CURVES) * score.THRESHOLDS)

    def add(self, maps: Tensor, final: Tensor, masks: Tensor) -> None:
        """Add images with maps [n, 4, s, s], final maps and masks [n, 1, s, s]."""
        for every, found, mask in zip(maps, final, masks, strict=True):
            one = score.score_map(images.quantize(found[0]), images.quantize(mask[0]))
            loss = float(self.loss(every[None], mask[None]))
            self.sums += np.concatenate([[1.0, loss], one.numbers, one.curves.ravel()])

    def means(self, device: torch.device) -> dict[str, float]:
        sums = torch.tensor(self.sums, device=device)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        loss, *means = (sums[1:] / sums[0]).cpu().numpy()
        numbers, curves = np.split(np.array(means), [len(score.NUMBERS)])
        return {"loss": float(loss), **score.summarize(numbers, curves.reshape(len(score.CURVES), -1))}

"""Validation of a model that trains: whole groups, the field's scores over all ranks, and a panel for each group."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import torch
import torch.distributed
from torch import Tensor

from icnet import images
from icnet.inference import Predictor, join_predictions
from icnet.loss import iou_loss
from icnet.model import ICNet, Prediction
from icnet.training import Batch, Training
from pipeline import pictures
from pipeline.metrics import score
from pipeline.runtime.parallel import prefetch
from pipeline.train.dataset import BatchLoader
from pipeline.train.split import Groups

MAX_IMAGES = 64
"""Images of a group that are predicted in one pass; larger groups take two."""
CPU_BATCH, GPU_BATCH = 4, 32
"""Images that go through the network at once."""
PANEL_IMAGES = 5
"""Images of a group in its panel."""
COLUMNS = ("image", "SISM", "CSA map", "prediction", "mask")


class Validation:
    """One rank's share of the validation groups."""

    def __init__(self, groups: Groups, loader: BatchLoader, ranks: int, rank: int, threads: int) -> None:
        names = sorted(groups)
        self.all, self.own = len(names), {name: groups[name] for name in names[rank::ranks]}
        self.loader, self.threads = loader, threads

    def scores(self, training: Training) -> dict[str, float]:
        """`loss` and METRICS over all ranks' images: every rank calls this, and every rank gets the same answer."""
        device, total = training.device, _Sums()
        for batch in self._batches():
            maps = predict_group(training, batch).maps.float().cpu()
            total.add(maps, batch.masks)
        return total.means(device)

    def panels(self, training: Training) -> Iterable[tuple[str, np.ndarray]]:
        """(group, panel) of this rank's groups: the same images of a group each time."""
        for (group, rows), batch in zip(self.own.items(), self._batches(), strict=True):
            shown = np.linspace(0, len(rows) - 1, min(PANEL_IMAGES, len(rows))).round().astype(int).tolist()
            table = self.loader.samples.take([rows[place] for place in shown])
            yield group, draw_panel(table, predict_group(training, batch), shown)

    def _batches(self) -> Iterable[Batch]:
        return prefetch(self.loader, self.own.values(), self.threads)


@torch.no_grad()
def predict_group(training: Training, batch: Batch) -> Prediction:
    """The co-saliency maps of a whole group, whatever its size, by the weights that are to be kept."""
    model: ICNet = training.best_model
    predictor = Predictor(model.eval(), GPU_BATCH if training.device.type == "cuda" else CPU_BATCH)
    batch = batch.to(training.device)
    with training.autocast():
        if len(batch) <= MAX_IMAGES:
            return predictor.predict(batch.images, batch.sisms)
        pairs = list(zip(batch.images.split(MAX_IMAGES), batch.sisms.split(MAX_IMAGES), strict=True))
        cues = predictor.gather_cues(lambda: pairs)
        return join_predictions([predictor.predict(*pair, cues) for pair in pairs])


def draw_panel(table: pa.Table, found: Prediction, shown: Sequence[int]) -> np.ndarray:
    """A row an image: the image, its SISM, the CSA map of stage 5, the prediction and the mask."""
    rows = []
    for row, place in zip(table.to_pylist(), shown, strict=True):
        csa = found.csa.get(5)
        attention = None if csa is None else images.quantize(csa[place, 0].float())
        prediction = images.quantize(found.maps[place, -1].float())
        sism, mask = images.decode_gray(row["sism"]), images.decode_gray(row["mask"])
        rows.append([images.decode(row["image"]), sism, attention, prediction, mask])
    return pictures.draw_sheet(rows, COLUMNS, labels=[row["name"] for row in table.to_pylist()])


class _Sums:
    """Sums over images: their number, their loss, and what `pipeline.scores` says of them."""

    def __init__(self) -> None:
        self.sums = np.zeros(2 + len(score.NUMBERS) + len(score.CURVES) * score.THRESHOLDS)

    def add(self, maps: Tensor, masks: Tensor) -> None:
        for found, mask in zip(maps, masks, strict=True):
            one = score.score_map(images.quantize(found[-1]), images.quantize(mask[0]))
            loss = float(iou_loss(found[None, -1:], mask[None]))
            self.sums += np.concatenate([[1.0, loss], one.numbers, one.curves.ravel()])

    def means(self, device: torch.device) -> dict[str, float]:
        sums = torch.tensor(self.sums, device=device)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        loss, *means = (sums[1:] / sums[0]).cpu().numpy()
        numbers, curves = np.split(np.array(means), [len(score.NUMBERS)])
        return {"loss": float(loss), **score.summarize(numbers, curves.reshape(len(score.CURVES), -1))}

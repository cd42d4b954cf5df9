"""The features of a frozen backbone, computed once for every training image."""

import numpy as np
import torch

from icnet.model import ICNet
from icnet.precision import PRECISIONS, resolve_precision
from pipeline.runtime.progress import Progress
from pipeline.train.dataset import BatchLoader
from pipeline.train.feature_files import StoredFeatures
from pipeline.train.job import TrainError

BATCH_SIZE = 16
"""Images whose features are computed at once."""


@torch.no_grad()
def compute_missing_features(
    stored: StoredFeatures, model: ICNet, loader: BatchLoader, device: torch.device, precision: str = "float32"
) -> None:
    """Compute the features that are not stored yet, file by file; a killed stage continues after the last whole file.

    `loader` loads the rows of `stored`; `precision` is that of the training.
    Raises TrainError where the backbone is not frozen.
    """
    if not model.backbone.frozen:
        raise TrainError(f"train.store_features: training changes the features of {model.config.backbone}")
    model.to(device).eval()
    dtype = PRECISIONS[resolve_precision(precision, device)]
    autocast = torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)
    missing = stored.list_missing()
    with Progress("features", len(stored.rows) * stored.views) as progress:
        progress.update(len(stored.rows) * stored.views - sum(len(rows) for _, _, rows in missing))
        for number, view, rows in missing:
            computed = []
            for start in range(0, len(rows), BATCH_SIZE):
                batch = loader.load_plain(rows[start : start + BATCH_SIZE], view)
                with autocast:
                    depths = model.compute_stored(batch.images.to(device))
                computed.append(torch.cat(depths, dim=1).permute(0, 2, 3, 1).cpu().numpy())
                progress.update(len(batch))
            stored.write(number, np.concatenate(computed))

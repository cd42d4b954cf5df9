"""The replicas that run the network."""

import asyncio
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from icnet import checkpoint, images
from icnet.photographs import CosaliencyModel, PhotographError
from pipeline.cli.models import find_model
from pipeline.serve.config import ServeConfig

Answer = tuple[list[bytes], list[float]]
"""Maps as PNG files and weights of the photographs of a request."""


class Network:
    """A model in memory. Requests are computed one after the other; while one is, the next are received."""

    def __init__(self, config: ServeConfig) -> None:
        torch.set_num_threads(max(1, int(config.num_cpus)))
        with tempfile.TemporaryDirectory(prefix="cosal-") as folder:
            found = find_model(config.model or str(checkpoint.WEIGHTS_FILE), Path(folder) / "model")
            network = checkpoint.load(found.weights)
            device = "cuda" if config.num_gpus else "cpu"
            self.model = CosaliencyModel(network, config.sism_method or found.sism_method, device=device)
            warm_up = images.encode(images.quantize(torch.rand(48, 64)))
            self.model.predict_group([warm_up])  # opens the file of the SOD method, which may be in `folder`
        self.thread = ThreadPoolExecutor(1)

    async def predict(self, files: Sequence[bytes]) -> Answer | str:
        """The maps of a group of image files, or the reason why one of them cannot be used."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._predict, files)

    def _predict(self, files: Sequence[bytes]) -> Answer | str:
        try:
            found = self.model.predict_group(list(files))
        except PhotographError as error:
            return str(error)
        return [images.encode(images.quantize(one)) for one in found.maps], found.weights.tolist()

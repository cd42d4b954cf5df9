"""What describes a photograph: the SIV of a network of this project, or the output of any network exported to ONNX.

Legend: n photographs, s px a side, d numbers of an embedding.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from icnet import images, sod
from icnet.correlation import Cues, l2_normalize, nmap
from icnet.images import Pixels
from icnet.inference import Predictor
from icnet.layers import resize
from icnet.sod import onnx
from icnet.sod.base import Spec, make_identity
from pipeline.runtime import devices
from pipeline.runtime.networks import load_network

Embed = Callable[[Sequence[Pixels], Sequence[Pixels]], NDArray[np.float16]]
"""Photographs, uint8 [s, s, 3], and their SISMs, uint8 [s, s], to embeddings of length 1, [n, d]."""

OUTPUT_VERSION = 1
"""Increase it when the same ONNX file gives other embeddings."""


def make_embedder(model: str, embedding: str | None, batch_size: int) -> Embed:
    """SIVs of the checkpoint `model`, or the outputs of the ONNX network that `embedding` specifies.

    Raises CheckpointError for a file that is no checkpoint, SodError for a network that cannot be run.
    """
    return SivEmbedder(model, batch_size) if embedding is None else OnnxEmbedder(embedding)


def resolve_embedding(embedding: str | None) -> str | None:
    """The same specification with an absolute path. Raises SodError if it is not `onnx:` and a file."""
    if embedding is None:
        return None
    if Spec.parse(embedding).kind != "onnx":
        raise sod.SodError(f"{embedding!r}: an embedding is `onnx:` and the file of a network")
    return sod.resolve_spec(embedding)


def identify_embedder(model: Path, embedding: str | None) -> str:
    """A string that changes when the embeddings may change. Raises SodError for a specification that is wrong."""
    if embedding is None:
        return hashlib.sha256(model.read_bytes()).hexdigest()
    spec = Spec.parse(embedding)
    return make_identity("onnx-embedding", OUTPUT_VERSION, spec.parse_options(onnx.Options), spec.require_file())


class SivEmbedder:
    """The SIVs of the foreground of all blocks, joined: they describe the salient object, not the scene."""

    def __init__(self, model: str, batch_size: int) -> None:
        self.device = devices.get_device()
        self.predictor = Predictor(load_network(model, torch.float32), batch_size)

    @torch.inference_mode()
    def __call__(self, photographs: Sequence[Pixels], sisms: Sequence[Pixels]) -> NDArray[np.float16]:
        """Embeddings [n, 3 c] of photographs of the network's size."""
        inputs = images.normalize(np.stack(photographs)).to(self.device)
        return join_sivs(self.predictor.intra_cues(inputs, images.scale_maps(np.stack(sisms)).to(self.device)))


class OnnxEmbedder:
    """An output of an ONNX network: a vector, or feature maps, which are pooled by the SISM as SIVs are (equation 1).

    `spec`: `onnx:file`, with the options of the SOD method of this name that say how the network is fed.
    """

    def __init__(self, spec: str) -> None:
        self.spec, self.network = spec, onnx.open_network(Spec.parse(spec), devices.get_device())

    def __call__(self, photographs: Sequence[Pixels], sisms: Sequence[Pixels]) -> NDArray[np.float16]:
        """Embeddings [n, d]. Raises SodError where an output is neither a vector nor feature maps, or not finite."""
        return np.concatenate([self._embed(*pair) for pair in zip(photographs, sisms, strict=True)])

    def _embed(self, photograph: Pixels, sism: Pixels) -> NDArray[np.float16]:
        found = torch.from_numpy(self.network.run([photograph])[0]).float()
        if found.ndim not in (2, 4) or len(found) != 1:
            raise sod.SodError(
                f"{self.spec!r}: output {self.network.output!r} of an image is {list(found.shape)},"
                " neither [1, d] nor [1, d, h, w]"
            )
        if not torch.isfinite(found).all():
            raise sod.SodError(f"{self.spec!r}: output {self.network.output!r} holds NaN or infinite values")
        if found.ndim == 4:
            found = nmap(found, resize(images.scale_maps(sism[None]), tuple(found.shape[2:])))
        return l2_normalize(found, dim=1).half().numpy()


def join_sivs(cues: Cues) -> NDArray[np.float16]:
    """The SIVs of the foreground of all blocks, [n, 3 c], of length 1: equal parts of each block."""
    sivs = torch.cat([block[:, 0].float() for block in cues.sivs], dim=1)
    return l2_normalize(sivs, dim=1).half().cpu().numpy()

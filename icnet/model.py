"""ICNet: Figure 2 from top to bottom. Legend: n images, m SIVs of their group, c channels, h x w cells, s px a side."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet import correlation
from icnet.backbones.vgg16 import TOP, VGG16
from icnet.config import Config
from icnet.correlation import Cues
from icnet.cosaliency import CosaliencyBlock
from icnet.decoder import Decoder
from icnet.initialization import fill_local_orthogonal
from icnet.layers import ConvNorm, Residual, disable_autocast, resize, scale_channels

STAGES = (4, 5, 6)
"""The stages of the backbone that have a co-saliency block."""
COMPRESSED_CHANNELS = 256
"""Channels that stages 4 and 5 are compressed to before their blocks."""
ENHANCED_CHANNELS = 128
"""Channels of the co-saliency features."""
DECODER_CHANNELS = 32
"""Channels in the decoder."""


Members = list[tuple[int, Cues]]
"""How many of some images, one after the other, belong to each group, and the group's cues."""


@dataclass(frozen=True)
class Prediction:
    """What the network says of n images of a group of m."""

    maps: Tensor
    """Co-saliency maps in [0, 1], [n, k, s, s]: one as `Config.output` says, or all four from coarse to fine."""
    csa: dict[int, Tensor]
    """Foreground CSA maps in [0, 1] by stage, [n, 1, h, w]; empty without the CFM."""
    weights: Tensor
    """How much each SIV weighs in the foreground CSA maps, mean over the stages, [n, m]; rows sum to 1."""


@dataclass(frozen=True)
class Features:
    """What the rest of the network needs of n images."""

    high: list[Tensor]
    """l2-normalized features of stages 4, 5, 6, [n, c, h, w]."""
    low: list[Tensor]
    """Compressed features of stages 3, 2, 1; empty where only the intra cues are wanted."""


class ICNet(nn.Module):
    """The network; `chunk` is how many images go through it at once in evaluation, whatever the group's size."""

    def __init__(self, config: Config = Config(), chunk: int = 4) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.config, self.chunk, self.compiled = config, chunk, False
        out, decoded, compressed = (
            scale_channels(c, config.width) for c in (ENHANCED_CHANNELS, DECODER_CHANNELS, COMPRESSED_CHANNELS)
        )
        self.backbone = VGG16(config.width)
        first, second, third, fourth, fifth = self.backbone.channels
        self.compress = nn.ModuleDict({"4": nn.Conv2d(fourth, compressed, 1), "5": nn.Conv2d(fifth, compressed, 1)})
        channels = {4: compressed, 5: compressed, 6: scale_channels(TOP, config.width)}
        self.blocks = nn.ModuleDict(
            {str(stage): CosaliencyBlock(channels[stage], side, out, config) for stage, side in config.sides().items()}
        )
        self.fuse56 = Residual(out)
        self.fuse45 = nn.Sequential(Residual(out), nn.Conv2d(out, decoded, 1))
        self.decoder = Decoder([third, second, first], decoded)
        self._initialize()

    def forward(
        self, images: Float[Tensor, "n 3 s s"], sisms: Float[Tensor, "n 1 s s"], cues: Cues | None = None
    ) -> Float[Tensor, "n k s s"]:
        """Co-saliency maps in [0, 1] of a group, or of members of the group that `cues` describes.

        One map an image in evaluation, four from coarse to fine in training.
        """
        return self.predict(images, sisms, cues, every_map=self.training).maps

    def predict(
        self,
        images: Float[Tensor, "n 3 s s"],
        sisms: Float[Tensor, "n 1 s s"],
        cues: Cues | None = None,
        every_map: bool = False,
    ) -> Prediction:
        """As `forward`, with the CSA maps and weights that led there, and one map or `every_map` of four."""
        return self.predict_groups(images, sisms, [len(images)], None if cues is None else [cues], every_map)[0]

    def predict_groups(
        self,
        images: Float[Tensor, "n 3 s s"],
        sisms: Float[Tensor, "n 1 s s"],
        sizes: Sequence[int],
        cues: Sequence[Cues] | None = None,
        every_map: bool = False,
    ) -> list[Prediction]:
        """`predict` of several groups in one pass: the first sizes[0] images are the first group, and so on."""
        sisms = self._seen(sisms)
        parts = [self._encode(part, low=True) for part in self._chunks(images)]
        if cues is None:
            own = Cues.merge([self._cues(*pair) for pair in zip(parts, self._chunks(sisms), strict=True)])
            cues = own.split(sizes)
        decoded, start = [], 0
        for part, maps in zip(parts, self._chunks(sisms), strict=True):
            decoded.append(self._decode(part, maps, _split_by_group(sizes, cues, start, start + len(maps)), every_map))
            start += len(maps)
        return _join_predictions(decoded, sizes)

    def intra_cues(self, images: Float[Tensor, "n 3 s s"], sisms: Float[Tensor, "n 1 s s"]) -> Cues:
        """The SIVs of these images; those of a group's parts, merged, are the group's."""
        pairs = zip(self._chunks(images), self._chunks(self._seen(sisms)), strict=True)
        return Cues.merge([self._cues(self._encode(part, low=False), maps) for part, maps in pairs])

    def csa(
        self,
        images: Float[Tensor, "n 3 s s"],
        sisms: Float[Tensor, "n 1 s s"],
        cues: Cues | None = None,
        stage: int = 5,
    ) -> Float[Tensor, "n 1 h w"]:
        """The foreground CSA maps of one stage in [0, 1]. Raises KeyError where the network has no CFM."""
        return self.predict(images, sisms, cues).csa[stage]

    def part(self, name: str) -> nn.Module:
        """One of the network's parts by name (`backbone`, `compress` ...), or a stage of VGG-16: conv1 to conv5.

        Raises KeyError where there is none of that name.
        """
        return (dict(self.named_children()) | self.backbone.stages())[name]

    def for_inference(self, dtype: torch.dtype = torch.float32) -> "ICNet":
        """A copy that predicts faster: batch norms folded, channels last, convolutions in `dtype` (e.g. bfloat16).

        Correlations, softmax, min-max and sort stay in float32. It can be neither trained nor saved.
        """
        fast = copy.deepcopy(self).eval().requires_grad_(False)
        for module in list(fast.modules()):
            if isinstance(module, ConvNorm):
                module.fold()
        for module in fast.modules():
            if isinstance(module, nn.Conv2d):
                module.to(dtype, memory_format=torch.channels_last)
        return fast

    def compile(self, **options: Any) -> None:
        """Compile backbone and decoder, in place, once for every number of images; `options` are torch.compile's."""
        self.backbone.compile(**options)
        self.decoder.compile(**options)
        self.compiled = True

    def _encode(self, images: Float[Tensor, "n 3 s s"], low: bool) -> Features:
        dtype = self.decoder.head.weight.dtype
        seen = images.to(dtype, memory_format=torch.channels_last)
        *below, fourth, fifth, sixth = (part[: len(images)] for part in self.backbone(self._batch(seen)))
        high = [self.compress["4"](fourth), self.compress["5"](fifth), sixth]
        with disable_autocast(images):
            units = [
                correlation.l2_normalize(part.to(torch.promote_types(dtype, torch.float32)), dim=1) for part in high
            ]
        return Features(units, self.decoder.compressed(list(below)[::-1]) if low else [])

    def _cues(self, features: Features, sisms: Float[Tensor, "n 1 s s"]) -> Cues:
        blocks = []
        with disable_autocast(sisms):
            for part in features.high:
                masks = [resize(side.to(part.dtype), part.shape[2:]) for side in (sisms, self._opposite(sisms))]
                blocks.append(torch.stack([correlation.nmap(part, side) for side in masks], dim=1))
        return Cues(tuple(blocks))

    def _enhance(self, features: Features, groups: Members) -> tuple[dict[int, Tensor], Tensor, list[Tensor]]:
        """Foreground CSA maps by stage, the fused features of stage 4, and each group's SIVs' weights."""
        enhanced, csa, weights = [], {}, []
        for block, (stage, part) in enumerate(zip(STAGES, features.high, strict=True)):
            sivs = [(count, cues.sivs[block].to(part.dtype)) for count, cues in groups]
            better, maps, shares = self.blocks[str(stage)](part, sivs)
            enhanced.append(better)
            weights.append(shares)
            if maps is not None:
                csa[stage] = maps
        fourth, fifth, sixth = enhanced
        fused = self.fuse56(fifth + resize(sixth, fifth.shape[2:]))
        fused = self.fuse45(fourth + resize(fused, fourth.shape[2:]))
        return csa, fused, [torch.stack(of_stages).mean(dim=0) for of_stages in zip(*weights, strict=True)]

    def _decode(
        self, features: Features, sisms: Float[Tensor, "n 1 s s"], groups: Members, every_map: bool
    ) -> list[Prediction]:
        """A prediction for each group's images among these."""
        csa, fused, weights = self._enhance(features, groups)
        averaged = self.config.output == "mean" and not every_map
        low = [*map(self._batch, features.low)]
        found = self.decoder(self._batch(fused), low, self._batch(sisms), every_map or averaged)
        maps = torch.cat([resize(part[: len(sisms)], sisms.shape[2:]) for part in found], dim=1)
        if averaged:
            maps = maps.mean(dim=1, keepdim=True)
        counts = [count for count, _ in groups]
        split = {stage: part.split(counts) for stage, part in csa.items()}
        return [
            Prediction(found, {stage: of_groups[number] for stage, of_groups in split.items()}, shares)
            for number, (found, shares) in enumerate(zip(maps.split(counts), weights, strict=True))
        ]

    def _seen(self, sisms: Float[Tensor, "n 1 s s"]) -> Float[Tensor, "n 1 s s"]:
        return sisms if self.config.sisms else torch.ones_like(sisms)

    def _opposite(self, masks: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
        return 1 - masks if self.config.sisms else masks

    def _chunks(self, batch: Tensor) -> tuple[Tensor, ...]:
        return (batch,) if self.training else batch.tensor_split(-(-len(batch) // self.chunk))

    def _batch(self, part: Tensor) -> Tensor:
        """For compiled parts: two images at least, and their number left open, so that one compilation serves all."""
        if self.compiled:
            if len(part) == 1:
                part = torch.cat([part, part])
            elif torch.is_inference_mode_enabled() and not part.is_inference():
                part = part.clone()
            torch._dynamo.maybe_mark_dynamic(part, 0)
        return part

    def _initialize(self) -> None:
        spread = {"program": 0.01, "paper": 0.1}.get(self.config.init)
        backbone = set(self.backbone.vgg.modules())
        for module in self.modules():
            if not isinstance(module, nn.Conv2d):
                continue
            nn.init.zeros_(module.bias)
            if module in backbone and self.config.init == "delta":
                fill_local_orthogonal(module.weight)
            elif spread is None or module in backbone:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.normal_(module.weight, std=spread)


def _split_by_group(sizes: Sequence[int], cues: Sequence[Cues], start: int, stop: int) -> Members:
    """The groups that images `start` to `stop` belong to, and how many of these images are theirs."""
    ends = list(accumulate(sizes))
    counts = [min(stop, end) - max(start, end - size) for size, end in zip(sizes, ends, strict=True)]
    return [(count, of_group) for count, of_group in zip(counts, cues, strict=True) if count > 0]


def _join_predictions(parts: list[list[Prediction]], sizes: Sequence[int]) -> list[Prediction]:
    """A prediction for each group, from those of its images in one chunk after another."""
    found, left = iter([one for part in parts for one in part]), []
    for size in sizes:
        pieces = []
        while sum(len(piece.maps) for piece in pieces) < size:
            pieces.append(next(found))
        csa = {stage: torch.cat([piece.csa[stage] for piece in pieces]) for stage in pieces[0].csa}
        maps = torch.cat([piece.maps for piece in pieces])
        left.append(Prediction(maps, csa, torch.cat([piece.weights for piece in pieces])))
    return left

"""ICNet: Figure 2 from top to bottom, for one group or several in a batch.

Legend: n images, m SIVs of their group, c channels, h x w cells, s px a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from icnet import correlation
from icnet.backbones import Backbone, make_backbone
from icnet.config import Config
from icnet.correlation import Cues
from icnet.cosaliency import CosaliencyBlock
from icnet.decoder import Decoder
from icnet.initialization import fill_identity, initialize_weights
from icnet.layers import Residual, disable_autocast, resize, sharpen
from icnet.object_maps import ObjectMaps

STAGES = (4, 5, 6)
"""The stages that have a co-saliency block: the three depths of the backbone."""
Members = list[tuple[int, Cues]]
"""For each group in a batch, in order: how many of the images belong to it, and the cues of the whole group."""


@dataclass(frozen=True)
class Prediction:
    """The network's output for n images of a group that has m SIVs."""

    maps: Tensor
    """Co-saliency maps in [0, 1], [n, k, s, s]: the one that `Config.output` names, or all four, coarse to fine."""
    csa: dict[int, Tensor]
    """CSA maps of the foreground in [0, 1] by stage, [n, 1, h, w]; empty without the CFM."""
    weights: Tensor
    """Weights of the SIVs in these CSA maps, averaged over the stages, [n, m]; rows sum to 1."""


@dataclass(frozen=True)
class Features:
    """Features of n images: all that the network needs besides their SISMs."""

    high: list[Tensor]
    """l2-normalized features of stages 4, 5, 6, [n, c, h, w]."""
    low: list[Tensor]
    """Compressed features for the decoder, coarse to fine; empty where only cues are wanted."""


class ICNet(nn.Module):
    """The network of a config. `icnet.inference` runs it on many groups in little memory."""

    def __init__(self, config: Config = Config()) -> None:  # noqa: B008 (frozen)
        super().__init__()
        self.config, self.compiled, self.channels_last = config, False, True
        self.backbone: Backbone = make_backbone(config)
        out = self.backbone.enhanced_channels
        channels = dict(zip(map(str, STAGES), self.backbone.channels, strict=True))
        compressed = self.backbone.compressed
        self.compress = nn.ModuleDict({key: nn.Conv2d(channels[key], to, 1) for key, to in compressed.items()})
        self.blocks = nn.ModuleDict()
        for (key, given), side in zip(channels.items(), self.backbone.sides, strict=True):
            self.blocks[key] = CosaliencyBlock(compressed.get(key, given), side, out, config)
        if config.object_maps:
            sizes = [compressed.get(key, count) for key, count in channels.items()]
            self.object_maps = ObjectMaps(sizes, config.object_maps, out)
        decoded = self.backbone.decoder_channels
        self.fuse56 = Residual(out)
        self.fuse45 = nn.Sequential(Residual(out), nn.Conv2d(out, decoded[0], 1))
        widened = self.backbone.widened_channels
        self.decoder = Decoder(self.backbone.low_channels, decoded, widened, config.residual_maps)
        initialize_weights(self, self.backbone.pretrained, config.init)
        if self.backbone.frozen:
            fill_identity(self.compress.requires_grad_(False))

    def forward(
        self,
        images: Float[Tensor, "n 3 s s"],
        sisms: Float[Tensor, "n 1 s s"],
        cues: Cues | None = None,
        stored: Sequence[Tensor] | None = None,
        pooled: Float[Tensor, "n 1 _ _"] | None = None,
        sizes: Sequence[int] | None = None,
    ) -> Float[Tensor, "n k h w"]:
        """Co-saliency maps in [0, 1] of a whole group, or of some images of the group that `cues` belong to.

        In evaluation mode one map an image, [n, 1, s, s], after all looks. In training mode the four maps of a single
        look, coarse to fine, at the size of the finest one, which is s or a half of it. Its SIVs are then pooled from
        `pooled` where it is given (masks, or `find_coarse_maps` for the training of later looks), otherwise from the
        SISMs. `stored`: what `compute_stored` gave for these images, to save time. `sizes`: in training, how many of
        the images belong to each of several groups.
        """
        features = self.encode(images) if stored is None else self.restore(stored, images)
        if not self.training:
            return self.predict_features(features, sisms, cues).maps
        own = self.pool_cues(features, sisms) if pooled is None else self.pool_from_maps(features, pooled, 1 - pooled)
        counts = [images.shape[0]] if sizes is None else list(sizes)
        groups = list(zip(counts, own.split(counts), strict=True))
        _, fused, _ = self.enhance(features, groups, self._pool_own_cues(features, sisms))
        maps = self._run_decoder(fused, features, sisms, every_map=True)
        return torch.cat([resize(part, maps[-1].shape[2:]) for part in maps], dim=1)

    def predict(
        self,
        images: Float[Tensor, "n 3 s s"],
        sisms: Float[Tensor, "n 1 s s"],
        cues: Cues | None = None,
        every_map: bool = False,
    ) -> Prediction:
        """Co-saliency maps after all looks, with CSA maps and weights; with `every_map` all four maps an image.

        `cues`: those of the last look, for some images of a large group (`icnet.inference` gathers them).
        """
        return self.predict_features(self.encode(images), sisms, cues, every_map)

    def predict_features(
        self,
        features: Features,
        sisms: Float[Tensor, "n 1 s s"],
        cues: Cues | None = None,
        every_map: bool = False,
    ) -> Prediction:
        """As `predict`, of features that are known."""
        if cues is None:
            cues = self.pool_cues(features, sisms)
            for _ in range(self.config.looks - 1):
                cues = self.pool_again(features, sisms, [(sisms.shape[0], cues)])
        return self.decode(features, sisms, [(sisms.shape[0], cues)], every_map)[0]

    def encode(self, images: Float[Tensor, "n 3 s s"], low: bool = True) -> Features:
        """Features of images; `low`: whether the decoder will need them."""
        dtype = self.decoder.head.weight.dtype
        levels = self.backbone(self._open_batch(images.to(dtype, memory_format=self._memory_format)), low)
        units = []
        for stage, features in zip(STAGES, levels.high, strict=True):
            found = features[: images.shape[0]]
            if str(stage) in self.compress:
                found = self.compress[str(stage)](found)
            with disable_autocast(images):
                units.append(correlation.l2_normalize(found.to(torch.promote_types(dtype, torch.float32)), dim=1))
        return Features(units, self.decoder.compress([part[: images.shape[0]] for part in levels.low]) if low else [])

    def compute_stored(self, images: Float[Tensor, "n 3 s s"]) -> list[Float[Tensor, "n c h w"]]:
        """The frozen part of the features, in half precision: it can be stored instead of being computed again.

        Raises ValueError where the backbone is not frozen.
        """
        if not self.backbone.frozen:
            raise ValueError(f"features of {self.config.backbone} cannot be stored: training changes them")
        return [part.half() for part in self.encode(images, low=False).high]

    def restore(self, stored: Sequence[Tensor], images: Float[Tensor, "n 3 s s"]) -> Features:
        """Features of images from what `compute_stored` gave for them."""
        weight = self.decoder.head.weight
        high = [part.to(weight.device, torch.promote_types(weight.dtype, torch.float32)) for part in stored]
        low = self.backbone.build_low(images.to(weight.dtype, memory_format=self._memory_format))
        return Features(high, self.decoder.compress(low))

    def pool_cues(self, features: Features, sisms: Float[Tensor, "n 1 s s"]) -> Cues:
        """The cues of the first look: SIVs pooled from the SISMs, or for Table 2 from maps of ones."""
        if self.config.sisms:
            return self.pool_from_maps(features, sisms, 1 - sisms)
        ones = torch.ones_like(sisms)
        return self.pool_from_maps(features, ones, ones)

    def pool_again(self, features: Features, sisms: Float[Tensor, "n 1 s s"], groups: Members) -> Cues:
        """The cues of the next look, from those of the look before: SIVs pooled from its coarsest maps."""
        maps = self.find_coarse_maps(features, sisms, groups)
        return self.pool_from_maps(features, maps, 1 - maps)

    def pool_from_maps(
        self, features: Features, foreground: Float[Tensor, "n 1 _ _"], background: Float[Tensor, "n 1 _ _"]
    ) -> Cues:
        """SIVs of the foreground and the background, pooled from maps in [0, 1] (equation 1)."""
        blocks = []
        with disable_autocast(foreground):
            for part in features.high:
                masks = [resize(side.to(part.dtype), part.shape[2:]) for side in (foreground, background)]
                blocks.append(torch.stack([correlation.nmap(part, side) for side in masks], dim=1))
        return Cues(tuple(blocks))

    def find_coarse_maps(
        self, features: Features, sisms: Float[Tensor, "n 1 s s"], groups: Members
    ) -> Float[Tensor, "n 1 h w"]:
        """The coarsest co-saliency maps, in [0, 1]: cheap, as they need nothing of the decoder's finer stages."""
        _, fused, _ = self.enhance(features, groups, self._pool_own_cues(features, sisms))
        return self.decoder.predict_coarsest(fused)

    def enhance(
        self, features: Features, groups: Members, own: Cues | None = None
    ) -> tuple[dict[int, Tensor], Tensor, list[Tensor]]:
        """CSA maps by stage, the fused co-saliency features, and for each group the weights of its SIVs.

        `own`: the cues of these images alone, for `Config.similarity_maps`.
        """
        enhanced, csa, weights = [], {}, []
        for block, (stage, part) in enumerate(zip(STAGES, features.high, strict=True)):
            sivs = [(count, cues.sivs[block].to(part.dtype)) for count, cues in groups]
            found, maps, shares = self.blocks[str(stage)](part, sivs, None if own is None else own.sivs[block])
            enhanced.append(found)
            weights.append(shares)
            if maps is not None:
                csa[stage] = maps
        fourth, fifth, sixth = enhanced
        joined = fifth + resize(sixth, fifth.shape[2:])
        if self.config.object_maps:
            joined = joined + self.object_maps(features.high, fifth.shape[2:])
        fused = self.fuse56(joined)
        fused = self.fuse45(fourth + resize(fused, fourth.shape[2:]))
        return csa, fused, [torch.stack(of_stages).mean(dim=0) for of_stages in zip(*weights, strict=True)]

    def decode(
        self, features: Features, sisms: Float[Tensor, "n 1 s s"], groups: Members, every_map: bool = False
    ) -> list[Prediction]:
        """A prediction for the images of each group."""
        csa, fused, weights = self.enhance(features, groups, self._pool_own_cues(features, sisms))
        found = self._run_decoder(fused, features, sisms, every_map or self.config.output == "mean")
        maps = torch.cat([resize(part, sisms.shape[2:]) for part in found], dim=1)
        if not every_map:
            maps = self.choose_map(maps)
        return _split_predictions(maps, csa, weights, [count for count, _ in groups])

    def _run_decoder(
        self, fused: Float[Tensor, "n c h w"], features: Features, sisms: Float[Tensor, "n 1 s s"], every_map: bool
    ) -> list[Tensor]:
        """Maps in [0, 1], each at the size of its level."""
        sisms = sisms if self.config.sisms else torch.ones_like(sisms)
        low = [self._open_batch(part) for part in features.low]
        found = self.decoder(self._open_batch(fused), low, self._open_batch(sisms), every_map)
        return [part[: sisms.shape[0]] for part in found]

    def choose_map(self, maps: Float[Tensor, "n k s s"]) -> Float[Tensor, "n 1 s s"]:
        """The co-saliency map of the decoder's maps, coarse to fine: what `Config.output` and `sharpness` say."""
        chosen = maps.mean(dim=1, keepdim=True) if self.config.output == "mean" else maps[:, -1:]
        return sharpen(chosen, self.config.sharpness)

    def part(self, name: str) -> nn.Module:
        """A part of the network by name: `backbone`, `compress` and the like, or a part of the backbone.

        Raises KeyError where there is none of that name.
        """
        return (dict(self.named_children()) | self.backbone.parts())[name]

    @property
    def _memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def _pool_own_cues(self, features: Features, sisms: Float[Tensor, "n 1 s s"]) -> Cues | None:
        return self.pool_cues(features, sisms) if self.config.similarity_maps else None

    def _open_batch(self, part: Tensor) -> Tensor:
        """For compiled parts: at least two images, of a number left open, so that one compilation serves all."""
        if self.compiled:
            if len(part) == 1:
                part = torch.cat([part, part])
            elif torch.is_inference_mode_enabled() and not part.is_inference():
                part = part.clone()
            torch._dynamo.maybe_mark_dynamic(part, 0)
        return part


def _split_predictions(
    maps: Tensor, csa: dict[int, Tensor], weights: Sequence[Tensor], counts: list[int]
) -> list[Prediction]:
    parts = {stage: torch.split(of_stage, counts) for stage, of_stage in csa.items()}
    return [
        Prediction(of_group, {stage: split[number] for stage, split in parts.items()}, shares)
        for number, (of_group, shares) in enumerate(zip(torch.split(maps, counts), weights, strict=True))
    ]

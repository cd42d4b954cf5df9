"""A plain vision transformer with LayerScale. Names of its parameters are those of DINOv2's official checkpoint.

Legend: n images, c channels of a token, h x w patches of 14 px, t = 1 + h * w tokens, the class token first.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from icnet.config import PATCH_SIZE

HEAD_CHANNELS = 64
NORM_EPSILON = 1e-6
INITIAL_SPREAD = 0.02
"""Standard deviation of random initial weights."""
PRETRAINED_SIDE = 37
"""Patches along a side of the position embeddings, which were trained at 518 px."""


class VisionTransformer(nn.Module):
    """The first `num_blocks` blocks of a vision transformer with `heads` attention heads of 64 channels."""

    def __init__(self, heads: int, num_blocks: int) -> None:
        super().__init__()
        self.channels = heads * HEAD_CHANNELS
        self.cls_token = nn.Parameter(INITIAL_SPREAD * torch.randn(1, 1, self.channels))
        self.pos_embed = nn.Parameter(INITIAL_SPREAD * torch.randn(1, 1 + PRETRAINED_SIDE**2, self.channels))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, self.channels, PATCH_SIZE, PATCH_SIZE)})
        self.blocks = nn.ModuleList(Block(heads, self.channels) for _ in range(num_blocks))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INITIAL_SPREAD)
                nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "n 3 _ _"], depths: Sequence[int]) -> list[Float[Tensor, "n c h w"]]:
        """Tokens of the patches after the blocks that `depths` number, from 1."""
        patches: Tensor = self.patch_embed["proj"](images)
        height, width = patches.shape[2:]
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + self.resize_positions(height, width)
        found = {}
        for depth, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if depth in depths:
                found[depth] = tokens[:, 1:].transpose(1, 2).unflatten(2, (height, width))
        return [found[depth] for depth in depths]

    def resize_positions(self, height: int, width: int) -> Float[Tensor, "1 t c"]:
        """Position embeddings for a grid of patches, resized bicubically."""
        first, grid = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = grid.transpose(1, 2).unflatten(2, (PRETRAINED_SIDE, PRETRAINED_SIDE))
        precise = grid.to(torch.promote_types(grid.dtype, torch.float32))
        resized = functional.interpolate(precise, size=(height, width), mode="bicubic", align_corners=False)
        return torch.cat([first, resized.to(grid.dtype).flatten(2).transpose(1, 2)], dim=1)


class Block(nn.Module):
    """Self-attention and a two-layer perceptron, each on normalized tokens, scaled and added."""

    def __init__(self, heads: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(channels, eps=NORM_EPSILON) for _ in range(2))
        self.attn = Attention(heads, channels)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(channels, 4 * channels), "fc2": nn.Linear(4 * channels, channels)})
        self.ls1, self.ls2 = LayerScale(channels), LayerScale(channels)

    def forward(self, tokens: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        """Tokens of the same shape."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        hidden = functional.gelu(self.mlp["fc1"](self.norm2(tokens)))
        found: Tensor = tokens + self.ls2(self.mlp["fc2"](hidden))
        return found


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, heads: int, channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        """Tokens of the same shape."""
        split = self.qkv(tokens).unflatten(2, (3, self.heads, HEAD_CHANNELS)).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind(0)
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class LayerScale(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, tokens: Float[Tensor, "n t c"]) -> Float[Tensor, "n t c"]:
        """Scaled tokens."""
        return tokens * self.gamma


HUGGINGFACE_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
    "encoder.layer.": "blocks.",
    ".attention.output.dense.": ".attn.proj.",
    ".layer_scale1.lambda1": ".ls1.gamma",
    ".layer_scale2.lambda1": ".ls2.gamma",
}
"""Parts of Hugging Face's names and of the official ones."""


def rename_huggingface(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state dict of Hugging Face's Dinov2Model with the official names; any other one stays as it is."""
    state = {key.removeprefix("dinov2."): tensor for key, tensor in state.items()}
    if "embeddings.cls_token" not in state:
        return state
    renamed = {}
    for key, tensor in state.items():
        if ".attention.attention.key." in key or ".attention.attention.value." in key:
            continue
        if ".attention.attention.query." in key:
            kinds = (key.replace(".query.", f".{kind}.") for kind in ("query", "key", "value"))
            tensor = torch.cat([state[name] for name in kinds if name in state])
            key = key.replace(".attention.attention.query.", ".attn.qkv.")
        for theirs, official in HUGGINGFACE_NAMES.items():
            key = key.replace(theirs, official)
        renamed[key] = tensor
    return renamed

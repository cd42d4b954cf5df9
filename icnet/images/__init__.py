"""Image files and arrays: decode, resize, encode, convert to network input."""

from icnet.images.arrays import (
    MEAN,
    STD,
    Pixels,
    encode,
    encode_image,
    normalize,
    quantize,
    resize,
    scale_maps,
)
from icnet.images.decode import FORMATS, decode, decode_gray, decode_mask, read_size
from icnet.images.errors import ImageError

__all__ = [
    "FORMATS",
    "MEAN",
    "STD",
    "ImageError",
    "Pixels",
    "decode",
    "decode_gray",
    "decode_mask",
    "encode",
    "encode_image",
    "normalize",
    "quantize",
    "read_size",
    "resize",
    "scale_maps",
]

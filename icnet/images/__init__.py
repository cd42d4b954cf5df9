"""Image files in and out: decoding, resizing, encoding, and arrays as network input."""

from icnet.images.arrays import MEAN, STD, encode, normalize, quantize, resize, scale_maps
from icnet.images.decode import FORMATS, decode, decode_gray, decode_mask, read_size
from icnet.images.errors import ImageError, describe_content, translate_errors

__all__ = [
    "FORMATS",
    "MEAN",
    "STD",
    "ImageError",
    "decode",
    "decode_gray",
    "decode_mask",
    "describe_content",
    "encode",
    "normalize",
    "quantize",
    "read_size",
    "resize",
    "scale_maps",
    "translate_errors",
]

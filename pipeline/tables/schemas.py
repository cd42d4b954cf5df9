"""The schemas of the tables that stages exchange; every row is addressed by (group, name)."""

import pyarrow as pa

KEY = [("group", pa.string()), ("name", pa.string())]

INDEX = pa.schema(
    [
        *KEY,
        *((name, pa.string()) for name in ("image", "mask", "void")),
        *((name, pa.string()) for name in ("image_digest", "mask_digest", "void_digest")),
        *((name, pa.int32()) for name in ("height", "width")),
        ("bytes", pa.int64()),
    ]
)
"""One row for each image. `image`, `mask`, `void`: paths below the root of the collection, null if there is none.
`image_digest`, `mask_digest`, `void_digest`: BLAKE2 of the bytes of each file; a stage that reads it again compares
them. `height`, `width`: px, upright. `bytes`: size of the image file."""

REJECTS = pa.schema([(name, pa.string()) for name in ("path", "group", "stage", "reason", "error")])
"""One row for each file that cannot be used: its path, the stage that rejected it, the reason in one sentence, and the
class of the exception."""

SAMPLES = pa.schema(
    [
        *KEY,
        *((name, pa.binary()) for name in ("image", "sism", "mask")),
        *((name, pa.int32()) for name in ("height", "width")),
        ("digest", pa.string()),
    ]
)
"""One row for each image. `image`: s x s RGB PNG. `sism`, `mask`: s x s gray PNG; mask null if there is none. `digest`:
`image_digest` of the index (images with equal digests are one photograph). `height`, `width`: px of the original."""

MAPS = pa.schema(
    [
        *KEY,
        ("map", pa.binary()),
        *((name, pa.float32()) for name in ("weight", "area", "agreement", "saliency")),
    ]
)
"""One row for each image. `map`: co-saliency map, gray PNG at the size of the original image. `weight`: mean weight of
this image's SIV in the CSA maps of its group, 1 = that of an average member. `area`: share of salient pixels, [0, 1].
`agreement`: intersection over union of map and SISM, both thresholded at 0.5. `saliency`: mean of the SISM, [0, 1]."""

EMBEDDINGS = pa.schema([*KEY, ("embedding", pa.list_(pa.float16())), ("hash", pa.int64())])
"""One row for each image. `embedding`: the SIVs of the foreground of the three blocks, joined, of length 1. `hash`:
difference hash of 64 bits; copies of an image differ in few of them."""

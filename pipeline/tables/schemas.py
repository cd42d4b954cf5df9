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
"""One image a row. `image`, `mask`, `void`: paths below the collection's root, null where there is none;
`image_digest`, `mask_digest`, `void_digest`: BLAKE2 of each file's bytes, so that a changed file changes its row and
is noticed by every stage that reads it again; `height`, `width` in px, upright; `bytes`: size of the image file."""

REJECTS = pa.schema([(name, pa.string()) for name in ("path", "group", "stage", "reason", "error")])
"""One bad file a row: where it is, which stage refused it, one sentence why, the exception's class."""

SAMPLES = pa.schema(
    [
        *KEY,
        *((name, pa.binary()) for name in ("image", "sism", "mask")),
        *((name, pa.int32()) for name in ("height", "width")),
        ("digest", pa.string()),
    ]
)
"""One image a row. `image`: s x s RGB PNG; `sism`, `mask`: s x s gray PNG, mask null where there is none;
`digest`: the index's `image_digest` (equal digests are one photograph)."""

MAPS = pa.schema(
    [
        *KEY,
        ("map", pa.binary()),
        *((name, pa.float32()) for name in ("weight", "area", "agreement", "saliency")),
    ]
)
"""One image a row. `map`: co-saliency map, gray PNG at the image's original size; `weight`: how much the CSA maps of
its group lean on this image's SIV, 1 = as much as on an average member of the group; `area`: share of salient pixels;
`agreement`: intersection over union of the map and the SISM, both cut at one half; `saliency`: mean of its SISM."""

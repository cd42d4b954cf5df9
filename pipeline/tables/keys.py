"""Keys: one rule for what is up to date.

A key names everything that decides the bytes of an output:

    key = (OUTPUT_VERSION of the stage, inputs, params that matter)

- `OUTPUT_VERSION` is a number in the code of the stage. Raise it when the same inputs and params give other bytes from
  now on. The tests of the stage compare its output with a stored one, so a forgotten change fails there.
- Inputs are rows of the table before (with the digests of the files they name), the digest of a model, and so on.
- Params that matter are those that can change a byte. The number of workers cannot; the batch size can (rounding).

A shard with the same key is kept, one with another key is made again. DVC decides whether a stage runs at all: it runs
when a file of its code, an input or a param has changed. A stage that runs without need keeps all shards and ends soon.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def fingerprint(*parts: Any) -> str:
    """A digest (32 hex digits) of whatever JSON can hold: equal parts have equal digests."""
    return hashlib.blake2b(_to_json(parts).encode(), digest_size=16).hexdigest()


def fingerprint_rows(batches: Iterable[list[Any]]) -> str:
    """`fingerprint` of one long list that comes in batches."""
    digest, separator = hashlib.blake2b(b"[[", digest_size=16), ""
    for batch in batches:
        if batch:
            digest.update((separator + _to_json(batch)[1:-1]).encode())
            separator = ", "
    digest.update(b"]]")
    return digest.hexdigest()


def _to_json(content: Any) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)


def make_key(stage: str, output_version: int, inputs: Any, params: Any) -> str:
    """The key of an output of a stage."""
    return fingerprint(stage, output_version, inputs, params)

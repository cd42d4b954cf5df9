"""Keys: short names of everything that decides an output."""

import hashlib
import json
from typing import Any


def fingerprint(*parts: Any) -> str:
    """A short name of whatever JSON can hold: equal parts, equal name."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

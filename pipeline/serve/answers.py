"""Answers with maps: a zip archive or JSON."""

import base64
import io
import json
import zipfile
from pathlib import PurePath

from fastapi import Response
from fastapi.responses import JSONResponse


def make_zip(names: list[str], maps: list[bytes], weights: list[float]) -> Response:
    """A zip archive of `<number>-<name>.png`, in the order of the photographs, and weights.json."""
    buffer, rows = io.BytesIO(), []
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number, (name, map_, weight) in enumerate(zip(names, maps, weights, strict=True)):
            member = f"{number:03d}-{PurePath(name.replace(chr(92), '/')).stem}.png"
            archive.writestr(member, map_)
            rows.append({"photograph": name, "map": member, "weight": weight})
        archive.writestr("weights.json", json.dumps(rows, indent=1))
    return Response(buffer.getvalue(), media_type="application/zip")


def make_json(names: list[str], maps: list[bytes], weights: list[float]) -> Response:
    """The photographs in their order, each with its map in base64 and its weight."""
    rows = [
        {"photograph": name, "map": base64.b64encode(map_).decode(), "weight": weight}
        for name, map_, weight in zip(names, maps, weights, strict=True)
    ]
    return JSONResponse({"photographs": rows})

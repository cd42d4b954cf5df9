"""Options of `cosal predict` that change the maps."""

import torch
from PIL import Image

from icnet import checkpoint
from icnet.config import Config
from icnet.model import ICNet
from pipeline import tables
from tests.helpers import photographs
from tests.helpers.cosal import predict


def test_refined_maps_follow_the_photographs_and_their_table_stays_as_it_is(model, tmp_path):
    photos = photographs.write(tmp_path / "photos", {"apple": 2}) / "images"
    for out, option in (("plain", "--no-refine"), ("refined", "--refine")):
        assert predict(photos, tmp_path / out, model, option).exit_code == 0
    plain, refined = (Image.open(tmp_path / out / "apple" / "0000.png") for out in ("plain", "refined"))
    assert plain.size == refined.size and plain.tobytes() != refined.tobytes()
    (table,) = (tmp_path / "refined" / ".cosal" / "groups").glob("*/maps")
    assert (
        tables.read_table(table, ["map"])["map"][0].as_py() == (tmp_path / "plain" / "apple" / "0000.png").read_bytes()
    )


def test_the_number_of_looks_changes_the_maps_and_is_in_the_command_of_the_page(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "model.safetensors"
    checkpoint.save(ICNet(Config(size=32, width=0.125, init="he", looks=2)), file)
    photos = photographs.write(tmp_path / "photos", {"apple": 3}) / "images"
    assert predict(photos, tmp_path / "twice", file).exit_code == 0
    assert predict(photos, tmp_path / "once", file, "--looks", "1").exit_code == 0
    twice, once = (tmp_path / out / "apple" / "0000.png" for out in ("twice", "once"))
    assert twice.read_bytes() != once.read_bytes()
    assert "--looks 1" in (tmp_path / "once" / "index.html").read_text()

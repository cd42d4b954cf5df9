"""Stage demo: the embedded collection is the same every time, whole, varied, and gives nothing away."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from icnet import images
from pipeline.demo.config import DemoConfig
from pipeline.demo.drawing import draw_scene
from pipeline.demo.formats import FORMATS
from pipeline.demo.scene import CATEGORIES, SPLITS, Scene, describe_scene
from pipeline.demo.stage import DemoError, plan_pictures, write_collection, write_picture

SMALL = DemoConfig(seed=3, categories=6, images=2, unseen_images=2)
FULL = DemoConfig()


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "demo"
    write_collection(out, SMALL)
    return out


@pytest.fixture(scope="module")
def scenes() -> dict[str, list[Scene]]:
    """Every scene of the full collection by split and group."""
    found = {}
    for picture in plan_pictures(FULL):
        place = (picture.split, picture.category, picture.number, FULL.categories)
        found.setdefault(f"{picture.split}/{picture.category.name}", []).append(describe_scene(FULL.seed, *place))
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def pairs(collection: Path) -> list[tuple[Path, Path]]:
    """Every image file and its mask's."""
    found = sorted(collection.glob("*/images/*/*"))
    return [(file, file.parents[2] / "masks" / file.parent.name / f"{file.stem}.png") for file in found]


def of_form(collection: Path, form: str, split: str) -> Path:
    """The image of a split that is stored in that form."""
    picture = next(one for one in plan_pictures(SMALL) if (one.format, one.split) == (form, split))
    return collection / split / "images" / picture.category.name / f"{picture.name}{FORMATS[form][0]}"


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(collection, tmp_path):
    write_collection(tmp_path / "again", SMALL)
    assert content(tmp_path / "again") == content(collection)
    for picture in plan_pictures(SMALL)[:3]:
        write_picture(picture, SMALL.model_copy(update={"seed": 4}), tmp_path / "other")
    other = content(tmp_path / "other")
    assert len(other) == 6
    assert not [name for name, data in other.items() if content(collection)[name] == data]


def test_any_picture_can_be_made_without_the_others(collection, tmp_path):
    write_picture(plan_pictures(SMALL)[9], SMALL, tmp_path)
    alone = content(tmp_path)
    assert len(alone) == 2
    assert alone.items() <= content(collection).items()


def test_a_collection_has_the_promised_groups(scenes):
    for split, groups, count in (("train", 32, 12), ("unseen", 6, 10)):
        sizes = [len(found) for name, found in scenes.items() if name.startswith(split)]
        assert len(sizes) == groups
        assert sorted(sizes) == [count] * (groups - 1) + [count + 1]  # the truncated one


def test_masks_fit_their_images_and_are_neither_empty_nor_full(collection):
    for image, mask in pairs(collection):
        shown = images.decode_gray(mask.read_bytes())
        assert set(np.unique(shown)) == {0, 255}
        assert 0.02 < (shown > 0).mean() < 0.3, image
        assert images.read_size(image.read_bytes()) == shown.shape
        assert min(shown.shape) >= 160 and max(shown.shape) <= 260


def test_the_splits_share_no_shape_and_no_texture():
    train, unseen = CATEGORIES["train"], CATEGORIES["unseen"]
    for kind in ("shape", "texture", "name"):
        assert not {getattr(one, kind) for one in train} & {getattr(one, kind) for one in unseen}
    assert len({one.name for one in train}) == len(train)


def test_only_its_own_category_is_common_to_a_group(scenes):
    for name, group in scenes.items():
        own = name.partition("/")[2]
        assert all(len(shown.toys) in (2, 3) and len(shown.categories) == len(shown.toys) for shown in group)
        assert all(shown.toys[shown.common].category.name == own for shown in group)
        others = [other for shown in group for other in shown.categories - {own}]
        assert max(others.count(other) for other in others) <= len(group) / 3, name


def test_in_a_single_image_nothing_tells_the_common_toy(scenes):
    every = [shown for group in scenes.values() for shown in group]
    own = [shown.toys[shown.common] for shown in every]
    rest = [toy for shown in every for toy in shown.toys if toy is not shown.toys[shown.common]]
    pairs_only = [shown for shown in every if len(shown.toys) == 2]
    on_top = np.mean([shown.common == 1 for shown in pairs_only])
    assert abs(on_top - 0.5) < 0.1
    for trait in ("radius", "saturation", "value", "stretch"):
        mine, theirs = (np.array([getattr(toy, trait) for toy in toys]) for toys in (own, rest))
        assert abs(mine.mean() - theirs.mean()) < 0.3 * theirs.std(), trait
    mine, theirs = (np.mean([np.hypot(toy.x - 0.5, toy.y - 0.5) for toy in toys]) for toys in (own, rest))
    assert abs(mine - theirs) < 0.02


def test_beside_unseen_toys_new_and_familiar_ones_are_equally_usual(scenes):
    familiar = {one.name for one in CATEGORIES["train"]}
    found = [
        toy.category.name in familiar
        for name, group in scenes.items()
        if name.startswith("unseen")
        for shown in group
        for toy in shown.toys
        if toy is not shown.toys[shown.common]
    ]
    assert 0.4 < np.mean(found) < 0.6


@pytest.mark.parametrize("split", SPLITS)
def test_both_splits_hold_every_promised_oddity(collection, split):
    with Image.open(of_form(collection, "gray", split)) as image:
        assert image.mode == "L"
    turned = of_form(collection, "turned", split)
    with Image.open(turned) as image:
        assert image.getexif()[0x0112] == 6
        assert images.read_size(turned.read_bytes()) == image.size
    assert of_form(collection, "deep", split).read_bytes()[24] == 16  # bit depth in the PNG header
    with Image.open(of_form(collection, "cmyk", split)) as image:
        assert image.mode == "CMYK"
    with Image.open(of_form(collection, "palette", split)) as image:
        assert image.mode == "P"
    with Image.open(of_form(collection, "animated", split)) as image:
        assert image.n_frames == 2


@pytest.mark.parametrize("split", SPLITS)
def test_one_file_of_a_split_is_truncated_and_the_others_decode(collection, split):
    broken = of_form(collection, "truncated", split)
    with pytest.raises(images.ImageError, match="truncated"):
        images.decode(broken.read_bytes())
    for image, _ in pairs(collection):
        if image.is_relative_to(collection / split) and image != broken:
            images.decode(image.read_bytes())


def test_oddly_stored_images_show_what_plain_ones_do(collection):
    for form in ("turned", "deep", "cmyk", "palette", "animated"):
        picture = next(one for one in plan_pictures(SMALL) if one.format == form)
        shown = describe_scene(SMALL.seed, picture.split, picture.category, picture.number, SMALL.categories)
        decoded = images.decode(of_form(collection, form, picture.split).read_bytes())
        expected = draw_scene(shown)[0]
        assert np.abs(decoded.astype(int) - expected).mean() < 12, form


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(DemoError, match=r"holiday\.jpg"):
        write_collection(tmp_path, SMALL)
    assert [file.name for file in tmp_path.iterdir()] == ["holiday.jpg"]


def test_the_command_replaces_an_older_collection_and_says_where_to_look(tmp_path):
    (tmp_path / "params.yaml").write_text("demo: {seed: 3, categories: 6, images: 2, unseen_images: 2}\n")
    (tmp_path / "toys" / "train" / "images" / "older").mkdir(parents=True)
    command = [sys.executable, "-m", "pipeline.demo", "toys"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "13 images of 6 categories in toys/train" in done.stdout
    assert not (tmp_path / "toys" / "train" / "images" / "older").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["params.yaml", "toys"]

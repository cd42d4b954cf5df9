"""Every file of a collection is indexed, rejected or named in the summary, whatever the layout of its folders."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import tables
from pipeline.index.config import IndexConfig
from pipeline.index.layouts import CollectionError, Dataset
from pipeline.index.listing import is_hidden
from pipeline.index.stage import index_collection, scan_collection
from tests.helpers import badfiles

ENCODED, MASK = badfiles.file(badfiles.photograph(), "JPEG"), badfiles.mask()

TOP = ("images", "masks", "void", "Images", "image", "groundtruth", "cats", "hats", ".git")
SECOND = ("cats", "dogs", "void", "masks", "images", "caf\u00e9", "cafe\u0301", "a.jpg", ".cache")
NAMES = ("0.jpg", "1.jpg", "1.png", "0_GT.png", "2.txt", "Thumbs.db", ".hidden", "no_suffix")

PATHS = st.one_of(
    st.tuples(st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(TOP), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(TOP), st.sampled_from(SECOND), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(TOP), st.sampled_from(SECOND), st.sampled_from(SECOND), st.sampled_from(NAMES)),
)

LAYOUTS = st.sampled_from(
    [
        "plain",
        "MSRC",
        {"images": "images", "masks": "masks"},
        {"images": ".", "masks": "masks"},
        {"images": "cats", "masks": "cats/masks"},
    ]
)


def write(root: Path, paths: list[tuple[str, ...]]) -> list[str]:
    """Write the files that do not need a file as a folder; returns their paths."""
    made = []
    for parts in paths:
        file = root.joinpath(*parts)
        if any(parent.is_file() for parent in file.parents) or file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(MASK if file.suffix == ".png" else b"text" if file.suffix == ".txt" else ENCODED)
        made.append("/".join(parts))
    return made


def covers(path: str, file: str) -> bool:
    return path == file or path == "." or file.startswith(f"{path}/")


def find_uncounted(root: Path, files: list[str], **dataset) -> list[str]:
    """The files that are neither indexed nor rejected nor named as excluded, unused or hidden."""
    found = scan_collection(root, Dataset(root=str(root), **dataset), IndexConfig(num_threads=1))
    rows = found.make_table().to_pylist()
    used = [row[kind] for row in rows for kind in ("image", "mask", "void") if row[kind]]
    assert len(set(used)) == len(used)
    paths = {*used, *(row["path"] for row in found.rejects), *found.unused}
    hidden = [file for file in files if any(map(is_hidden, file.split("/")))]
    assert bool(hidden) <= bool(found.hidden) or any(covers(path, file) for path in paths for file in hidden)
    return [file for file in files if file not in hidden and not any(covers(path, file) for path in paths)]


@settings(max_examples=150)
@given(st.lists(PATHS, min_size=1, max_size=14, unique=True), LAYOUTS)
def test_no_file_of_a_collection_is_lost(paths, layout):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "collection"
        root.mkdir()
        files = write(root, paths)
        try:
            assert find_uncounted(root, files, layout=layout) == []
        except CollectionError as error:
            assert "\n" not in str(error)  # the layout's folders are not there


def make(root: Path, **dataset) -> tuple[set[str], dict[str, str]]:
    """Paths of the indexed images, and reasons by rejected path."""
    out = root.parent / "out"
    index_collection(root, out, Dataset(root=str(root), **dataset), IndexConfig())
    rejects = tables.read_rejects(out).to_pylist()
    return set(tables.read_table(out)["image"].to_pylist()), {row["path"]: row["reason"] for row in rejects}


def collection(tmp_path: Path, *paths: str) -> Path:
    root = tmp_path / "collection"
    root.mkdir()
    assert len(write(root, [tuple(path.split("/")) for path in paths])) == len(paths)
    return root


def test_folders_and_files_beside_images_are_named_in_the_summary(tmp_path, capsys):
    root = collection(tmp_path, "images/ducks/0.jpg", "cats/0.jpg", "cats/1.jpg", "dogs/deep/0.jpg", "2.txt", "0.jpg")
    assert make(root) == ({"images/ducks/0.jpg"}, {})
    named = "cats (2 files), dogs (1 file), 0.jpg (1 file), 2.txt (1 file)"
    assert f"index: not part of the layout: {named}" in capsys.readouterr().out


def test_loose_files_beside_groups_are_rejected_by_name(tmp_path):
    images, rejects = make(collection(tmp_path, "images/ducks/0.jpg", "images/1.jpg"))
    assert images == {"images/ducks/0.jpg"}
    assert rejects == {"images/1.jpg": "is outside every group"}


@pytest.mark.parametrize("name", ["masks", "void"])
def test_groups_may_be_called_masks_and_void(tmp_path, name):
    root = collection(tmp_path, f"{name}/0.jpg", "hats/0.jpg", "hats/1.jpg")
    assert make(root) == ({f"{name}/0.jpg", "hats/0.jpg", "hats/1.jpg"}, {})


def test_masks_beside_groups_without_an_images_folder_are_found_by_group(tmp_path):
    root = collection(tmp_path, "cats/0.jpg", "hats/0.jpg", "masks/cats/0.png")
    images, rejects = make(root)
    assert images == {"cats/0.jpg", "hats/0.jpg"}
    assert rejects.keys() == {"hats/0.jpg"} and "has no mask" in rejects["hats/0.jpg"]


def test_the_summary_names_what_is_excluded_unused_and_hidden(tmp_path, capsys):
    root = collection(tmp_path, "image/cats/0.jpg", "image/trees/0.jpg", "image/trees/1.jpg", "bbox/cats/0.jpg", ".x")
    assert make(root, layout="msrc", exclude=["trees"]) == ({"image/cats/0.jpg"}, {})
    said = capsys.readouterr().out
    assert "index: excluded: trees (2 files)" in said
    assert "index: not part of the layout: bbox (1 file)" in said
    assert "index: ignored: 1 hidden or system files" in said


def test_a_second_spelling_of_a_mask_folder_is_rejected(tmp_path):
    root = collection(
        tmp_path, "images/caf\u00e9/0.jpg", "masks/caf\u00e9/0.png", "masks/cafe\u0301/0.png", "masks/cafe\u0301/1.png"
    )
    _, rejects = make(root)
    assert rejects == {"masks/cafe\u0301": "has the name of another folder: 'caf\u00e9' is used"}


def test_a_link_loop_among_the_groups_is_a_reject(tmp_path):
    root = collection(tmp_path, "images/cats/0.jpg", "masks/cats/0.png")
    (root / "images" / "loop").symlink_to("loop")
    (root / "masks" / "loop").symlink_to("loop")
    (root / "loop").symlink_to("loop")
    images, rejects = make(root)
    assert images == {"images/cats/0.jpg"}
    assert rejects.keys() == {"images/loop", "masks/loop"}
    assert all("is a link to nothing" in reason for reason in rejects.values())


@pytest.mark.parametrize("folder", ["images/cats", "masks/cats", "masks", "images"])
def test_a_folder_that_cannot_be_read_stops_the_stage_with_one_sentence(tmp_path, folder, monkeypatch):
    root = collection(tmp_path, "images/cats/0.jpg", "images/dogs/0.jpg", "masks/cats/0.png", "masks/dogs/0.png")
    real = os.scandir

    def scandir(path):
        if Path(path) == root / folder:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # tests may run as root, for whom nothing is unreadable
    with pytest.raises(CollectionError, match=rf"{folder} cannot be read: Permission denied") as caught:
        make(root)
    assert "\n" not in str(caught.value)


def test_long_names_and_groups_with_the_names_of_files_are_indexed(tmp_path):
    long = "n" * 251 + ".jpg"
    root = collection(
        tmp_path, "a/0.jpg", "a.jpg/0.jpg", "scores.csv/0.jpg", "rejects.csv/0.jpg", f"{'g' * 255}/{long}"
    )
    images, rejects = make(root)
    assert images == {"a/0.jpg", "a.jpg/0.jpg", "scores.csv/0.jpg", "rejects.csv/0.jpg", f"{'g' * 255}/{long}"}
    assert rejects == {}


def test_a_collection_without_any_usable_image_is_an_error_that_lists_what_is_wrong(tmp_path, capsys):
    root = collection(tmp_path, "cats/0.txt", "cats/1.txt")
    with pytest.raises(CollectionError, match="no usable image in"):
        make(root)
    assert "is not an image" in capsys.readouterr().out

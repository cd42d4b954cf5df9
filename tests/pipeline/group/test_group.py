"""Stage group and `cosal group`: photographs without groups in, a file of groups out."""

import csv
import shutil
from pathlib import Path

import pytest

from pipeline import tables
from pipeline.cli.output import OutputError
from pipeline.group.config import GroupConfig
from pipeline.group.embeddings import EmbeddingsJob, read_embeddings
from pipeline.group.stage import group_photographs
from pipeline.index.layouts import CollectionError
from pipeline.runtime.threads import ThreadExecutor, ThreadPool
from pipeline.sism.config import SismConfig
from pipeline.sism.samples import SamplesJob
from tests.helpers import checkpoints, cosal, photographs

SIDE = 64
PHOTOGRAPHS = Path(__file__).parents[3] / "docs" / "photographs"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Model, index and samples of a small collection."""
    folder = tmp_path_factory.mktemp("made")
    model = checkpoints.save_small(folder, SIDE)
    index = photographs.index(photographs.write(folder / "photographs", {"all": 17}), folder / "index")
    with ThreadPool(2) as pool:
        SamplesJob(index, folder / "samples", SismConfig(method="gc"), SIDE).run(ThreadExecutor(pool))
    return model, index, folder / "samples"


def embed(made, folder, threads=2, **options):
    model, _, samples = made
    config = GroupConfig(model=str(model), **{"shard_size": 6, "batch_size": 4, **options})
    with ThreadPool(threads) as pool:
        return EmbeddingsJob(samples, model, folder, config).run(ThreadExecutor(pool))


def test_embeddings_are_unit_vectors_and_the_same_for_any_shards_and_threads(made, tmp_path):
    embed(made, tmp_path / "one", threads=1)
    embed(made, tmp_path / "other", threads=3, shard_size=17)
    one, other = (read_embeddings(tmp_path / name) for name in ("one", "other"))
    assert len(one) == 17 and abs((one.vectors.astype(float) ** 2).sum(axis=1) - 1).max() < 1e-2
    assert (one.hashes == other.hashes).all() and one.keys.equals(other.keys)
    assert abs(one.vectors.astype(float) - other.vectors.astype(float)).max() < 2e-3


def test_the_stage_on_ray_makes_the_same_bytes_and_keeps_them(made, ray_session, tmp_path, capsys):
    model, index, samples = made
    embed(made, tmp_path / "threads")
    config = GroupConfig(model=str(model), shard_size=6, batch_size=4, num_actors=2)
    arguments = index, samples, tmp_path / "ray", tmp_path / "groups.csv", config
    group_photographs(*arguments)
    assert photographs.files(tmp_path / "ray") == photographs.files(tmp_path / "threads")
    assert "17 embeddings made" in capsys.readouterr().out
    before = (tmp_path / "groups.csv").read_bytes()
    (tmp_path / "ray" / "shard-000001.parquet").unlink()
    group_photographs(*arguments)
    assert "6 embeddings made" in capsys.readouterr().out
    assert (tmp_path / "groups.csv").read_bytes() == before
    names = {row["image"] for row in tables.read_table(index).to_pylist()}
    assert tables.read_grouping(tmp_path / "groups.csv").keys() == names


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Photographs of the documentation in one folder, in a random order of their names, and their true groups."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "photographs").mkdir()
    rows = []
    files = [file for group in ("hammer", "windmill") for file in sorted((PHOTOGRAPHS / group).iterdir())[:7]]
    for number, file in enumerate(sorted(files, key=lambda file: file.stem[::-1])):
        name = f"{number:03d}{file.suffix}"
        shutil.copy(file, folder / "photographs" / name)
        rows.append([name, file.parent.name])
    with (folder / "truth.csv").open("w", newline="") as content:
        csv.writer(content).writerows([["photo", "group"], *rows])
    return folder


def test_mixed_photographs_are_found_in_their_groups(mixed, tmp_path):
    truth = tables.read_grouping(mixed / "truth.csv")
    found = cosal.run("group", mixed / "photographs", tmp_path / "out", "--truth", mixed / "truth.csv", "--links")
    assert found.exit_code == 0 and "BCubed F" in found.output, found.output
    groups = tables.read_grouping(tmp_path / "out" / "groups.csv")
    assert groups.keys() == truth.keys()
    grouped = {photo: group for photo, group in groups.items() if group is not None}
    assert len(grouped) >= 0.6 * len(truth)
    for group in set(grouped.values()):
        members = [truth[photo] for photo in grouped if grouped[photo] == group]
        assert max(map(members.count, members)) >= 0.7 * len(members)
    links = list((tmp_path / "out" / "links").rglob("*.*"))
    assert len(links) == len(truth) and all(link.is_symlink() and link.is_file() for link in links)
    again = cosal.run("group", mixed / "photographs", tmp_path / "out", "--truth", mixed / "truth.csv", "--links")
    assert again.output.splitlines()[-1] == found.output.splitlines()[-1]


def test_maps_of_photographs_without_groups(mixed, tmp_path):
    photos = shutil.copytree(mixed / "photographs", tmp_path / "photographs")
    (photos / "broken.png").write_bytes(b"no image")
    made = cosal.run("predict", photos, tmp_path / "out", "--ungrouped", "--no-gallery")
    assert made.exit_code == 0, made.output
    groups = tables.read_grouping(tmp_path / "out" / "groups.csv")
    for photo, group in groups.items():
        assert group is None or (tmp_path / "out" / group / f"{Path(photo).stem}.png").is_file()
    rejects = (tmp_path / "out" / "rejects.csv").read_text()
    assert all((photo in rejects) == (group is None) for photo, group in groups.items())
    (broken,) = [line for line in rejects.splitlines() if "broken.png" in line]
    assert "groups.csv" not in broken and "image" in broken.partition("broken.png")[2]


def test_maps_of_groups_that_people_edited(mixed, tmp_path):
    photos = mixed / "photographs"
    names = sorted(file.name for file in photos.iterdir())[:3]
    (tmp_path / "mine.csv").write_text(f"photo,group\n{names[0]},first\n{names[1]},first\n{names[2]},second/half\n")
    made = cosal.run("predict", photos, tmp_path / "out", "--groups", tmp_path / "mine.csv", "--no-gallery")
    assert made.exit_code == 0, made.output
    found = sorted(file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("0*.png"))
    assert found == ["first/000.png", "first/001.png", "second/half/002.png"]
    assert "is not in mine.csv" in (tmp_path / "out" / "rejects.csv").read_text()


def group_by_small_model(made, photos, out, *more):
    return cosal.run("group", photos, out, "--model", made[0], "--sism", "gc", *more)


def test_a_file_that_cannot_be_used_is_listed_and_the_rest_goes_on(made, tmp_path):
    photos = photographs.write(tmp_path / "photographs", {"all": 6}) / "images"
    (photos / "all" / "0002.png").write_bytes(b"no image")
    found = group_by_small_model(made, photos, tmp_path / "out")
    assert found.exit_code == 0 and "1 file could not be used" in found.output, found.output
    assert "all/0002.png" in (tmp_path / "out" / "rejects.csv").read_text()
    assert len(tables.read_grouping(tmp_path / "out" / "groups.csv")) == 5


def test_an_empty_folder_is_one_sentence(made, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CollectionError, match="there is no image"):
        group_by_small_model(made, tmp_path / "empty", tmp_path / "out")


def test_links_of_an_earlier_run_are_replaced_and_nothing_else(made, tmp_path):
    photos = photographs.write(tmp_path / "photographs", {"all": 6}) / "images" / "all"
    links = tmp_path / "out" / "links"
    for count in (6, 5):
        assert group_by_small_model(made, photos, tmp_path / "out", "--links").exit_code == 0
        assert sorted(link.name for link in links.rglob("*.png")) == [f"{number:04d}.png" for number in range(count)]
        (photos / "0005.png").unlink(missing_ok=True)
    (links / "mine").symlink_to(photos)
    with pytest.raises(OutputError, match="holds what cosal did not write"):
        group_by_small_model(made, photos, tmp_path / "out", "--links")
    assert (links / "mine").is_symlink() and len(list(photos.iterdir())) == 5


def test_a_file_of_groups_that_somebody_wrote_is_not_overwritten(made, tmp_path):
    photos = photographs.write(tmp_path / "photographs", {"all": 6}) / "images" / "all"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "groups.csv").write_text("mine")
    with pytest.raises(OutputError, match="was not written by cosal"):
        group_by_small_model(made, photos, tmp_path / "out")
    assert (tmp_path / "out" / "groups.csv").read_text() == "mine"


def test_options_that_exclude_each_other_are_refused(mixed, tmp_path):
    made = cosal.run("predict", mixed, tmp_path / "out", "--groups", tmp_path / "mine.csv", "--ungrouped")
    assert made.exit_code == 2

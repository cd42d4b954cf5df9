import time
from itertools import count

import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.cli.verify import DamageError, verify_tables
from pipeline.sism.config import SismConfig
from pipeline.sism.stage import make_samples
from pipeline.tables import writer
from tests.helpers import objectstore, photographs
from tests.helpers.processes import start_python
from tests.helpers.rows import ROWS, make_table, rows_of, write_shards


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with objectstore.Store(tmp_path_factory.mktemp("store")) as there:
        yield there


@pytest.fixture(params=["path", "s3"])
def root(request, tmp_path):
    """A storage URI of its own for each test, on a shared disk or in an object store."""
    if request.param == "path":
        return str(tmp_path / "mount")
    base, _, query = request.getfixturevalue("store").uri.partition("?")
    return f"{base}/{tmp_path.name}?{query}"


def store_of(folder, root):
    return tables.open_store(tables.resolve_address(folder, root))


def test_a_table_in_storage_leaves_its_manifest_and_its_rejects_here(tmp_path, root):
    table, folder = rows_of([2, 3]), tmp_path / "samples" / "mugs"
    make_table(folder, table, root, refuse={"i00001"})
    assert sorted(file.name for file in folder.iterdir()) == ["manifest.json", "rejects.parquet"]
    assert tables.read_table(folder).equals(pa.concat_tables([table.slice(0, 1), table.slice(2)]))
    assert tables.read_rows(folder, 1, 3, ["name"])["name"].to_pylist() == ["i00002", "i00003"]
    assert tables.read_rejects(folder)["path"].to_pylist() == ["i00001"]
    found, there = tables.load_manifest(folder), store_of(folder, root).list_files()
    assert found["storage"] == tables.resolve_address(folder, root) and "/samples/mugs" in found["storage"]
    assert {entry["file"]: entry["bytes"] for entry in found["shards"]} == there


def test_storage_holds_the_bytes_that_the_folder_would(tmp_path, root):
    table = rows_of([2, 2])
    make_table(tmp_path / "here" / "t", table, None)
    make_table(tmp_path / "there" / "t", table, root)
    place = store_of(tmp_path / "there" / "t", root)
    for here, there in zip(
        *(tables.load_manifest(tmp_path / side / "t")["shards"] for side in ("here", "there")), strict=True
    ):
        assert place.open_file(there["file"]).read() == (tmp_path / "here" / "t" / here["file"]).read_bytes()


def test_a_rerun_keeps_the_shards_in_storage_and_older_manifests_stay_valid(tmp_path, root):
    folder, table = tmp_path / "samples" / "mugs", rows_of([2, 2, 2])
    make_table(folder, table, root)
    before = (folder / "manifest.json").read_bytes()
    changed = table.set_column(2, "value", pa.array([0, 1, 20, 3, 4, 5]))
    _, missing = make_table(folder, changed, root)
    assert [shard.number for shard in missing] == [1]
    assert tables.read_table(folder).equals(changed)
    (folder / "manifest.json").write_bytes(before)
    assert tables.read_table(folder).equals(table)


def test_a_driver_killed_before_the_manifest_loses_nothing(tmp_path, root):
    folder, table = tmp_path / "samples" / "mugs", rows_of([2, 2, 2])
    shards = tables.plan_shards(table, 2, "x")
    with tables.TableWriter(folder, shards, ROWS, root) as writer:
        write_shards(writer.address, table, writer.missing[:2])
    with pytest.raises(tables.TableError, match="no finished table"):
        tables.read_table(folder)
    with tables.TableWriter(folder, shards, ROWS, root) as writer:
        assert writer.missing == shards[2:]


def test_a_missing_shard_is_noticed_and_the_stage_makes_it_again(tmp_path, root):
    folder, table = tmp_path / "samples" / "mugs", rows_of([2, 2])
    shards, _ = make_table(folder, table, root)
    before = (folder / "manifest.json").read_bytes()
    store_of(folder, root).remove_file(tables.load_manifest(folder)["shards"][1]["file"])
    for look in (tables.load_manifest, tables.read_table, lambda folder: tables.read_rows(folder, 3, 4)):
        with pytest.raises(tables.TableError, match="dvc repro -f -s sism@mugs"):
            look(folder)
    assert make_table(folder, table, root)[1] == shards[1:]
    assert (folder / "manifest.json").read_bytes() == before


def test_an_altered_shard_is_noticed(tmp_path, root):
    folder, table = tmp_path / "samples" / "mugs", rows_of([2, 2])
    shards, _ = make_table(folder, table, root)
    place, (first, second) = store_of(folder, root), tables.load_manifest(folder)["shards"]
    content = place.open_file(first["file"]).read()
    place.write_file(first["file"], pa.py_buffer(content[:-9]))
    with pytest.raises(tables.TableError, match="missing or damaged"):
        tables.load_manifest(folder)
    assert make_table(folder, table, root)[1] == shards[:1]
    place.write_file(first["file"], pa.py_buffer(place.open_file(second["file"]).read()))
    with pytest.raises(tables.TableError, match="it is another shard"):
        tables.read_rows(folder, 0, 1)


def test_one_flipped_bit_is_noticed_and_repaired(tmp_path, root, capsys):
    folder, table = tmp_path / "samples" / "mugs", rows_of([2, 2])
    shards, _ = make_table(folder, table, root)
    place, entry = store_of(folder, root), tables.load_manifest(folder)["shards"][0]
    content = bytearray(place.open_file(entry["file"]).read())
    content[len(content) // 4] ^= 1
    place.write_file(entry["file"], pa.py_buffer(bytes(content)))
    with pytest.raises(DamageError, match="dvc repro -f -s sism@mugs"):
        verify_tables([folder])
    assert entry["file"] in capsys.readouterr().out
    assert make_table(folder, table, root)[1] == shards[:1]
    verify_tables([folder])
    assert "2 shards are whole" in capsys.readouterr().out


def test_the_stage_repairs_a_flipped_bit_in_storage_as_the_error_says(tmp_path, root):
    folder, table = tmp_path / "samples" / "mugs", rows_of([2, 2])
    shards, _ = make_table(folder, table, root)
    before = (folder / "manifest.json").read_bytes()
    place, entry = store_of(folder, root), tables.load_manifest(folder)["shards"][0]
    content = bytearray(place.open_file(entry["file"]).read())
    content[len(content) // 10] ^= 1
    place.write_file(entry["file"], pa.py_buffer(bytes(content)))
    with pytest.raises(tables.TableError, match="run `dvc repro -f -s sism@mugs`"):
        tables.read_table(folder)
    assert make_table(folder, table, root)[1] == shards[:1]
    assert tables.read_table(folder).equals(table) and (folder / "manifest.json").read_bytes() == before


def test_shards_that_no_manifest_names_are_removed_when_asked_for(tmp_path, root, capsys):
    folder, table = tmp_path / "samples" / "mugs", rows_of([2, 2])
    make_table(folder, table, root)
    make_table(folder, table, root, max_weight=4)
    assert len(store_of(folder, root).list_files()) == 3
    verify_tables([folder], sweep=True)
    assert len(store_of(folder, root).list_files()) == 1 and "2 shards removed" in capsys.readouterr().out
    assert tables.read_table(folder).equals(table)


def test_a_table_moves_with_the_param_and_nothing_is_made_again(tmp_path, root):
    folder, table = tmp_path / "samples" / "mugs", rows_of([2, 2])
    make_table(folder, table, None)
    assert make_table(folder, table, root)[1] == []
    assert not list(folder.glob("shard-*"))
    assert tables.read_table(folder).equals(table)
    assert make_table(folder, table, None)[1] == []
    assert len(list(folder.glob("shard-*"))) == 2 and "storage" not in tables.load_manifest(folder)


def test_a_move_that_was_interrupted_goes_on(tmp_path, root, monkeypatch):
    folder, table = tmp_path / "samples" / "mugs", rows_of([2, 2])
    make_table(folder, table, root)
    copy, calls = writer._copy_shard, count()

    def copy_one(*arguments):
        if next(calls):
            raise KeyboardInterrupt
        copy(*arguments)

    monkeypatch.setattr(writer, "_copy_shard", copy_one)
    with pytest.raises(KeyboardInterrupt):
        make_table(folder, table, None)
    monkeypatch.setattr(writer, "_copy_shard", copy)
    assert make_table(folder, table, None)[1] == []
    assert tables.read_table(folder).equals(table)


def test_a_folder_may_have_a_name_with_spaces_and_umlauts(tmp_path):
    folder, table = tmp_path / "samples" / "my mügs", rows_of([2])
    make_table(folder, table, str(tmp_path / "elsewhere"))
    assert tables.read_table(folder).equals(table)
    assert list((tmp_path / "elsewhere" / "samples" / "my mügs").glob("*.parquet"))


def test_the_store_of_the_environment_is_used(store, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    tables.open_store.cache_clear()
    folder = tmp_path / "samples" / "mugs"
    make_table(folder, rows_of([2]), f"s3://{objectstore.BUCKET}/environment")
    assert any(name.startswith("environment/samples/mugs/") for name in store.objects())
    assert tables.load_manifest(folder)["storage"] == f"s3://{objectstore.BUCKET}/environment/samples/mugs"


@pytest.mark.parametrize(
    "uri, sentence",
    [
        ("ftp://host/x", "expected null, a path"),
        ("s3:///x", "no bucket is named"),
        ("s3://icnet-tests/x?endpoint=localhost", "unknown option endpoint"),
        ("s3://key:secret@icnet-tests/x", "must not hold a user or a password"),
    ],
)
def test_a_uri_that_cannot_be_used_is_one_sentence(tmp_path, uri, sentence):
    with pytest.raises(tables.StorageError, match=sentence):
        make_table(tmp_path / "samples" / "mugs", rows_of([2]), uri)


def test_a_store_that_does_not_answer_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.tables.filesystems.PROBE_ATTEMPTS", 3)
    uri = f"s3://icnet-tests/x?endpoint_override=127.0.0.1:{objectstore.free('127.0.0.1', 1)[0]}&scheme=http"
    with pytest.raises(tables.StorageError, match=r"s3://icnet-tests/x/samples/mugs: .*[Cc]onnect"):
        make_table(tmp_path / "samples" / "mugs", rows_of([2]), uri)


def test_a_bucket_that_is_not_there_is_one_sentence(store, tmp_path):
    _, _, query = store.uri.partition("?")
    with pytest.raises(tables.StorageError, match="there is no bucket"):
        make_table(tmp_path / "samples" / "mugs", rows_of([2]), f"s3://nobodys-bucket/x?{query}")


def test_a_stage_writes_its_shards_from_its_workers(tmp_path, ray_session):
    photos = photographs.write(tmp_path / "photos", {"apple": 3, "bear": 4})
    index, config = photographs.index(photos, tmp_path / "index"), SismConfig(method="gc", shard_size=4)
    folder, mount = tmp_path / "samples" / "fruit", str(tmp_path / "mount")
    make_samples(index, folder, config, 32, mount)
    assert len(tables.read_table(folder)) == 7
    assert len(store_of(folder, mount).list_files()) == 2 and not list(folder.glob("shard-*"))


def run(folder, storage_uri, name):
    """The stage in a process of its own, whose workers know the store's credentials."""
    code = (
        "from pathlib import Path; from pipeline.sism.config import SismConfig; "
        "from pipeline.sism.stage import make_samples; "
        f"make_samples(Path({str(folder / 'index')!r}), Path({str(folder / 'samples' / name)!r}), "
        f"SismConfig(method='gc', shard_size=2, batch_size=2, num_actors=2), 96, {storage_uri!r})"
    )
    return start_python(code)


@pytest.mark.slow
def test_a_store_that_dies_in_the_middle_of_a_stage_is_waited_for(store, tmp_path):
    photos = photographs.write(tmp_path / "photos", {f"g{n}": 8 for n in range(8)}, 300, 400)
    photographs.index(photos, tmp_path / "index")
    assert run(tmp_path, None, "calm").wait() == 0
    place = store_of(tmp_path / "samples" / "stormy", store.uri)
    stage = run(tmp_path, store.uri, "stormy")
    while len(place.list_files()) < 4:
        assert stage.poll() is None
        time.sleep(0.05)
    store.kill()
    time.sleep(20)
    store.start()
    assert 4 <= len(place.list_files()) < 32, "the stage was over before the store died"
    assert stage.wait() == 0
    assert tables.read_table(tmp_path / "samples" / "stormy").equals(tables.read_table(tmp_path / "samples" / "calm"))

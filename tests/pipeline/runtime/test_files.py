import os

import pytest

from pipeline.runtime import files


def test_a_file_is_written_whole(tmp_path):
    files.write_json(tmp_path / "deep" / "a.json", {"ü": 1})
    assert (tmp_path / "deep" / "a.json").read_text() == '{\n "ü": 1\n}\n'
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.json"]


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"photograph")
    (tmp_path / "map.png").symlink_to(tmp_path / "photo.png")
    files.write_file(tmp_path / "map.png", b"map")
    assert (tmp_path / "photo.png").read_bytes() == b"photograph"
    assert not (tmp_path / "map.png").is_symlink() and (tmp_path / "map.png").read_bytes() == b"map"


def test_other_names_of_the_same_file_keep_their_content(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"photograph")
    os.link(tmp_path / "photo.png", tmp_path / "map.png")
    files.write_file(tmp_path / "map.png", b"map")
    assert (tmp_path / "photo.png").read_bytes() == b"photograph"


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ValueError), files.replace_when_done(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        raise ValueError
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_temporary_files_have_names_that_cannot_be_guessed(tmp_path):
    names = set()
    for _ in range(3):
        with files.replace_when_done(tmp_path / "map.png") as temporary:
            names.add(temporary.name)
    assert len(names) == 3 and all(len(name) > 32 and "map" not in name for name in names)

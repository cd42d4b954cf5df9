"""The file of groups survives people, spreadsheets and hostile names."""

import pytest

from pipeline.tables import GroupedPhoto, GroupingError, read_grouping, write_grouping

PHOTOS = [
    GroupedPhoto("a/one.jpg", "0002", 0.5),
    GroupedPhoto("=cmd|' /C calc'!A0.jpg", "0001", 1.0),
    GroupedPhoto('comma, "quote"\nline.jpg', "0001", 0.25, "a/one.jpg"),
    GroupedPhoto("b/ünï.jpg", None, 0.0),
]


def test_what_is_written_is_read(tmp_path):
    write_grouping(tmp_path / "deep" / "groups.csv", PHOTOS)
    assert read_grouping(tmp_path / "deep" / "groups.csv") == {one.photo: one.group for one in PHOTOS}
    lines = (tmp_path / "deep" / "groups.csv").read_text()
    assert lines.splitlines()[0] == "photo,group,confidence,copy_of"
    assert lines.index("'=cmd") < lines.index("comma") < lines.index("one.jpg,0002") < lines.index("unsorted")


def test_a_file_that_a_spreadsheet_saved_is_read(tmp_path):
    rows = "\ufeffgroup,photo,note\r\ncats, a.jpg ,hi\r\n,b.jpg,\r\n,,\r\n,,\r\n"
    (tmp_path / "groups.csv").write_bytes(rows.encode())
    assert read_grouping(tmp_path / "groups.csv") == {" a.jpg ": "cats", "b.jpg": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file,group\na.jpg,1\n", "no columns photo and group"),
        (b"", "no columns"),
        (b"photo,group\na.jpg,1\na.jpg,2\n", "line 3: 'a.jpg' is there twice"),
        (b"photo,group\na.jpg,../up\n", "line 2: '../up' is not the name of a group"),
        (b"photo,group\na.jpg,/abs\n", "is not the name of a group"),
        (b"photo,group\n\xff\xfe,1\n", "cannot be read as CSV"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_sentence(tmp_path, content, message):
    (tmp_path / "groups.csv").write_bytes(content)
    with pytest.raises(GroupingError, match=message):
        read_grouping(tmp_path / "groups.csv")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GroupingError, match=r"none\.csv cannot be read"):
        read_grouping(tmp_path / "none.csv")

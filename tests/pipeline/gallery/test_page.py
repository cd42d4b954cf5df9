import dataclasses
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline import gallery
from pipeline.gallery import page
from tests.helpers import photographs
from tests.helpers.galleries import HOSTILE, PageParser, write_tables


def make_sections(*sizes):
    names = gallery.name_thumbnails("g", "n")
    pictures = [gallery.Picture(str(number), 30, 40, {}, names) for number in range(max(sizes, default=0))]
    return [gallery.Section(f"group {number}", pictures[:size]) for number, size in enumerate(sizes)]


def render(**options):
    return [content.decode() for _, content in gallery.render_pages(gallery.Gallery("Maps", **options))]


def test_names_are_text_and_never_markup(tmp_path):
    maps = write_tables(tmp_path, dict.fromkeys(sorted(HOSTILE), 1))
    sections = [
        dataclasses.replace(section, flag=section.group, sheet=f"{section.group}.jpg")
        for section in gallery.read_sections(tmp_path / "samples", maps)
    ]
    rejects = [gallery.Reject(name, name, name) for name in HOSTILE]
    (text,) = render(sections=sections, facts={name: name for name in HOSTILE}, rejects=rejects)
    (plain,) = render(sections=[dataclasses.replace(one, group="a", flag="c") for one in sections])
    found, expected = PageParser(text), PageParser(plain)
    assert found.tags.count("script") == expected.tags.count("script") == 1
    assert found.tags.count("img") == expected.tags.count("img") == 4 * len(HOSTILE)
    assert not found.events
    assert {f"./{name}.jpg" for name in HOSTILE} <= set(found.list_files())


def test_a_path_becomes_one_relative_url():
    assert page.quote_path("a b/#1?.png") == "./a%20b/%231%3F.png"
    assert page.quote_path("javascript:x.jpg") == "./javascript%3Ax.jpg"
    assert page.quote_path("\udcff.png") == "./%FF.png"


def test_the_photograph_that_fits_least_is_last(tmp_path):
    maps = write_tables(tmp_path, {"apple": 3, "bear": 2})
    sections = gallery.read_sections(tmp_path / "samples", maps)
    assert [(section.group, [one.name for one in section.pictures]) for section in sections] == [
        ("apple", ["0000", "0001", "0002"]),
        ("bear", ["0000", "0001"]),
    ]
    weights = re.findall(r'class="weight"[^>]*>([\d.]+)<', render(sections=sections)[0])
    assert weights == ["1.00", "0.90", "0.80", "1.00", "0.90"]


def test_thumbnails_have_the_proportions_of_the_originals_and_the_same_bytes_again(tmp_path):
    maps = write_tables(tmp_path, {"apple": 2})
    first = dict(gallery.draw_thumbnails(tmp_path / "samples", maps))
    assert first == dict(gallery.draw_thumbnails(tmp_path / "samples", maps))
    names = gallery.name_thumbnails("apple", "0000")
    assert len(first) == 6 and set(names.list_names()) <= set(first)
    for name in names.list_names():
        with Image.open(BytesIO(first[name])) as picture:
            assert picture.size == (41, 32)
    with Image.open(BytesIO(first[names.map])) as picture:
        assert picture.mode == "P"
        pixels = np.asarray(picture.convert("RGBA"))
    assert pixels[0, 0, :3].tolist() == [255, 64, 129] and abs(int(pixels[0, 0, 3]) - 200) <= 2


def test_samples_of_other_maps_are_refused(tmp_path):
    maps = write_tables(tmp_path, {"apple": 2})
    other = photographs.samples(tmp_path / "other", {"bear": 2}, 32)
    for function in (gallery.read_sections, lambda *tables: list(gallery.draw_thumbnails(*tables))):
        with pytest.raises(gallery.GalleryError, match="does not hold the images"):
            function(other, maps)


@pytest.mark.parametrize("sizes", [[], [1], [400], [401], [399, 2, 399, 2], [250] * 9, [1000, 1, 1], [1] * 1300])
def test_pages_are_bounded_and_hold_every_photograph_once(sizes):
    sections = make_sections(*sizes)
    pages = page.split_pages(sections)
    assert all(sum(len(block.section.pictures) for block in blocks) <= page.MAX_PICTURES for blocks in pages)
    shown = [(block.section.group, one.name) for blocks in pages for block in blocks for one in block.section.pictures]
    assert shown == [(section.group, one.name) for section in sections for one in section.pictures]
    assert len(pages) <= gallery.count_pages_at_most(sum(sizes))


def test_pages_link_each_other_and_unreliable_groups():
    sections = make_sections(300, 300)
    sections[1] = dataclasses.replace(sections[1], flag="no object")
    first, second = render(sections=sections)
    assert 'rel="next" href="./index-2.html"' in first and 'rel="prev" href="./index.html"' in second
    assert 'href="./index-2.html#group-2"' in first and 'id="group-2"' in second
    assert "no object" in second


def test_rejects_are_named_and_counted():
    rejects = [gallery.Reject(f"{number}.jpg", "index", "is empty") for number in range(page.MAX_REJECTS + 5)]
    (text,) = render(sections=[], rejects=rejects, rejects_file="rejects.csv")
    assert "<td><bdi>0.jpg</bdi></td><td>is empty</td><td>index</td>" in text
    assert "5 more files" in text and 'href="./rejects.csv"' in text
    assert "There are no maps to show" in text

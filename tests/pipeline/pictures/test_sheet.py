import numpy as np

from pipeline import pictures

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
MAP = np.zeros((40, 60), np.uint8)
MAP[10:30, 20:40] = 255


def test_a_sheet_is_an_rgb_picture_of_all_its_cells():
    picture = pictures.draw_sheet([[IMAGE, MAP], [IMAGE, None]], ["image", "mask"], ["a", "b"], "group", cell=50)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert picture.shape[0] > 100 and picture.shape[1] > 100


def test_a_sheet_needs_neither_labels_nor_rows():
    assert pictures.draw_sheet([[MAP]]).shape[2] == 3
    assert pictures.draw_sheet([], title="no group was scored").shape[2] == 3


def test_long_and_foreign_names_fit_on_a_sheet():
    named = pictures.draw_sheet([[MAP]], ["a very long heading of a column"], ["Ünïcodé " * 20], cell=50)
    assert named.shape[1] < 500


def test_the_same_pictures_make_the_same_sheet():
    assert np.array_equal(*(pictures.draw_sheet([[IMAGE, MAP]], ["image", "mask"]) for _ in range(2)))


def test_an_overlay_keeps_color_inside_and_loses_it_outside():
    picture = pictures.draw_overlay(IMAGE, MAP)
    assert np.array_equal(picture[15:25, 25:35], IMAGE[15:25, 25:35])
    assert np.ptp(picture[:5].astype(int), axis=2).max() <= 1


def test_an_overlay_draws_the_edge_of_the_map():
    assert (pictures.draw_overlay(IMAGE, MAP)[9, 20:40] == pictures.EDGE_COLOR).all()

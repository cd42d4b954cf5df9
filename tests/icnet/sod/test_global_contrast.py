"""Global Contrast against its authors' program, stage by stage, and on images that the program cannot take."""

import warnings

import numpy as np
import pytest

from icnet import sod
from icnet.sod import global_contrast


@pytest.fixture(scope="module", params=["synth", "blocks"])
def example(request, references):
    arrays = np.load(references / "GC_RC.npz")
    return {key.partition("/")[2]: arrays[key] for key in arrays if key.startswith(f"{request.param}/")}


def rgb(example):
    return np.ascontiguousarray(example["bgr"][..., ::-1])


def color_distances(example):
    lab = global_contrast.convert_to_lab(example["color_bgr"][:, None, ::-1])[:, 0]
    return np.sqrt(((lab[:, None] - lab) ** 2).sum(-1))


def test_lab_follows_the_formula(references):
    arrays = np.load(references / "GC_RC.npz")
    lab = global_contrast.convert_to_lab(np.ascontiguousarray(arrays["synth/bgr"][..., ::-1]))[::8, ::8]
    np.testing.assert_allclose(lab, arrays["synth/lab_formula"], rtol=0, atol=1e-4)


def test_the_segmentation_is_the_authors_to_the_pixel(example):
    np.testing.assert_array_equal(global_contrast.segment(global_contrast.convert_to_lab(rgb(example))), example["seg"])


def test_colors_are_quantized_to_the_authors_bins(example):
    colors, bgr, counts = global_contrast.quantize(rgb(example))
    np.testing.assert_array_equal(colors, example["color_idx"])
    np.testing.assert_array_equal(counts, example["color_n"])
    np.testing.assert_allclose(bgr, example["color_bgr"], rtol=0, atol=1e-6)


def test_regions_contrast_as_in_the_authors_program(example):
    contrast = global_contrast.compute_region_contrast(
        example["seg"].astype(int), example["color_idx"], color_distances(example)
    )
    np.testing.assert_allclose(contrast, example["region_contrast"], rtol=1e-5)
    np.testing.assert_allclose(
        global_contrast.scale_to_unit(contrast)[example["seg"]], example["sal0"], rtol=0, atol=1e-5
    )


def test_huge_segmentations_are_contrasted_in_parts(example, monkeypatch):
    monkeypatch.setattr(global_contrast, "CHUNK_ROWS", 5)
    contrast = global_contrast.compute_region_contrast(
        example["seg"].astype(int), example["color_idx"], color_distances(example)
    )
    np.testing.assert_allclose(contrast, example["region_contrast"], rtol=1e-5)


def test_the_border_prior_marks_the_authors_pixels(example):
    np.testing.assert_array_equal(global_contrast.find_border(example["seg"].astype(int)), example["border"])


def test_colors_are_smoothed_as_in_the_authors_program(example):
    smooth = global_contrast.smooth_colors(example["color_sal"], color_distances(example), example["color_n"])
    np.testing.assert_allclose(smooth, example["color_sal_smooth"], rtol=0, atol=1e-5)


def test_the_whole_map_is_the_authors(example):
    np.testing.assert_allclose(sod.make_method("gc?longest=0")(rgb(example)), example["sal"], rtol=0, atol=1e-5)


def test_of_two_colors_the_rarer_is_salient(references):
    arrays = np.load(references / "GC_RC.npz")
    np.testing.assert_array_equal(global_contrast.compute_saliency(arrays["two/bgr"][..., ::-1]), arrays["two/sal"])


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (5, 5), (3, 60), (60, 3), (24, 24), (24, 300), (300, 10)])
def test_an_image_of_any_size_gets_a_finite_map_without_a_warning(size):
    random = np.random.RandomState(0)
    ramp = np.arange(np.prod(size), dtype=np.uint8).reshape(*size, 1).repeat(3, 2)
    images = [np.zeros((*size, 3), np.uint8), np.full((*size, 3), 255, np.uint8), ramp]
    images.append(random.randint(0, 256, (*size, 3)).astype(np.uint8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in images:
            saliency = global_contrast.compute_saliency(image)
            assert saliency.shape == size and saliency.dtype == np.float32
            assert np.isfinite(saliency).all() and saliency.min() >= 0 and saliency.max() <= 1


def test_an_image_of_one_color_has_nothing_salient():
    assert not global_contrast.compute_saliency(np.full((50, 60, 3), 77, np.uint8)).any()


def test_an_object_in_the_middle_stands_out():
    image = np.random.RandomState(3).randint(90, 120, (90, 120, 3)).astype(np.uint8)
    image[30:60, 45:75] = (220, 40, 30)
    saliency = global_contrast.compute_saliency(image)
    assert saliency[35:55, 50:70].min() > 0.9
    assert saliency[:20].max() < 0.1


def test_a_large_photograph_may_be_seen_smaller():
    image = np.random.RandomState(3).randint(90, 120, (90, 120, 3)).astype(np.uint8)
    image[30:60, 45:75] = (220, 40, 30)
    smaller = sod.make_method("gc?longest=60")(image)
    assert smaller.shape == (90, 120)
    assert smaller[35:55, 50:70].min() > 0.9
    np.testing.assert_array_equal(sod.make_method("gc?longest=500")(image), global_contrast.compute_saliency(image))
    assert sod.make_method("gc?longest=60").identity != sod.make_method("gc").identity


def test_a_camera_photograph_is_reduced_to_400_px_by_default():
    image = np.random.RandomState(3).randint(90, 120, (300, 800, 3)).astype(np.uint8)
    saliency = sod.make_method("gc")(image)
    assert saliency.shape == (300, 800)
    np.testing.assert_array_equal(saliency, sod.make_method("gc?longest=400")(image))
    assert sod.estimate_memory("gc", 12_000_000) < 200e6 < 4e9 < sod.estimate_memory("gc?longest=0", 12_000_000)

"""Every kind of image file is decoded as a viewer shows it, or refused with a sentence."""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from icnet import images
from icnet.images import ImageError
from tests.helpers import badfiles

PHOTO = badfiles.photograph()
RGB = np.asarray(PHOTO)
GRAY = np.asarray(PHOTO.convert("L"))
SIMPLE = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "JPEG2000")
COMPRESSED = [(name, {}) for name in SIMPLE]
COMPRESSED += [("JPEG", {"progressive": True}), ("TIFF", {"compression": "tiff_lzw"})]
DEEP = np.linspace(0, 65535, RGB.shape[0] * RGB.shape[1]).reshape(RGB.shape[:2]).astype(np.uint16)


def file(image, format, **options) -> bytes:
    return badfiles.file(image, format, **options)


def exif(orientation) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def tiff(values: np.ndarray, bits: int, photometric: int) -> bytes:
    """A little-endian gray TIFF of one strip, written by hand where Pillow cannot write it."""
    height, width = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(np.uint32)
        packed = (pairs[:, 0] << 12) | pairs[:, 1]
        strip = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.uint8).tobytes()
    else:
        strip = values.astype("<u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric)]
    tags += [(273, 8), (277, 1), (278, height), (279, len(strip))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_decode_to_the_same_pixels(format):
    assert np.array_equal(images.decode(file(PHOTO, format)), RGB)


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "GIF", "JPEG2000", "AVIF"])
def test_lossy_formats_decode_as_pillow_does(format):
    data = file(PHOTO, format)
    with Image.open(BytesIO(data)) as image:
        assert np.array_equal(images.decode(data), np.asarray(image.convert("RGB")))


def test_every_unusual_but_valid_image_is_decoded_upright_with_the_size_of_its_header():
    for name, data in badfiles.odd_but_good().items():
        decoded = images.decode(data)
        assert decoded.dtype == np.uint8 and decoded.flags.writeable, name
        assert decoded.shape == (*badfiles.SIZE, 3), name
        assert images.read_size(data) == badfiles.SIZE, name
        assert images.decode_gray(data).shape == badfiles.SIZE, name
        assert np.array_equal(decoded, images.decode(data)), name


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_of_the_eight_exif_orientations_is_set_upright(format, orientation):
    data = file(PHOTO, format, exif=exif(orientation))
    stored = Image.open(BytesIO(file(PHOTO, format)))
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    assert np.array_equal(images.decode(data), upright)
    assert images.read_size(data) == upright.shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_leaves_the_picture_as_stored(orientation):
    assert np.array_equal(images.decode(file(PHOTO, "PNG", exif=exif(orientation))), RGB)


def test_an_unreadable_exif_block_is_ignored():
    data = file(PHOTO, "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)
    assert images.read_size(data) == images.decode(data).shape[:2] == badfiles.SIZE


def test_an_orientation_stored_after_the_pixels_of_a_png_is_applied():
    data = file(PHOTO, "PNG")
    block = exif(6).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    late = data[:-12] + chunk + data[-12:]
    assert images.read_size(late) == images.decode(late).shape[:2] == badfiles.SIZE[::-1]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG2000"])
def test_sixteen_bit_gray_is_scaled_not_clipped(format):
    decoded = images.decode_gray(file(Image.fromarray(DEEP), format))
    assert np.abs(decoded - DEEP / 257.0).max() <= 0.5 + 1e-9
    assert np.array_equal(images.decode(file(Image.fromarray(DEEP), format)), np.repeat(decoded[..., None], 3, axis=2))


def test_sixteen_bit_portable_maps_are_scaled_too():
    data = b"P5 %d %d 65535\n" % DEEP.shape[::-1] + DEEP.astype(">u2").tobytes()
    assert np.abs(images.decode_gray(data) - DEEP / 257.0).max() <= 0.5 + 1e-9


def test_sixteen_bit_color_loses_its_low_byte():
    rows = (np.arange(24 * 3, dtype=np.uint32) * 900).astype(">u2").reshape(4, 6, 3)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 6, 4, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    assert np.abs(images.decode(data).astype(float) - rows / 257.0).max() <= 1.0


def test_twelve_bit_gray_is_scaled_by_its_own_white():
    values = np.linspace(0, 4095, 24 * 32).reshape(24, 32).astype(np.uint16)
    assert np.abs(images.decode_gray(tiff(values, 12, 1)) - values / 4095 * 255).max() <= 0.5 + 1e-9


def test_sixteen_bit_gray_with_zero_as_white_is_inverted():
    assert np.abs(images.decode_gray(tiff(DEEP, 16, 0)) - (255 - DEEP / 257.0)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("mode", ["F", "I"])
def test_values_without_a_known_white_level_are_refused(mode):
    with pytest.raises(ImageError, match="white level is unknown"):
        images.decode(file(PHOTO.convert("L").convert(mode), "TIFF"))


def test_one_bit_gray_and_palette_pictures_become_color():
    assert np.array_equal(images.decode(file(PHOTO.convert("L"), "PNG")), np.repeat(GRAY[..., None], 3, axis=2))
    bits = PHOTO.convert("1")
    assert np.array_equal(images.decode_gray(file(bits, "PNG")), np.asarray(bits.convert("L")))
    palette = PHOTO.quantize(16)
    assert np.array_equal(images.decode(file(palette, "PNG")), np.asarray(palette.convert("RGB")))


def test_cmyk_as_adobe_inverts_it_is_not_a_negative():
    decoded = images.decode(file(PHOTO.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(decoded.astype(float) - RGB).mean() < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_white_in_an_image_and_black_in_a_map(mode):
    image = PHOTO.convert(mode)
    alpha = np.zeros(badfiles.SIZE, np.uint8)
    alpha[:18] = 255
    image.putalpha(Image.fromarray(alpha))
    decoded, gray = images.decode(file(image, "PNG")), images.decode_gray(file(image, "PNG"))
    opaque = np.asarray(PHOTO.convert(mode).convert("RGB"))
    assert np.array_equal(decoded[:18], opaque[:18]) and (decoded[18:] == 255).all()
    assert np.array_equal(gray[:18], opaque[:18].max(axis=-1)) and (gray[18:] == 0).all()


def test_a_transparent_color_of_a_palette_is_white():
    palette = PHOTO.quantize(4)
    decoded = images.decode(file(palette, "PNG", transparency=2))
    see_through = np.asarray(palette) == 2
    assert (decoded[see_through] == 255).all()
    assert np.array_equal(decoded[~see_through], np.asarray(palette.convert("RGB"))[~see_through])


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("GIF", {})])
def test_the_first_of_several_frames_is_taken(format, options):
    data = file(PHOTO, format, save_all=True, append_images=[badfiles.photograph(2)], **options)
    assert np.array_equal(images.decode(data), images.decode(file(PHOTO, format, **options)))


def cut(data: bytes, share: float, zeros: bool) -> bytes:
    end = int(len(data) * share)
    return data[:end] + bytes(len(data) - end) * zeros


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")
@pytest.mark.parametrize(("format", "options"), [*COMPRESSED, ("BMP", {}), ("TIFF", {}), ("PPM", {})])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused_not_decoded_in_part(format, options, share):
    with pytest.raises(ImageError):
        images.decode(cut(file(badfiles.photograph(3, (180, 240)), format, **options), share, zeros=False))


@pytest.mark.parametrize(("format", "options"), COMPRESSED)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_download_whose_rest_is_zeros_is_refused_in_compressed_formats(format, options, share):
    with pytest.raises(ImageError):
        images.decode(cut(file(badfiles.photograph(3, (180, 240)), format, **options), share, zeros=True))


def test_the_end_marker_of_a_thumbnail_is_not_taken_for_the_end_of_the_jpeg():
    block = exif(1)
    data = file(PHOTO, "JPEG", exif=block.tobytes() + file(badfiles.photograph(1, (8, 8)), "JPEG"))
    assert data.count(b"\xff\xd9") == 2
    images.decode(data)
    with pytest.raises(ImageError, match="truncated"):
        images.decode(cut(data, 0.8, zeros=True))


def test_bytes_after_the_end_of_an_image_are_ignored():
    for format in ("JPEG", "PNG", "GIF"):
        data = file(PHOTO, format)
        assert np.array_equal(images.decode(data + b"\0" * 40 + b"trailer"), images.decode(data))


def test_files_that_are_not_images_are_refused_with_a_sentence():
    for name, (data, fate) in badfiles.not_pictures().items():
        if name != "pixel.png":
            with pytest.raises(ImageError, match=fate.reason) as refusal:
                images.decode(data)
            assert "\n" not in str(refusal.value), name


def test_a_decompression_bomb_is_refused_and_a_merely_large_image_is_not(monkeypatch):
    with pytest.raises(ImageError, match="decompression bomb"):
        images.read_size(badfiles.bomb())
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # pytest sets the module's own filter aside
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB.shape[0] * RGB.shape[1] - 1)
    assert np.array_equal(images.decode(file(PHOTO, "PNG")), RGB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB.shape[0] * RGB.shape[1] // 3)
    with pytest.raises(ImageError, match="decompression bomb"):
        images.decode(file(PHOTO, "PNG"))


def test_the_size_is_read_from_the_header_alone():
    data = file(badfiles.photograph(3, (180, 240)), "JPEG")
    assert images.read_size(data[: len(data) // 2]) == (180, 240)


class TestMasks:
    object = np.zeros(badfiles.SIZE, np.uint8)
    object[9:-9, 12:-12] = 1
    expected = object * 255

    @pytest.mark.parametrize("value", [1, 15, 128, 255])
    def test_the_only_value_of_a_mask_is_object(self, value):
        assert np.array_equal(images.decode_mask(file(Image.fromarray(self.object * value), "PNG")), self.expected)

    def test_a_red_object_is_as_much_object_as_a_white_one(self):
        red = self.object[..., None] * np.array([180, 0, 0], np.uint8)
        assert np.array_equal(images.decode_mask(file(Image.fromarray(red), "PNG")), self.expected)

    def test_in_a_palette_of_classes_all_but_black_is_object(self):
        classes = Image.fromarray((self.object + (np.arange(48) > 24) * self.object).astype(np.uint8))
        classes.putpalette([0, 0, 0, 128, 0, 0, 0, 40, 0] + [0] * 759)
        assert np.array_equal(images.decode_mask(file(classes, "PNG")), self.expected)

    def test_soft_edges_stay_soft(self):
        soft = np.asarray(Image.fromarray(self.expected).resize((24, 18), Image.Resampling.BILINEAR))
        assert np.array_equal(images.decode_mask(file(Image.fromarray(soft), "PNG")), soft)

    def test_one_bit_empty_and_full_masks_stay_what_they_are(self):
        bits = Image.fromarray(self.expected).convert("1")
        assert np.array_equal(images.decode_mask(file(bits, "PNG")), self.expected)
        for value in (0, 255):
            whole = np.full(badfiles.SIZE, value, np.uint8)
            assert np.array_equal(images.decode_mask(file(Image.fromarray(whole), "PNG")), whole)

    def test_an_object_on_transparent_ground_is_object(self):
        cutout = np.dstack([np.full((*badfiles.SIZE, 3), 255, np.uint8), self.expected])
        assert np.array_equal(images.decode_mask(file(Image.fromarray(cutout), "PNG")), self.expected)


def test_heic_is_read_if_its_package_is_installed():
    """Without the package it is refused with a sentence that names it (tests of bad files)."""
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif.register_heif_opener()
    buffer = BytesIO()
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    Image.fromarray(pixels).save(buffer, "HEIF", quality=95)
    decoded = images.decode(buffer.getvalue())
    assert decoded.shape == (48, 64, 3) == (*images.read_size(buffer.getvalue()), 3)
    assert decoded[:, :28].max() < 30 and decoded[:, 36:].min() > 225

"""Decoding: every mode has one defined result, every bad file one clear line that names it."""

import struct
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from scl_core.data.images import (
    IMAGENET_MEAN,
    denormalise,
    normalise,
    picture_size,
    read_mask,
    read_picture,
    resize_mask,
    resize_picture,
)
from scl_core.errors import UserError

RNG = np.random.default_rng(0)


def png_bytes(width: int, height: int, depth: int, color_type: int, rows: list[bytes]) -> bytes:
    """A PNG written by hand: any bit depth, any claimed size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(folder, image: Image.Image, name: str = "x.png", **options) -> str:
    path = folder / name
    image.save(path, **options)
    return str(path)


def palette_image(indices: np.ndarray) -> Image.Image:
    image = Image.frombytes("P", indices.shape[::-1], indices.astype(np.uint8).tobytes())
    image.putpalette([(i * 37 + c * 91) % 256 for i in range(256) for c in range(3)])
    return image


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_every_format_is_read_as_rgb(tmp_path, suffix):
    colors = np.full((6, 8, 3), (200, 100, 50), np.uint8)
    path = saved(tmp_path, Image.fromarray(colors), f"x.{suffix}")
    image = read_picture(path)
    assert image.shape == (6, 8, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - colors).max() <= 6
    assert picture_size(path) == (6, 8)


MODES = {
    "L": (Image.new("L", (2, 2), 77), (77, 77, 77)),
    "1": (Image.new("1", (2, 2), 1), (255, 255, 255)),
    "RGBA": (Image.new("RGBA", (2, 2), (200, 100, 50, 128)), (100, 50, 25)),
    "LA": (Image.new("LA", (2, 2), (200, 51)), (40, 40, 40)),
    "P": (palette_image(np.full((2, 2), 3)), ((3 * 37) % 256, (3 * 37 + 91) % 256, (3 * 37 + 182) % 256)),
    "I;16": (Image.fromarray(np.full((2, 2), 257 * 90, np.uint16)), (90, 90, 90)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_picture_mode_has_a_defined_result(tmp_path, mode):
    image, expected = MODES[mode]
    assert image.mode == mode
    assert np.abs(read_picture(saved(tmp_path, image)).astype(int) - expected).max() <= 1


def test_cmyk_is_converted(tmp_path):
    image = read_picture(saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "x.jpg"))
    assert image[4, 4, 0] > 200 and image[4, 4, 1] < 40


def test_transparent_color_of_a_palette_becomes_black(tmp_path):
    path = saved(tmp_path, palette_image(np.array([[3, 4]])), transparency=3)
    image = read_picture(path)
    assert image[0, 0].tolist() == [0, 0, 0] and image[0, 1].tolist() != [0, 0, 0]


def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = read_picture(saved(tmp_path, Image.fromarray(ramp)))
    assert len(np.unique(image)) == 256
    assert np.array_equal(image[..., 0], np.round(ramp / 257).astype(np.uint8))


def test_float_pictures_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.ones((2, 2), np.float32)), "x.tif")
    with pytest.raises(UserError, match=r"x\.tif: pictures of mode F"):
        read_picture(path)


def test_exif_orientation_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    colors = np.zeros((10, 20, 3), np.uint8)
    colors[:, :10] = 255
    path = saved(tmp_path, Image.fromarray(colors), exif=exif)
    image = read_picture(path)
    assert image.shape == (20, 10, 3) == (*picture_size(path), 3)
    assert image[:10].min() == 255 and image[10:].max() == 0


def test_tiff_orientation_turns_the_picture_once(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (20, 10)), "x.tif", tiffinfo={0x0112: 6})
    assert read_picture(path).shape == (20, 10, 3)
    assert picture_size(path) == (20, 10)


def test_the_first_of_several_frames_is_taken(tmp_path):
    frames = [Image.new("RGB", (3, 3), (value, 0, 0)) for value in (10, 200)]
    path = saved(tmp_path, frames[0], save_all=True, append_images=frames[1:])
    assert read_picture(path)[0, 0, 0] == 10


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
@pytest.mark.parametrize("mode", ["P", "L"])
def test_masks_keep_their_raw_indices(tmp_path, mode, suffix):
    indices = RNG.integers(0, 11, (7, 9)).astype(np.uint8)
    indices[0, 0] = 255
    image = palette_image(indices) if mode == "P" else Image.fromarray(indices)
    path = saved(tmp_path, image, f"m.{suffix}")
    assert np.array_equal(read_mask(path, 11), indices)
    if mode == "P":  # what a conversion to gray would have made of it
        assert not np.array_equal(np.array(Image.open(path).convert("L")), indices)


@pytest.mark.parametrize(("depth", "color_type"), [(4, 0), (2, 0), (4, 3), (2, 3)])
def test_packed_masks_keep_their_raw_indices(tmp_path, depth, color_type):
    row = {4: bytes([0x01, 0x23]), 2: bytes([0b00011011])}[depth]
    data = png_bytes(4, 1, depth, color_type, [row])
    if color_type == 3:
        image = Image.frombytes("P", (4, 1), bytes([0, 1, 2, 3]))
        image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200, 5, 5, 5])
        buffer = BytesIO()
        image.save(buffer, "PNG", bits=depth)
        data = buffer.getvalue()
    (tmp_path / "m.png").write_bytes(data)
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "LA", "I;16"])
def test_masks_of_other_modes_are_refused(tmp_path, mode):
    path = saved(tmp_path, Image.new(mode, (4, 4)), "m.png")
    with pytest.raises(UserError, match=rf"m\.png: a mask of mode {mode}"):
        read_mask(path)


def test_a_jpeg_mask_is_refused(tmp_path):
    path = saved(tmp_path, Image.new("L", (4, 4)), "m.jpg")
    with pytest.raises(UserError, match="m.jpg: not a readable PNG, BMP or TIFF file"):
        read_mask(path)


def test_mask_values_that_are_no_class_are_named_with_their_counts(tmp_path):
    indices = np.zeros((4, 5), np.uint8)
    indices[0, :3], indices[1, 0], indices[2, 0] = 19, 254, 255
    path = saved(tmp_path, Image.fromarray(indices), "m.png")
    assert read_mask(path).max() == 255
    with pytest.raises(UserError, match=r"m\.png: mask values 19 \(3 pixels\), 254 \(1 pixels\) are no class.*0 to 10"):
        read_mask(path, 11)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_truncated_files_are_named(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(RNG.integers(0, 255, (50, 60, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"cut\.{suffix}: .*truncated"):
        read_picture(path)


CONTENTS = {
    "empty": (b"", "the file is empty"),
    "one byte": (b"x", "not a readable PNG"),
    "text": (b"hello world\n" * 9, "not a readable PNG"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a readable PNG"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable PNG"),
    "no width": (png_bytes(0, 5, 8, 2, []), "x.png: "),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_files_that_are_no_picture_are_named(tmp_path, kind):
    content, message = CONTENTS[kind]
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_picture(tmp_path / "x.png")


def test_a_gif_under_the_name_of_a_png_is_refused(tmp_path):
    Image.new("P", (4, 4)).save(tmp_path / "x.png", "GIF")
    with pytest.raises(UserError, match=r"x\.png: not a readable PNG, JPEG, WEBP, BMP or TIFF file"):
        read_picture(tmp_path / "x.png")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png: the file is not there"):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(UserError, match="cannot be read"):
        read_picture(tmp_path)


@pytest.mark.parametrize("side", [9_400, 10_000, 20_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_bytes(side, side, 8, 2, []))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            UserError, match=rf"bomb\.png: {side} x {side} pixels are more than the limit of 16,000,000"
        ):
            read_picture(tmp_path / "bomb.png", max_pixels=16_000_000)


def test_our_limit_replaces_pillows_and_leaves_it_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = saved(tmp_path, Image.new("RGB", (8, 8)))
    assert read_picture(path, max_pixels=64).shape == (8, 8, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_resizing_a_picture_averages_and_a_mask_makes_no_new_value():
    stripes = np.tile(np.array([0, 200], np.uint8), (8, 8))
    assert abs(int(resize_picture(np.dstack([stripes] * 3), 2, 2).mean()) - 100) < 10
    assert set(np.unique(resize_mask(stripes, 5, 7))) <= {0, 200}
    assert resize_mask(stripes, 8, 16) is stripes


def test_normalise_follows_the_formula_and_denormalise_undoes_it():
    image = RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    tensor = normalise(image)
    assert tensor.shape == (3, 5, 6) and tensor.dtype == torch.float32 and tensor.is_contiguous()
    assert tensor[1, 2, 3].item() == pytest.approx((image[2, 3, 1] / 255 - 0.456) / 0.224, abs=1e-6)
    assert np.array_equal(denormalise(tensor), image)
    assert normalise(torch.tensor(IMAGENET_MEAN).view(3, 1, 1)).abs().max() == 0

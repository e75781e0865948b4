"""Decoding pictures and masks to uint8 arrays under a pixel limit, resizing, and the network's normalised input."""

import struct
import threading
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from scl_core.errors import UserError

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MASK_FORMATS = ("PNG", "BMP", "TIFF")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
IGNORE_INDEX = 255
MAX_PIXELS = 200_000_000
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_ORIENTATION_TAG = 0x0112
_PACKED_GRAY_STEP = {"L;2": 85, "L;4": 17}  # Pillow stretches 2- and 4-bit gray to 0 .. 255; the quotient is the index
_DECODER_ERRORS = (OSError, SyntaxError, EOFError, ValueError, IndexError, struct.error, zlib.error)
_pillow_limit = threading.Lock()


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS, formats: tuple = PICTURE_FORMATS) -> np.ndarray:
    """Decode a picture to uint8 [H, W, 3] RGB, turned upright by its EXIF orientation; of several frames the first.

    Palettes are looked up, transparency is composited on black, 16-bit gray is scaled to 8 bit.
    Raises UserError naming the file when it is no picture, truncated, larger than `max_pixels`, or of floating point.
    """
    with _opened(path, max_pixels, formats) as image:
        return np.array(_to_rgb(ImageOps.exif_transpose(image), path))


def read_mask(path: str | Path, num_classes: int | None = None, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a mask to uint8 [H, W] of class indices, exactly as stored: palette indices (P) or 8-bit gray (L).

    With `num_classes`, every value must be a class (0 .. num_classes - 1) or 255 = ignore.
    Raises UserError naming the file, and the mode or the values and their pixel counts that do not fit.
    """
    with _opened(path, max_pixels, MASK_FORMATS) as image:
        mask = _raw_indices(image, path)
    if num_classes is not None:
        _check_values(mask, num_classes, path)
    return mask


def picture_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return (height, width) of the upright picture from its header, without decoding it."""
    with _opened(path, max_pixels, PICTURE_FORMATS) as image:
        width, height = image.size
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def resize_picture(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W, 3] to [height, width, 3], bilinear and antialiased."""
    return _resized(image, height, width, Image.Resampling.BILINEAR)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [H, W] class indices to [height, width] by the nearest pixel, so no new value appears."""
    return _resized(mask, height, width, Image.Resampling.NEAREST)


def to_unit(image: np.ndarray) -> Tensor:
    """Turn uint8 [H, W, 3] into float32 [3, H, W] in 0 .. 1."""
    return torch.tensor(image).permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def normalise(image: np.ndarray | Tensor) -> Tensor:
    """Turn uint8 [H, W, 3], or float [3, H, W] in 0 .. 1, into the network's input: float32 [3, H, W].

    Each channel is shifted and scaled by the mean and standard deviation of ImageNet, so the mean color becomes 0.
    """
    unit = to_unit(image) if isinstance(image, np.ndarray) else image
    return (unit - _channels(IMAGENET_MEAN)).div_(_channels(IMAGENET_STD))


def denormalise(tensor: Tensor) -> np.ndarray:
    """Turn a network's input [3, H, W] back into a picture: uint8 [H, W, 3]."""
    unit = tensor.detach().float().cpu() * _channels(IMAGENET_STD) + _channels(IMAGENET_MEAN)
    return unit.mul(255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def _channels(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)


def _resized(array: np.ndarray, height: int, width: int, how: Image.Resampling) -> np.ndarray:
    if array.shape[:2] == (height, width):
        return array
    return np.array(Image.fromarray(array).resize((width, height), how))


@contextmanager
def _opened(path: str | Path, max_pixels: int, formats: tuple):
    """Yield the opened Pillow image, not decoded yet; what Pillow raises becomes a UserError naming the file."""
    try:
        with _open_without_pillow_limit(path, formats) as image:
            if image.width * image.height > max_pixels:
                raise UserError(
                    f"{path}: {image.width} x {image.height} pixels are more than the limit of {max_pixels:,} "
                    "(data.max_pixels); make the picture smaller or raise the limit"
                )
            yield image
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: the file is not there (moved or deleted since the lists were read?)") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: {_why_unidentified(path, formats)}") from None
    except (PermissionError, IsADirectoryError) as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except _DECODER_ERRORS as error:
        raise UserError(f"{path}: the file is truncated or damaged ({error})") from None


def _open_without_pillow_limit(path: str | Path, formats: tuple) -> Image.Image:
    """Open without Pillow's own fixed limit, which would refuse pictures that data.max_pixels allows."""
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=list(formats))
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _why_unidentified(path: str | Path, formats: tuple) -> str:
    if Path(path).stat().st_size == 0:
        return "the file is empty (0 bytes)"
    return f"not a readable {', '.join(formats[:-1])} or {formats[-1]} file (or its header is truncated)"


def _to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_sixteen_to_eight_bit(np.asarray(image), path)).convert("RGB")
    if image.mode in ("F", "LAB"):
        raise UserError(f"{path}: pictures of mode {image.mode} are not read; save it as 8-bit RGB")
    if image.has_transparency_data:
        return _on_black(image.convert("RGBA"))
    return image.convert("RGB")


def _sixteen_to_eight_bit(values: np.ndarray, path: str | Path) -> np.ndarray:
    """Scale 0 .. 65535 to 0 .. 255, rounded: [H, W] uint16 or int32 -> uint8."""
    if values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: 32-bit gray values outside 0 .. 65535 are not read; save it as 8-bit RGB")
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_black(image: Image.Image) -> Image.Image:
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB")


def _raw_indices(image: Image.Image, path: str | Path) -> np.ndarray:
    if image.mode not in ("P", "L"):
        raise UserError(
            f"{path}: a mask of mode {image.mode} holds no class indices; save it as 8-bit gray or palette PNG, "
            "one class index per pixel"
        )
    packing = image.tile[0].args if image.tile else "L"
    packing = packing if isinstance(packing, str) else packing[0]
    return np.array(image) // _PACKED_GRAY_STEP.get(packing, 1)


def _check_values(mask: np.ndarray, num_classes: int, path: str | Path) -> None:
    counts = np.bincount(mask.reshape(-1), minlength=256)
    wrong = [int(value) for value in np.flatnonzero(counts) if num_classes <= value != IGNORE_INDEX]
    if wrong:
        listed = ", ".join(f"{value} ({counts[value]} pixels)" for value in wrong[:8])
        more = f" and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise UserError(
            f"{path}: mask values {listed}{more} are no class: with {num_classes} classes they must be "
            f"0 to {num_classes - 1}, or {IGNORE_INDEX} for ignore"
        )

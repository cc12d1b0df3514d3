"""A folder of images becomes rows of bytes: one sub-folder a class, all of one size, grey or in colour.

Images may come from strangers. So: only five formats, by content; no image of more than `MAX_PIXELS`; sizes
are read from all headers, and the sum compared with the memory budget, before a pixel is unpacked; no link
leads out of the folder. Pillow reads them (the extra ``backpass[images]``).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.budget import memory_budget
from backpass.data.dataset import Array
from backpass.data.formats import open_file
from backpass.errors import DataError, UsageError

#: Suffixes that mark a file as an image.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")

#: How files of those formats begin.
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF87a", b"GIF89a", b"RIFF")

#: The most pixels of one image: beyond it a small file may unpack to gigabytes.
MAX_PIXELS = 25_000_000

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
_GREY = ("1", "L", "LA")
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")

Size = tuple[int, int]


def read_images(
    files: Sequence[Path],
    root: Path,
    *,
    size: Size | None = None,
    like: Size | None = None,
    color: bool | None = None,
) -> Array:
    """The images of some files as one array.

    Parameters
    ----------
    files : sequence of Path
    root : Path
        The folder that no link may lead out of, and that names are shown from.
    size : (width, height), optional
        Resize all images to this. Left out, all must have one size.
    like : (width, height), optional
        The size that all must have if they are not resized: that of the images a net was trained on.
    color : bool, optional
        True for red, green and blue, False for grey. Left out, in colour if any image is.

    Returns
    -------
    uint8 array, shape (n, height, width), or (n, height, width, 3) in colour

    Raises
    ------
    DataError
        A file that is no image or damaged, too large, or of another size than the first.
    UsageError
        Pillow is not installed.

    Notes
    -----
    Of an animation the first frame is taken; an image that a camera marked as lying on its side is turned;
    what is see-through is laid on white.
    """
    heads = [_head(path, root) for path in files]
    if color is None:
        color = any(mode not in _GREY for _, mode in heads)
    first = size or like or heads[0][0]
    for path, (own, _) in zip(files, heads, strict=True):
        if size is None and own != first:
            other = "the training images are" if like else f"{_shown(files[0], root)} is"
            raise DataError(
                f"{_shown(path, root)} is {own[0]} x {own[1]} pixels and {other} {first[0]} x {first[1]}: a "
                f"net needs images of one size.\n  Resize them all: size=({first[0]}, {first[1]}), or --size "
                f"{first[0]}x{first[1]} at the command line."
            )
    width, height = first
    shape = (len(files), height, width, *((3,) if color else ()))
    need = int(np.prod(shape, dtype=object))
    if need > memory_budget():
        raise DataError(
            f"{len(files):,} images of {width} x {height} pixels take {need:,} bytes, and the limit on this "
            f"machine is {memory_budget():,} (set another by the environment variable BACKPASS_MEMORY).\n"
            "  Make them smaller, e.g. size=(64, 64), or give fewer."
        )
    out: Array = np.empty(shape, dtype=np.uint8)
    for k, path in enumerate(files):
        with _opened(path, root) as image:
            out[k] = _pixels(image, first, color)
    return out


def _head(path: Path, root: Path) -> tuple[Size, str]:
    """Width, height and mode of an image, without unpacking it."""
    with _opened(path, root) as image:
        width, height = image.size
        if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # lying on its side
            width, height = height, width
        if image.mode in _DEEP:
            raise DataError(
                f"{_shown(path, root)} has more than 8 bits a pixel (mode {image.mode}).\n"
                "  Save it with 8 bits, or give the numbers as an array: from_arrays(X, y)."
            )
        return (width, height), image.mode


def _pixels(image: Any, size: Size, color: bool) -> Array:
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB" if color else "L")
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(image)


@contextmanager
def _opened(path: Path, root: Path) -> Iterator[Any]:
    """An image whose header has been read; all that can be wrong with it ends in a DataError."""
    pillow()
    from PIL import Image, UnidentifiedImageError

    inside = os.path.realpath(path)
    top = os.path.realpath(root)
    if inside != top and not inside.startswith(top + os.sep):
        raise DataError(
            f"{_shown(path, root)} is a link out of {root}, to {inside}. Put the image itself there."
        )
    shown = _shown(path, root)
    with open_file(path) as (file, _), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(_too_many(shown, f"{image.width:,} x {image.height:,}"))
                yield image
        except DataError:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise DataError(_too_many(shown, "more than 89,000,000")) from None
        except UnidentifiedImageError:
            raise DataError(
                f"{shown} is no image that backpass reads ({', '.join(_FORMATS)}). Cut short, or renamed?"
            ) from None
        except Exception as error:  # a reader of strangers' bytes: zlib.error, struct.error and more
            raise DataError(
                f"{shown} is damaged ({str(error)[:120]}). Get it again, or take it out."
            ) from None


def _too_many(shown: str, pixels: str) -> str:
    return (
        f"{shown} has {pixels} pixels, and the limit is {MAX_PIXELS:,}: a small file can hold a huge image.\n"
        "  Make it smaller with an image program, or take it out."
    )


def _shown(path: Path, root: Path) -> str:
    try:
        return str(Path(root.name) / path.relative_to(root))
    except ValueError:
        return str(path)


def pillow() -> None:
    """Say how to install Pillow where it is missing."""
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise UsageError(
            "images are read with Pillow, which is not installed: pip install 'backpass[images]'"
        ) from None


def as_size(size: Any) -> Size | None:
    """Width and height from ``(28, 28)``, ``28`` or ``"28x28"``.

    Examples
    --------
    >>> as_size("32x24"), as_size(28), as_size((28, 28)), as_size(None)
    ((32, 24), (28, 28), (28, 28), None)
    """
    if size is None:
        return None
    words = size.lower().replace("×", "x").split("x") if isinstance(size, str) else size
    try:
        pair = [words, words] if isinstance(words, (int, np.integer)) else list(words)
        width, height = (int(word) for word in (pair * 2 if len(pair) == 1 else pair))
        if isinstance(size, bool) or not (1 <= width <= 10_000 and 1 <= height <= 10_000):
            raise ValueError
    except (ValueError, TypeError):
        raise UsageError(f"size={size!r} is no size: give WxH, e.g. 28x28, or (28, 28).") from None
    return width, height


# ------------------------------------------------------------------------------------------------- folders

_TRAIN = ("train", "training")
_HELD = {"test": ("test", "testing"), "validation": ("val", "valid", "validation")}


def is_image(path: Path) -> bool:
    """Whether a file's name is one of an image's."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def image_folder(folder: Path) -> dict[str, dict[str, list[Path]]] | None:
    """The image files of a folder, by part and class; None if no sub-folder has images.

    Parts are "train", and "test" and "validation" where the folder has sub-folders of these names (or
    "val", "valid") beside "train"; otherwise its sub-folders are classes, and all rows are "train".
    """
    inside = {child.name: child for child in listed(folder) if child.is_dir()}
    train = next((inside[name] for name in _TRAIN if name in inside), None)
    if train is not None and any(child.is_dir() for child in listed(train)):
        parts = {"train": _classes(train)}
        for role, names in _HELD.items():
            found = [inside[name] for name in names if name in inside]
            if len(found) > 1:
                raise DataError(
                    f"{folder} has {found[0].name} and {found[1].name}: which is the {role} part?"
                )
            if found:
                parts[role] = _classes(found[0])
    else:
        parts = {"train": _classes(folder)}
    if not any(parts["train"].values()):
        return None
    for role, classes in parts.items():
        empty = [name for name, files in classes.items() if not files]
        if empty or not classes:
            where = folder if len(parts) == 1 else folder / role
            raise DataError(
                f"{where} has {'the folder ' + repr(empty[0]) + ' without' if empty else 'no folders of'} "
                f"images ({', '.join(SUFFIXES)}): each sub-folder is a class. Take it out, or fill it."
            )
    return parts


def _classes(folder: Path) -> dict[str, list[Path]]:
    return {
        child.name: [path for path in listed(child) if is_image(path)]
        for child in listed(folder)
        if child.is_dir() and not child.name.startswith((".", "__"))
    }


def listed(folder: Path) -> list[Path]:
    """What is in a folder, in the order of names: the order on disk differs between machines."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}.") from None

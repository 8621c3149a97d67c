"""Contact sheets: crops of cells side by side, with captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from napari_amil.core.base.types import Image

_MARGIN_PX = 8
_CAPTION_PX = 13  # height of the letters of a caption
_TITLE_PX = 18
_WHITE, _BLACK = (255, 255, 255), (20, 20, 20)


def cut(image: Image, box: NDArray[np.floating], side_px: int) -> Image:
    """Return the square of ``side_px`` pixels around the centre of a box; outside the field is white.

    Parameters
    ----------
    image
        ``(height, width, 3)``, RGB, 0 to 255.
    box
        ``y0, x0, y1, x1`` in pixels.
    side_px
        Side of the square in pixels of the image.
    """
    crop = np.full((side_px, side_px, 3), 255, dtype=np.uint8)
    y0, x0, y1, x1 = (float(value) for value in box)
    top, left = (round((low + high - side_px) / 2) for low, high in ((y0, y1), (x0, x1)))
    height, width = image.shape[:2]
    rows = slice(max(top, 0), max(min(top + side_px, height), 0))
    columns = slice(max(left, 0), max(min(left + side_px, width), 0))
    seen = image[rows, columns]
    crop[rows.start - top :, columns.start - left :][: seen.shape[0], : seen.shape[1]] = seen
    return crop


def contact_sheet(crops: Sequence[Image], captions: Sequence[str], columns: int, title: str = "") -> Image:
    """Return a white sheet ``(height, width, 3)`` with the crops row by row, a caption below each.

    A caption may have several lines; a line that is wider than one and a half crops is cut short with
    an ellipsis. Without crops the sheet holds the title alone.

    Parameters
    ----------
    crops
        ``(side, side, 3)`` uint8, all of one size.
    captions
        One text per crop.
    columns
        Crops in one row.
    title
        Line above the crops.

    Raises
    ------
    ValueError
        If the crops differ in size, or there are not as many captions.
    """
    if len(captions) != len(crops):
        raise ValueError(f"There are {len(captions)} captions for {len(crops)} crops.")
    if len({crop.shape for crop in crops}) > 1:
        raise ValueError("The crops of a contact sheet must all have the same size.")
    layout = _Layout.for_crops(crops, captions, columns, title)
    sheet = PillowImage.new("RGB", layout.size, _WHITE)
    drawing = ImageDraw.Draw(sheet)
    drawing.text((_MARGIN_PX, _MARGIN_PX), layout.title, _BLACK, _font(_TITLE_PX))
    for number, (crop, caption) in enumerate(zip(crops, layout.captions, strict=True)):
        x, y = layout.corner(number)
        shift = (layout.cell_width - crop.shape[1]) // 2
        sheet.paste(PillowImage.fromarray(np.ascontiguousarray(crop)), (x + shift, y))
        middle = (x + layout.cell_width / 2, y + crop.shape[0] + 3)
        drawing.multiline_text(middle, caption, _BLACK, _font(_CAPTION_PX), anchor="ma", align="center")
    return np.asarray(sheet)


@dataclass(frozen=True)
class _Layout:
    """Layout of a contact sheet, in pixels."""

    columns: int
    cell_width: int
    cell_height: int
    head_height: int
    size: tuple[int, int]
    title: str
    captions: tuple[str, ...]

    @classmethod
    def for_crops(cls, crops: Sequence[Image], captions: Sequence[str], columns: int, title: str) -> _Layout:
        """Return the layout that gives every caption and the title their place."""
        height, width = crops[0].shape[:2] if crops else (0, 0)
        font = _font(_CAPTION_PX)
        texts = tuple("\n".join(_fit(t, 1.5 * width, font) for t in c.split("\n")) for c in captions)
        lines = [line for text in texts for line in text.split("\n")]
        cell_width = int(max([width, *(font.getlength(line) + 4 for line in lines)]))
        n_lines = max((text.count("\n") + 1 for text in texts if text), default=0)
        cell_height = height + n_lines * (_CAPTION_PX + 5) + (3 if n_lines else 0)
        head = _TITLE_PX + 2 * _MARGIN_PX if title else _MARGIN_PX
        used = min(columns, len(crops))
        n_rows = -(-len(crops) // columns)
        title_width = _font(_TITLE_PX).getlength(title)
        total = int(max(used * (cell_width + _MARGIN_PX), title_width + _MARGIN_PX)) + _MARGIN_PX
        size = (total, head + n_rows * (cell_height + _MARGIN_PX))
        return cls(columns, cell_width, cell_height, head, size, title, texts)

    def corner(self, number: int) -> tuple[int, int]:
        """Return x and y of the top left of a cell of the sheet."""
        row, column = divmod(number, self.columns)
        x = _MARGIN_PX + column * (self.cell_width + _MARGIN_PX)
        return x, self.head_height + row * (self.cell_height + _MARGIN_PX)


def _fit(line: str, width_px: float, font: ImageFont.FreeTypeFont) -> str:
    """Return a line that is no wider than ``width_px``, cut short where it must be."""
    if font.getlength(line) <= width_px:
        return line
    end = len(line)
    while end > 1 and font.getlength(line[:end] + "…") > width_px:
        end -= 1
    return line[:end].rstrip() + "…"


def _font(height_px: int) -> ImageFont.FreeTypeFont:
    """Return the typeface that matplotlib brings along: it knows umlauts and Greek everywhere."""
    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), height_px)

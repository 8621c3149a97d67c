"""The glossary as a dialog, and the link to it at the foot of every panel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QPushButton, QTextBrowser, QVBoxLayout, QWidget

_WIDTH_PX, _HEIGHT_PX = 480, 560
_TEXT = "What do these words mean?"


@cache
def glossary() -> dict[str, str]:
    """Return ``term -> meaning`` of every term, in alphabetical order; the text is part of the package."""
    text = (files("napari_amil.plugin") / "glossary.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return {term.strip(): meaning.strip() for term, meaning in zip(parts[::2], parts[1::2], strict=True)}


class GlossaryLink(QPushButton):
    """A link that opens the glossary in a dialog of its own.

    Parameters
    ----------
    terms
        Terms of the glossary that the panel shows; they are listed first.
    """

    def __init__(self, terms: Sequence[str], parent: QWidget) -> None:
        super().__init__(_TEXT, parent)
        self.terms = tuple(terms)
        self.setFlat(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Open the glossary: every term in one or two sentences.")
        self.setStyleSheet("QPushButton { text-align: left; padding: 2px 10px; text-decoration: underline; }")
        self.clicked.connect(self.open)

    def open(self) -> GlossaryDialog:
        """Open the glossary; it holds up nothing, and closes with the panel."""
        dialog = GlossaryDialog(self.terms, self)
        dialog.show()
        return dialog


class GlossaryDialog(QDialog):
    """The terms of one panel as links, and below them the whole glossary."""

    def __init__(self, terms: Sequence[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Glossary")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.text = QTextBrowser()
        self.text.setAccessibleName("Glossary")
        self.text.setOpenLinks(False)
        self.text.setHtml(_page(terms))
        self.text.anchorClicked.connect(self._on_link)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        self.resize(_WIDTH_PX, _HEIGHT_PX)

    def _on_link(self, link: object) -> None:
        fragment: str = getattr(link, "fragment", str)()
        self.text.scrollToAnchor(fragment)


def _page(terms: Sequence[str]) -> str:
    """Return the glossary as HTML, with links to ``terms`` on top."""
    links = " · ".join(f'<a href="#{_anchor(term)}">{escape(term)}</a>' for term in terms)
    top = f"<p>On this panel: {links}</p>" if terms else ""
    entries = [
        f'<p><a name="{_anchor(term)}"></a><b>{escape(term)}</b><br>{escape(meaning)}</p>'
        for term, meaning in glossary().items()
    ]
    return top + "".join(entries)


def _anchor(term: str) -> str:
    return re.sub(r"\W+", "-", term.lower())

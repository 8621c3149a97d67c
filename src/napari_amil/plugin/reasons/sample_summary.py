"""The verdict on the shown image in a few lines: whether it looks familiar, the answer, and the shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari.layers import Shapes
from qtpy.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from napari_amil.core.base.class_names import class_sentence
from napari_amil.core.base.sample_words import share_sentences
from napari_amil.core.base.types import ABSTAIN
from napari_amil.plugin.layers.score_words import per_cent
from napari_amil.plugin.reasons.ranked_cells import n_standing_out
from napari_amil.plugin.reasons.sample_verdict import verdict_words
from napari_amil.plugin.window.theme import NOTICE, sized, wrapped

_RESEARCH = "For research only, no diagnosis."
_NAMES_NONE = "So the model names no class."
_MOST_LIKE = "The class of the model that the image is most like; 'Why the verdict?' tells what it rests on."
_NONE = "None of {:,} cells is beyond chance; the most unusual ones first:"
_STANDS_OUT = "A cell stands out if its q-value is below 0.05: of those that do, about 5 % are false alarms."


class SampleSummary(QWidget):
    """Verdict, look, share of abnormal cells, and how many cells stand out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.caption = wrapped()
        self.caption.setToolTip("What the model says about the whole image.")
        self.verdict = sized(wrapped(), 1.4, bold=True)
        self.look = wrapped()
        self.look.setToolTip(
            "Stain, size of the cells and sharpness of this image beside those of the images that the model "
            "knows. Far from them, percentages mean little until the model is calibrated."
        )
        self.detail = wrapped()
        self.share = sized(wrapped(), 1.1, bold=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for label in (self.caption, self.verdict, self.look, self.detail):
            layout.addWidget(label)
        self.foot = QHBoxLayout()
        self.foot.addWidget(self.share, 1)
        layout.addLayout(self.foot)

    def show_text(self, text: str) -> None:
        """Show a sentence in place of a verdict."""
        for label in (self.caption, self.verdict, self.look):
            label.hide()
        self.detail.setText(text)
        self.detail.setToolTip(text)

    def show_bag(self, bag: Mapping[str, Any]) -> None:
        """Show the verdict on a sample, and before it whether its image looks like those of the training."""
        words = verdict_words(bag)
        predicted = str(bag["predicted"])
        verdict = bag.get("verdict") or predicted
        self.caption.setText(words.caption)
        self.caption.setVisible(verdict != ABSTAIN)
        self.verdict.setText(words.headline)
        self.verdict.setToolTip(class_sentence(predicted) or _MOST_LIKE)
        self.verdict.show()
        is_odd = bag.get("looks_alike") is False
        self.look.setText(str(bag.get("look", "")))
        self.look.setStyleSheet(f"QLabel {{ {NOTICE['warning' if is_odd else '']} }}")
        self.look.setVisible(bool(bag.get("look")))
        about = class_sentence(predicted) if verdict == predicted else words.reasons[0]
        if is_odd and bag.get("caveat"):
            about = _NAMES_NONE
        self.detail.setText(" ".join(filter(None, [about, *share_sentences(bag)[:1], _RESEARCH])))
        self.detail.setToolTip("\n".join(words.reasons) or _MOST_LIKE)

    def show_share(self, layer: Shapes | None) -> int:
        """Show and return the number of scored cells of a layer that stand out; None hides it."""
        self.share.setVisible(layer is not None)
        if layer is None:
            return 0
        table = layer.features.iloc[: layer.nshapes]
        scored = int((table["anomaly"].notna() & ~table["status"].eq("excluded")).sum())
        n = n_standing_out(table)
        share = f" ({per_cent(n / scored)})" if n and scored else ""
        text = f"{n:,} of {scored:,} cells stand out{share}" if n else _NONE.format(scored)
        self.share.setText(text)
        others = layer.nshapes - scored
        unscored = (
            f"\n{others:,} cells have no score, as those cut by the border: black outlines." if others else ""
        )
        self.share.setToolTip(_STANDS_OUT + unscored)
        return n

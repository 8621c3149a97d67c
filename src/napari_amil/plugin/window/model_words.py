"""A model card in plain words: what the model knows, where from, and how well it did on what it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LONGEST_LIST = 6


def model_words(card: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return a few sentences about a model; what its card does not say is left out."""
    said = [_origin(card), _knowledge(card, classes), *_results(card), str(card.get("intended_use", ""))]
    return "\n".join(sentence for sentence in said if sentence)


def _origin(card: Mapping[str, Any]) -> str:
    return f"Made from {card['data']}." if card.get("data") else ""


def _knowledge(card: Mapping[str, Any], classes: Sequence[str]) -> str:
    if not classes:
        return "It finds cells and does not score them."
    scorer = card.get("scorer", {})
    control = scorer.get("control")
    text = f"It tells apart {', '.join(classes)}" + (
        f", and compares cells with {control}." if control else "."
    )
    patients, cells = scorer.get("n_patients"), scorer.get("n_cells")
    if isinstance(patients, Mapping) and cells:
        text += f" It learned from {cells:,} cells of {sum(patients.values()):,} patients."
    return text


def _results(card: Mapping[str, Any]) -> list[str]:
    results = card.get("results", {})
    scores, detection = results.get("scores", results), results.get("detection", {})
    lines = []
    if "accuracy" in scores and "n_bags" in scores:
        chance = (
            f" (mean over the classes {scores['balanced_accuracy']:.0%})"
            if "balanced_accuracy" in scores
            else ""
        )
        lines.append(f"Called rightly: {scores['accuracy']:.0%} of {scores['n_bags']:.0f} samples{chance}.")
    if "cell_auroc_anomaly" in scores:
        lines.append(f"Abnormal against normal cells: area under the ROC {scores['cell_auroc_anomaly']:.2f}.")
    if "recall" in detection and "precision" in detection:
        found, right = detection["recall"], detection["precision"]
        lines.append(f"Cells found: {found:.0%}; of what is found {right:.0%} are cells.")
    if lines and card.get("held_out"):
        lines.insert(0, f"Measured on {card['held_out'].rstrip('.')}.")
    return [line.replace("%", " %") for line in lines]


def card_text(card: Mapping[str, Any], indent: str = "") -> str:
    """Return a model card as lines that a person can read; long lists are cut short."""
    lines = []
    for name, value in card.items():
        label = str(name).replace("_", " ")
        label = f"number of {label[2:]}" if label.startswith("n ") else label
        label = label[:1].upper() + label[1:]
        if isinstance(value, dict):
            lines += [f"{indent}{label}:", card_text(value, indent + "   ")]
        elif isinstance(value, list):
            shown = ", ".join(_plain(part) for part in value[:_LONGEST_LIST])
            lines.append(f"{indent}{label}: {shown}{' …' if len(value) > _LONGEST_LIST else ''}")
        else:
            lines.append(f"{indent}{label}: {_plain(value)}")
    return "\n".join(line for line in lines if line)


def _plain(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)

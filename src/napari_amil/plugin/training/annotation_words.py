"""What is said of images that a detector is to learn from: why not, what is weak, how it is judged."""

from __future__ import annotations

from napari_amil.plugin.training.annotation_list import Learned

FEW_IMAGES = 5


def refusal(learned: list[Learned], *, is_folder: bool) -> str:
    """Return why a training cannot start, in a sentence with the remedy; empty if it can."""
    if not learned:
        if is_folder:
            return "The folder holds no annotated image; choose another."
        return "Nothing to learn from yet: find the cells of a field, correct them, and tick the image here."
    if not sum(known.n_cells for known in learned):
        return "There is no cell in these images; outline some first."
    if len(learned) == 1:
        return (
            "One image cannot both teach and judge, so old and new could not be compared; add the corrected "
            "image of a second patient."
        )
    if len({known.patient for known in learned}) == 1:
        return (
            f"All images are of the patient '{learned[0].patient}', so none can be held out to compare old "
            "and new; add one of a second patient, or put the column Patient right."
        )
    return ""


def weak_points(learned: list[Learned]) -> list[str]:
    """Return what makes a training doubtful, a sentence each."""
    told = []
    for known in learned:
        if known.layer is not None and not known.n_by_hand:
            told.append(
                f"'{known.name}': no cell was corrected by hand; tick it only if every outline is right."
            )
        if known.n_excluded:
            told.append(f"'{known.name}': {known.n_excluded} cells that are left out count as no cells.")
    if 1 < len(learned) < FEW_IMAGES:
        told.append(
            f"{len(learned)} images are few: the comparison rests on little. {FEW_IMAGES} to 50 make a "
            "dependable detector."
        )
    return told


def hold_out_words(learned: list[Learned], share: float) -> str:
    """Return how old and new will be compared."""
    n_patients, n_cells = len({known.patient for known in learned}), sum(known.n_cells for known in learned)
    told = f"{n_cells:,} cells in {len(learned)} images of {n_patients} patients. "
    if not share:
        return f"{told}Nothing is held out, so old and new cannot be compared."
    if len(learned) == 2:
        return f"{told}It learns from one image; the other is held out and judges, the same for old and new."
    n_judges = max(1, min(round(share * len(learned)), len(learned) - 1))
    return (
        f"{told}About {n_judges} of the images, of patients drawn at random, are held out and judge; it "
        "learns from the others."
    )

"""When a training ends before its last epoch."""

from __future__ import annotations

from collections.abc import Sequence

from napari_amil.core.base.settings import TrainingSettings


def is_enough(bag_losses: Sequence[float], settings: TrainingSettings) -> bool:
    """Return whether enough epochs had a mean training loss of bags below ``stop_loss``.

    ``cumulative`` counts all such epochs and never starts again (the code of Kazeminia et al. 2022);
    ``consecutive`` counts only the last ones in a row.

    Parameters
    ----------
    bag_losses
        Mean loss of bags of every epoch so far.
    """
    small = [loss < settings.stop_loss for loss in bag_losses]
    if settings.early_stop == "cumulative":
        return sum(small) >= settings.stop_count
    return settings.early_stop == "consecutive" and sum(small[-settings.stop_count :]) == settings.stop_count

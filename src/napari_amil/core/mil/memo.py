"""Embeddings that were made before, found again by what they were made from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from torch import Tensor


class EmbeddingMemo:
    """Remembers embeddings by the weights of the encoder, the number of views and the instances.

    For models that share an encoder which rests: equal cells are embedded once.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Tensor] = {}

    def recall(self, made_from: Sequence[Tensor], n_views: int, make: Callable[[], Tensor]) -> Tensor:
        """Return what ``make`` returned for the same weights, instances and views, or what it returns now."""
        digest = hashlib.sha256(f"{n_views}".encode())
        for tensor in made_from:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        key = digest.digest()
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

"""Encoder from a vision model of other people: a frozen network from a file, and a trained projection."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from napari_amil.core.base.encoders import ENCODER_SPECS
from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.encoders.base import Encoder
from napari_amil.core.encoders.feature_cache import FeatureCache
from napari_amil.core.encoders.vision_file import VisionModel, open_vision_model


class ExternalEncoder(Encoder):
    """``z_n = W norm(f(x_n)) + b`` with a frozen network ``f`` from a local file and a trained ``W``.

    The file stays outside the model bundle, which holds its SHA-256 (``fingerprint``): a model whose file
    has changed is refused. Features are kept by content (`FeatureCache`), so that a crop goes through
    the network once.

    Parameters
    ----------
    settings
        ``external_file`` and how it wants its images.
    """

    spec = ENCODER_SPECS["external"]
    fingerprint: Tensor

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.file, self.architecture = settings.external_file, settings.external_architecture
        self.size_px = settings.external_size_px
        self.mean, self.std = settings.external_mean, settings.external_std
        model = self._vision_model()
        self.register_buffer(
            "fingerprint", torch.tensor(list(bytes.fromhex(model.sha256)), dtype=torch.uint8)
        )
        self.cache = FeatureCache(f"{model.sha256} {self.architecture} {self.size_px} {self.mean} {self.std}")
        self.n_features = model.n_features
        self.project = nn.Sequential(
            nn.LayerNorm(model.n_features, elementwise_affine=False),
            nn.Dropout(settings.dropout),
            nn.Linear(model.n_features, settings.latent_dim),
        )

    @classmethod
    def from_settings(cls, settings: ModelSettings, n_inputs: int) -> Self:
        """Return the encoder of the settings; crops always have 3 channels."""
        return cls(settings)

    def forward(self, crops: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of crops ``(n, 3, size, size)``, uint8 or 0 to 1."""
        if not len(crops):
            return self.project(torch.zeros(0, self.n_features, device=crops.device))
        whole = crops if crops.dtype == torch.uint8 else (crops * 255).round().clamp(0, 255).to(torch.uint8)
        features = self.cache.recall(whole, self._features, keep=not self.training)
        return self.project(features)

    def origin(self) -> dict[str, Any]:
        """Return the file of the network and its hash, for the card."""
        return {
            "file": self.file,
            "architecture": self.architecture,
            "sha256": bytes(self.fingerprint.tolist()).hex(),
            "size_px": self.size_px,
        }

    @torch.no_grad()
    def _features(self, crops: Tensor) -> Tensor:
        """Return the features of crops ``(n, 3, h, w)`` uint8 from the frozen network."""
        images = crops.float() / 255
        size = self.size_px, self.size_px
        images = interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return self._vision_model().embed((images - mean) / std)

    def _vision_model(self) -> VisionModel:
        """Return the network, which belongs to no state: it is neither trained, copied nor saved."""
        return open_vision_model(self.file, self.architecture, self.size_px)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:  # noqa: ANN401
        """Refuse weights that were trained on another file."""
        stored = state_dict.get(f"{prefix}fingerprint")
        if stored is not None and not torch.equal(stored.cpu(), self.fingerprint.cpu()):
            raise BundleError(
                f"The model was trained with another encoder file than '{self.file}' is now "
                f"(SHA-256 {bytes(stored.tolist()).hex()[:12]}..., not {self.origin()['sha256'][:12]}...); "
                "put the right file back, or train again."
            )
        super()._load_from_state_dict(state_dict, prefix, *others)

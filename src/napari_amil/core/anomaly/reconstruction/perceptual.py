"""Frozen networks whose features compare a picture with its reconstruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
import torchvision
from torch import Tensor, nn

from napari_amil.core.anomaly.reconstruction.cell_images import resampled
from napari_amil.core.base.errors import AmilError, BundleError
from napari_amil.core.base.files import decoding
from napari_amil.core.encoders.crop import CropEncoder

PYRAMID, ENCODER, VGG, SQUEEZE = "pyramid", "encoder", "vgg19", "squeezenet1_1"
_KINDS = (PYRAMID, ENCODER, VGG, SQUEEZE)
_PYRAMID_WIDTHS = (16, 32, 64, 64)
_ENCODER_PX = 64  # side of the crops that the encoder was trained on
_VGG_CUTS = (0, 4, 9, 14, 23)  # after ReLU 1_2, 2_2, 3_2 and 4_2
_SQUEEZE_CUTS = (0, 2, 5, 8, 10, 11, 12, 13)  # the seven levels of LPIPS
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PerceptualNet(nn.Module):
    """Features of several levels, each channel in its deviations among control cells.

    With ``f_l = (activation - mu_l) / sigma_l``, where ``mu_l`` and ``sigma_l (channels,)`` are those of
    control cells, since those of photographs say little about cells (Shvetsova et al. 2021 take ImageNet's).

    Parameters
    ----------
    kind
        Which network it is.
    levels
        Each takes the output of the one before; all outputs are features.
    widths
        Channels of each level.
    """

    kind_number: Tensor

    def __init__(self, kind: str, levels: Sequence[nn.Module], widths: Sequence[int]) -> None:
        super().__init__()
        self.kind, self.levels = kind, nn.ModuleList(levels)
        self.register_buffer("kind_number", torch.tensor([_KINDS.index(kind)]))
        for number, width in enumerate(widths):
            self.register_buffer(f"mean_{number}", torch.zeros(width, 1, 1))
            self.register_buffer(f"std_{number}", torch.ones(width, 1, 1))
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    @classmethod
    def pyramid(cls) -> Self:
        """Return fixed random filters, always the same: weak, but at hand everywhere."""
        generator = torch.Generator().manual_seed(0)
        levels = list[nn.Module]()
        for number, (n_in, n_out) in enumerate(pairwise((3, *_PYRAMID_WIDTHS))):
            conv = nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False)
            nn.init.orthogonal_(conv.weight.data.view(n_out, -1), generator=generator)
            pool = nn.AvgPool2d(2) if number else nn.Identity()
            levels.append(nn.Sequential(pool, conv, nn.LeakyReLU(0.2)))
        return cls(PYRAMID, levels, _PYRAMID_WIDTHS)

    @classmethod
    def of_encoder(cls, encoder: CropEncoder) -> Self:
        """Return the levels of a trained encoder of crops."""
        width = len(encoder.stem.state_dict()["0.weight"])
        own = CropEncoder(4, width)  # what follows the levels does not count
        for name in ("stem", "fine", "coarse"):
            own.get_submodule(name).load_state_dict(encoder.get_submodule(name).state_dict())
        return cls(ENCODER, [own.stem, own.fine, own.coarse], (width, 2 * width, 4 * width))

    @classmethod
    def torchvision(cls, kind: str) -> Self:
        """Return VGG19 or SqueezeNet 1.1 with random weights."""
        build = torchvision.models.vgg19 if kind == VGG else torchvision.models.squeezenet1_1
        cuts = _VGG_CUTS if kind == VGG else _SQUEEZE_CUTS
        with torch.device("meta"):
            layers = build(weights=None).features
        layers.to_empty(device="cpu")
        levels = [nn.Sequential(*list(layers)[a:b]) for a, b in pairwise(cuts)]
        widths = (64, 128, 256, 512) if kind == VGG else (64, 128, 256, 384, 384, 512, 512)
        return cls(kind, levels, widths)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Return the network of a file of weights in torchvision's names.

        Raises
        ------
        BundleError
            If the file cannot be read or holds another network.
        """
        advice = "give a safetensors file with the weights of torchvision's vgg19 or squeezenet1_1"
        if path.suffix != ".safetensors":
            raise BundleError(f"'{path}' is not a safetensors file, and pickles are not read; {advice}.")
        with decoding(path, "cannot be read", advice, BundleError):
            weights = safetensors.torch.load_file(path)
        weights = {name.removeprefix("features."): w for name, w in weights.items() if "features." in name}
        for kind, cuts in ((VGG, _VGG_CUTS), (SQUEEZE, _SQUEEZE_CUTS)):
            net = cls.torchvision(kind)
            own = {_level_name(name, cuts): weight for name, weight in weights.items()}
            wanted = net.levels.state_dict()
            if wanted.keys() <= own.keys() and all(own[n].shape == w.shape for n, w in wanted.items()):
                net.levels.load_state_dict({name: own[name] for name in wanted})
                return net
        raise BundleError(f"'{path}' holds the weights of another network; {advice}.")

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the network whose ``state_dict`` was ``state``."""
        kind = _KINDS[int(state["kind_number"])]
        if kind == PYRAMID:
            net = cls.pyramid()
        elif kind == ENCODER:
            net = cls.of_encoder(CropEncoder(4, len(state["mean_0"])))
        else:
            net = cls.torchvision(kind)
        net.load_state_dict(dict(state))
        return net

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation."""
        return super().train(mode=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features ``(n, channels, h, w)`` of each level, of pictures 0 to 1."""
        return [
            (f - getattr(self, f"mean_{number}")) / getattr(self, f"std_{number}")
            for number, f in enumerate(self._raw(x))
        ]

    def _raw(self, x: Tensor) -> list[Tensor]:
        f = x.expand(-1, 3, -1, -1)
        if self.kind == ENCODER:
            f = 1.0 - resampled(f, _ENCODER_PX)
        elif self.kind != PYRAMID:
            f = (f - f.new_tensor(_IMAGENET_MEAN)[:, None, None]) / f.new_tensor(_IMAGENET_STD)[:, None, None]
        found = []
        for level in self.levels:
            f = level(f)
            found.append(f)
        return found

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take mean and deviation of each channel from control cells ``(n, c, size, size)`` uint8."""
        device = self.kind_number.device
        parts = [self._raw(part.to(device).float() / 255.0) for part in images[:1024].split(128)]
        for number, level in enumerate(zip(*parts, strict=True)):
            values = torch.cat([f.transpose(0, 1).flatten(1) for f in level], dim=1)  # (channels, pixels)
            getattr(self, f"mean_{number}").copy_(values.mean(1)[:, None, None])
            getattr(self, f"std_{number}").copy_(values.std(1).clamp_min(1e-4)[:, None, None])

    def distance_map(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance of features at each pixel, ``(n, h, w)``, as LPIPS without learned weights.

        Features have length 1 at every position; their squared differences are summed over channels,
        interpolated and averaged over the levels (Zhang et al. 2018, eq. 1 with w = 1).
        """
        total = x.new_zeros(len(x), *x.shape[2:])
        for f, g in zip(self(x), self(y), strict=True):
            square = (F.normalize(f, dim=1) - F.normalize(g, dim=1)).square().sum(1, keepdim=True)
            wide = F.interpolate(square, size=x.shape[2:], mode="bilinear", align_corners=False)
            total = total + wide[:, 0] / len(self.levels)
        return total

    def relative_difference(self, x: Tensor, y: Tensor, levels: Sequence[int] = ()) -> Tensor:
        """Return the relative perceptual L1 ``(n,)`` (Shvetsova et al. 2021, eq. 3), a mean over levels.

        ``sum |f(x) - f(y)| / sum |f(x)|`` of each picture by itself; the denominator has no gradient.
        """
        pairs = list(zip(self(x), self(y), strict=True))
        chosen = [pairs[level] for level in levels] or pairs
        parts = [
            (f - g).abs().mean(dim=(1, 2, 3)) / f.detach().abs().mean(dim=(1, 2, 3)).clamp_min(1e-6)
            for f, g in chosen
        ]
        return torch.stack(parts).mean(dim=0)


def perceptual_net(source: str) -> PerceptualNet:
    """Return the network that a setting names.

    Raises
    ------
    AmilError
        If it is that of an encoder, which only a model with one can give.
    """
    if source == PYRAMID:
        return PerceptualNet.pyramid()
    if source == ENCODER:
        raise AmilError(
            "The setting 'perceptual' is 'encoder', but no trained encoder of crops is at hand; add the "
            "score to a model with 'napari-amil train-anomaly', or set it to 'pyramid'."
        )
    return PerceptualNet.from_file(Path(source))


def _level_name(name: str, cuts: Sequence[int]) -> str:
    """Return ``"<level>.<layer in it>.<rest>"`` of a name ``"<layer>.<rest>"``."""
    layer, _, rest = name.partition(".")
    number = int(layer)
    level = max(i for i, cut in enumerate(cuts) if number >= cut)
    return f"{level}.{number - cuts[level]}.{rest}"

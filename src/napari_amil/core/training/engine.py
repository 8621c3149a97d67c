"""Training steps on one device, or in mixed precision and on several devices through Fabric.

Fabric places the network and the precision; the loop, the checkpoints and everything that is kept (weights,
control Gaussian, calibration) stay ours, in 32 bits or more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from napari_amil.core.base.errors import DeviceError
from napari_amil.core.base.optional import optional
from napari_amil.core.base.settings import TrainingSettings
from napari_amil.core.mil.instances import Instances
from napari_amil.core.mil.model import AmilModel

T = TypeVar("T")
Losses = Callable[[], tuple[Tensor, ...]]
"""Computes the loss, and whatever else is to be reported."""
_MOST_PIXELS = 2**22  # of all crops that the network holds at once with what it makes of them: about 1 GB


class Engine:
    """Takes optimiser steps in 32 bits on one device.

    Parameters
    ----------
    model, optimiser
        Network and optimiser; both stay those of the caller.
    max_gradient
        Longer gradients are shortened to this length; None leaves them.
    """

    is_first = True
    """Whether this process is the only one, or the first: the one that writes and speaks."""

    def __init__(
        self, model: AmilModel, optimiser: torch.optim.Optimizer, max_gradient: float | None
    ) -> None:
        self.model = model
        self.optimiser = optimiser
        self.max_gradient = max_gradient

    def precision(self) -> AbstractContextManager[object]:
        """Return the context in which an encoder computes while it learns."""
        return nullcontext()

    def embed(self, instances: Instances) -> Tensor:
        """Return the embeddings ``(n_cells, k)``, float32, from which a step learns."""
        with self.precision():
            return embed_in_parts(self.model, instances).float()

    def own(self, chosen: Tensor) -> Tensor:
        """Return this process's part of the ``chosen`` bags or cells of a step."""
        return chosen

    def first(self, value: T) -> T:
        """Return the value that the first process holds."""
        return value

    def agree(self, module: nn.Module) -> None:
        """Give ``module`` the tensors that it has in the first process."""

    def descend(self, losses: Losses) -> tuple[float, ...]:
        """Take one step down the gradient of the first of ``losses`` and return all of them."""
        self.optimiser.zero_grad(set_to_none=True)
        values = losses()
        values[0].backward()
        if self.max_gradient is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_gradient)
        self.optimiser.step()
        return tuple(float(value.detach()) for value in values)

    def state(self) -> dict[str, Any]:
        """Return the state of the engine itself for a checkpoint, as JSON values."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` returned."""


def embed_in_parts(model: AmilModel, instances: Instances) -> Tensor:
    """Return the embeddings ``(n_cells, k)``; those of many cells in parts, so that memory has a limit.

    All cells are used, and the gradient is that of all: a part drops what the network made of it on the way,
    and computes it again for the gradient. Only batch normalisation sees each part by itself.
    """
    most = max(2, _MOST_PIXELS // instances.pixels[0, 0].numel())
    n_parts = -(-len(instances) // most)
    if n_parts <= 1:
        return model.embed(instances)
    rows = torch.arange(len(instances)).tensor_split(n_parts)
    parts = [
        checkpoint(
            model.embed,
            instances[part],
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _statistics_kept(model)),
        )
        for part in rows
    ]
    return torch.cat(parts)


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Let no batch normalisation note down the statistics of cells that it has seen before."""
    layers = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


class FabricEngine(Engine):
    """Takes optimiser steps in mixed precision, or together with other processes.

    The encoder computes in the lower precision; distances, attention, pooling and loss do not. Of
    several processes each takes its share of a step, and gradients and losses are averaged.

    Parameters
    ----------
    fabric
        A ``lightning_fabric.Fabric`` that was launched.
    """

    def __init__(
        self,
        model: AmilModel,
        optimiser: torch.optim.Optimizer,
        max_gradient: float | None,
        fabric: Any,  # noqa: ANN401 - an optional dependency
    ) -> None:
        super().__init__(model, optimiser, max_gradient)
        self.fabric = fabric
        self.is_first = bool(fabric.global_rank == 0)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self._step, self._optimiser = fabric.setup(_LossModule(model), optimiser)

    def precision(self) -> AbstractContextManager[object]:
        """Return the context in which an encoder computes while it learns."""
        context: AbstractContextManager[object] = self.fabric.autocast()
        return context

    def own(self, chosen: Tensor) -> Tensor:
        """Return every n-th of the ``chosen``, as many for each process; some serve twice if need be."""
        n, n_processes = len(chosen), self.fabric.world_size
        padded = torch.arange(-(-n // n_processes) * n_processes) % n
        return chosen[padded[self.fabric.global_rank :: n_processes]]

    def first(self, value: T) -> T:
        """Return the value that the first process holds."""
        held: T = self.fabric.broadcast(value)
        return held

    def agree(self, module: nn.Module) -> None:
        """Give ``module`` the tensors that it has in the first process."""
        module.load_state_dict(self.first({name: v.cpu() for name, v in module.state_dict().items()}))

    def descend(self, losses: Losses) -> tuple[float, ...]:
        """Take one step down the gradient of the first of ``losses``; return means over the processes."""
        self._optimiser.zero_grad(set_to_none=True)
        values = self._step(losses)
        self.fabric.backward(values[0])
        if self.max_gradient is not None:
            self.fabric.clip_gradients(
                self._step, self._optimiser, max_norm=self.max_gradient, error_if_nonfinite=False
            )  # where gradients overflow in 16 bits, the scaler leaves the step out
        self._optimiser.step()
        means = self.fabric.all_reduce(torch.stack([value.detach() for value in values]))
        return tuple(means.tolist())

    def state(self) -> dict[str, Any]:
        """Return the state of the engine itself for a checkpoint, as JSON values."""
        scaler: dict[str, Any] = self.fabric.strategy.precision.state_dict()
        return scaler

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` returned."""
        self.fabric.strategy.precision.load_state_dict(state)


class _LossModule(nn.Module):
    """A loss as the forward pass of a module, which is where data-parallel training listens."""

    def __init__(self, model: AmilModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, losses: Losses) -> tuple[Tensor, ...]:
        """Return the losses, computed in 32 bits outside `Engine.precision`."""
        device = next(self.model.parameters()).device
        with torch.autocast(device.type, enabled=False):
            return losses()


def start_fabric(settings: TrainingSettings, device: torch.device) -> Any:  # noqa: ANN401
    """Return a launched ``Fabric`` for the settings, or None where plain torch will do.

    For several devices this is called in each of their processes (`napari_amil.core.training.ranks`).

    Raises
    ------
    DeviceError
        If the device cannot compute in the wanted precision, or there are fewer of it than wanted.
    MissingExtraError
        If Lightning Fabric is not installed.
    """
    if settings.precision == "32" and settings.devices == 1:
        return None
    fabric = check_compute(settings, device)
    several = settings.devices > 1
    started = fabric.Fabric(
        accelerator=device.type,
        devices=settings.devices if several or device.index is None else [device.index],
        strategy="ddp_find_unused_parameters_true" if several else "auto",
        precision="32-true" if settings.precision == "32" else settings.precision,
        plugins=[fabric.plugins.environments.LightningEnvironment()] if several else None,
    )
    started.launch()
    return started


def check_compute(settings: TrainingSettings, device: torch.device) -> ModuleType:
    """Return Lightning Fabric, or refuse a precision or a number of devices that is not to be had.

    Raises
    ------
    DeviceError, MissingExtraError
        As `start_fabric`.
    """
    if settings.precision == "16-mixed" and device.type != "cuda":
        raise DeviceError(
            f"The precision '16-mixed' needs cuda, not {device.type}; choose 'bf16-mixed' or '32'."
        )
    if device.type == "mps":
        raise DeviceError("On mps there is one device and the precision '32'; choose those.")
    present = torch.cuda.device_count() if device.type == "cuda" else settings.devices
    if settings.devices > present:
        raise DeviceError(f"{settings.devices} devices are wanted, but {present} are here; lower 'devices'.")
    return optional("lightning_fabric")

"""What every test may rely on: one seed, no internet, local sockets."""

from __future__ import annotations

import random
import socket

import numpy as np
import pytest
import pytest_socket
import torch


@pytest.mark.parametrize("_again", [1, 2])
def test_every_test_starts_from_the_same_seed(_again: int) -> None:
    rng_values = (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002
    assert rng_values == pytest.approx((0.8444218515, 0.5488135039, 0.4962565899))


def test_the_internet_is_out_of_reach() -> None:
    with pytest.raises((pytest_socket.SocketBlockedError, UserWarning), match="tried to use socket"):
        socket.socket(socket.AF_INET)


def test_local_sockets_work() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"cell")
        assert other.recv(4) == b"cell"

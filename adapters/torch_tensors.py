"""Between NumPy arrays on the host and PyTorch tensors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .arrays import host_dtype
from .protocol import Array, SparseRows


def to_tensor(array: Array) -> Any:
    """Return a tensor over the same memory. bfloat16, unknown to `from_numpy`, passes as 16-bit integers."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_array(tensor: Any) -> Array:
    """Return a copy on the host, in the tensor's own dtype and shape."""
    return np.array(host_view(tensor), order="C")


def host_view(tensor: Any) -> Array:
    """Return a dense tensor as an array of its own dtype and shape, over the same memory where that is the host's."""
    host = tensor.detach().resolve_neg().cpu()
    if host.dtype is torch.bfloat16:
        array: Array = host.view(torch.int16).numpy().view(host_dtype("bfloat16"))
        return array
    return np.asarray(host.numpy())


def to_sparse(rows: SparseRows, dtype: str) -> Any:
    """Return a sparse COO tensor of `dtype` with one sparse dimension, as an embedding's backward pass makes them."""
    values = to_tensor(np.array(rows.values, dtype=host_dtype(dtype), order="C"))
    indices = torch.from_numpy(np.array(rows.indices, dtype=np.int64)).unsqueeze(0)
    with without_sparse_notice():  # which torch 2.11 gives although the checks are asked for
        return torch.sparse_coo_tensor(indices, values, rows.shape, check_invariants=True)


@contextmanager
def without_sparse_notice() -> Iterator[None]:
    """Leave out the notice that torch gives once where a sparse tensor is made, in its own optimizers too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled", UserWarning)
        yield


def state_array(value: Any) -> Array | None:
    """Return a dense tensor or a number of the state as an array, None for anything else."""
    if isinstance(value, torch.Tensor) and value.layout is torch.strided:
        return to_array(value)
    return np.asarray(value) if isinstance(value, bool | int | float) else None


def plain_value(value: Any) -> Any:
    """Return a one-element tensor as the number it holds, a tuple element by element, all else as it is."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    return tuple(map(plain_value, value)) if isinstance(value, tuple | list) else value

"""Copies of PyTorch tensors on the host: those of one device and dtype cross together, in one transfer."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .arrays import HOST_DTYPES
from .host_buffers import HostBuffers
from .torch_tensors import host_view, to_tensor

GATHERED_DTYPES: Mapping[Any, np.dtype[Any]] = {
    **{getattr(torch, name): dtype for name, dtype in HOST_DTYPES.items()},
    torch.int64: np.dtype(np.int64),
}
"""torch dtype -> NumPy dtype, of all that can be gathered."""


class Piece(NamedTuple):
    """A strided tensor of which a copy is wanted."""

    key: Hashable
    tensor: Any
    index: Any = None
    """Its coordinates that are wanted (C order), an int64 tensor [k]; None for the tensor whole."""


def gather(pieces: Iterable[Piece], buffers: HostBuffers) -> dict[Any, NDArray[Any]]:
    """Copy each piece: key -> array in the tensor's dtype, in its shape or [k].

    The arrays of one device and dtype are views of one of the `buffers`, which nothing else looks at. Raises `KeyError`
    for a dtype that is not in `GATHERED_DTYPES`.
    """
    together: dict[tuple[Any, Any], list[Piece]] = {}
    for piece in pieces:
        together.setdefault((piece.tensor.device, piece.tensor.dtype), []).append(piece)
    found: dict[Any, NDArray[Any]] = {}
    with torch.no_grad():
        for (device, dtype), each in together.items():
            wanted = [piece.tensor if piece.index is None else taken(piece.tensor, piece.index) for piece in each]
            ends = np.cumsum([values.numel() for values in wanted]).tolist()
            buffer = buffers.take(ends[-1], GATHERED_DTYPES[dtype])
            for piece, values, start, end in zip(each, wanted, (0, *ends), ends, strict=False):
                found[piece.key] = np.asarray(buffer[start:end]).reshape(tuple(values.shape))
                if device.type == "cpu":
                    # By NumPy: torch would wake its threads, which go on spinning beside whoever writes to the disk.
                    np.copyto(found[piece.key], host_view(values))
            if device.type != "cpu":
                to_tensor(np.asarray(buffer)).copy_(torch.cat([values.reshape(-1) for values in wanted]))
    return found


def taken(tensor: Any, index: Any) -> Any:
    """The coordinates `index` of `tensor`, as a new vector. Call it without gradient tracking."""
    at = index.to(tensor.device)
    if tensor.is_contiguous():
        # `take` starts the threads of OpenMP for 4,096 values: 15 us here by itself, 260 us and more beside other work.
        return tensor.view(-1).index_select(0, at)
    return torch.take(tensor, at)  # makes no contiguous copy of the whole


def rows_at(rows: Any, values: Any, shape: tuple[int, ...], index: Any) -> Any:
    """The coordinates `index` [k] of a tensor of `shape` that is zero but for its `rows` (rising), which are `values`.

    `values` has the shape [n, *shape[1:]]; so no dense tensor is made of the gradient of an embedding.
    """
    if not len(rows):
        return values.new_zeros(len(index))
    width = int(np.prod(shape[1:], dtype=np.int64))
    wanted = index // width
    place = torch.searchsorted(rows, wanted).clamp_(max=len(rows) - 1)
    entries = values.reshape(len(rows), width)[place, index % width]
    return entries.masked_fill(rows[place] != wanted, 0)

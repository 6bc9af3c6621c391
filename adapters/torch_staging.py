"""Gradients on their way from the host to a device while the step before them is still at work.

Two buffers on the host, pinned so that the device can fetch from them by itself, two on the device, and a stream of
their own for the copies: that of step t + 1 is under way before step t is begun. Events keep a buffer from being
written while it is read, on either side; the host waits for a copy only where it would overwrite its source.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from .protocol import Array
from .torch_tensors import to_tensor


class Lane(Protocol):
    """What a kind of device offers to copy by. An event marks a place in the work that was asked of a stream."""

    def host_buffer(self, size: int, dtype: Any) -> Any:
        """Return a vector on the host."""

    def device_buffer(self, size: int, dtype: Any) -> Any:
        """Return a vector on the device."""

    def copy(self, into: Any, source: Any, after: Any) -> Any:
        """Begin to copy once the event `after` (None: at once) has come; return the event of its end."""

    def hold_steps(self, until: Any) -> None:
        """Let the steps asked for from now on wait for an event; the host goes on."""

    def mark_steps(self) -> Any:
        """Return the event that comes when all steps asked for so far are done."""

    def wait(self, event: Any) -> None:
        """Let the host wait for an event."""

    def finish(self) -> None:
        """Let the host wait for every copy."""


class PlainLane:
    """A device whose memory is the host's: a copy is done when it is asked for."""

    def __init__(self, place: Any) -> None:
        self._place = place

    def host_buffer(self, size: int, dtype: Any) -> Any:
        """Return a vector."""
        return torch.empty(size, dtype=dtype)

    def device_buffer(self, size: int, dtype: Any) -> Any:
        """Return a vector."""
        return torch.empty(size, dtype=dtype, device=self._place)

    def copy(self, into: Any, source: Any, after: Any) -> None:
        """Copy."""
        into.copy_(source)

    def hold_steps(self, until: Any) -> None:
        """There is nothing to wait for."""

    def mark_steps(self) -> None:
        """Steps are done when they return."""

    def wait(self, event: Any) -> None:
        """There is nothing to wait for."""

    def finish(self) -> None:
        """There is nothing to wait for."""


class CudaLane:
    """A CUDA device: pinned buffers, and a stream beside the one that steps run on."""

    def __init__(self, place: Any) -> None:
        self._place = place
        self._copies = torch.cuda.Stream(place)

    def host_buffer(self, size: int, dtype: Any) -> Any:
        """Return a pinned vector."""
        return torch.empty(size, dtype=dtype, pin_memory=True)

    def device_buffer(self, size: int, dtype: Any) -> Any:
        """Return a vector on the device."""
        return torch.empty(size, dtype=dtype, device=self._place)

    def copy(self, into: Any, source: Any, after: Any) -> Any:
        """Ask the second stream for the copy."""
        if after is not None:
            self._copies.wait_event(after)
        with torch.cuda.stream(self._copies):
            into.copy_(source, non_blocking=True)
        return self._copies.record_event()

    def hold_steps(self, until: Any) -> None:
        """Let the current stream wait."""
        torch.cuda.current_stream(self._place).wait_event(until)

    def mark_steps(self) -> Any:
        """Mark the current stream."""
        return torch.cuda.current_stream(self._place).record_event()

    def wait(self, event: Any) -> None:
        """Wait for the device."""
        event.synchronize()

    def finish(self) -> None:
        """Wait for the second stream: the buffers go back to an allocator that knows nothing of it."""
        self._copies.synchronize()


def lane_to(place: Any) -> Lane:
    """Return how to copy to a `torch.device`."""
    return CudaLane(place) if place.type == "cuda" else PlainLane(place)


@dataclass(slots=True)
class _Slot:
    """One of the two ways through."""

    host: Any
    device: Any
    copied: Any = None
    """When the device has fetched from the host's buffer."""
    used: Any = None
    """When the step that was given the device's buffer is done."""


def staged(gradients: Iterable[Array], size: int, dtype: Any, lane: Lane) -> Iterator[Any]:
    """Yield each of `gradients`, 1-D of `size`, as a tensor of `dtype` on the device.

    A tensor is good for what is asked of the device before the next one is taken, and is overwritten then. Each
    gradient is read from `gradients` before the step with the one before it is begun.
    """
    slots = [_Slot(lane.host_buffer(size, dtype), lane.device_buffer(size, dtype)) for _ in range(2)]

    def sent(slot: _Slot, gradient: Array) -> _Slot:
        if slot.copied is not None:
            lane.wait(slot.copied)
        slot.host.copy_(to_tensor(gradient))
        slot.copied = lane.copy(slot.device, slot.host, slot.used)
        return slot

    under_way: _Slot | None = None
    try:
        for number, gradient in enumerate(gradients):
            ready, under_way = under_way, sent(slots[number % 2], gradient)
            if ready is not None:
                yield from _given(ready, lane)
        if under_way is not None:
            yield from _given(under_way, lane)
    finally:
        lane.finish()


def _given(slot: _Slot, lane: Lane) -> Iterator[Any]:
    """Yield the buffer of one slot, once it is filled, and note when it is free again."""
    lane.hold_steps(slot.copied)
    yield slot.device
    slot.used = lane.mark_steps()

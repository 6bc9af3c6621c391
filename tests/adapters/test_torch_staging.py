"""Staging: every gradient arrives, two buffers suffice, and a copy is under way before the step before its own."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from optconform.adapters.torch_staging import CudaLane, PlainLane, lane_to, staged  # noqa: E402

pytestmark = pytest.mark.torch


class Recorded:
    """A device that does what it is asked as late as it may: a copy is carried out when something waits for it."""

    def __init__(self):
        self.log, self.pending, self.made = [], {}, {"host": [], "device": []}

    def host_buffer(self, size, dtype):
        self.made["host"].append(torch.zeros(size, dtype=dtype))
        return self.made["host"][-1]

    def device_buffer(self, size, dtype):
        self.made["device"].append(torch.zeros(size, dtype=dtype))
        return self.made["device"][-1]

    def copy(self, into, source, after):
        event = len(self.log)
        self.log.append(("copy", self.number(into, "device"), self.number(source, "host"), after))
        self.pending[event] = (into, source)
        return event

    def number(self, buffer, side):
        return next(at for at, each in enumerate(self.made[side]) if each is buffer)

    def carry_out(self, event):
        if event in self.pending:
            into, source = self.pending.pop(event)
            into.copy_(source)

    def hold_steps(self, until):
        self.log.append(("hold", until))
        self.carry_out(until)

    def mark_steps(self):
        self.log.append(("mark",))
        return len(self.log) - 1

    def wait(self, event):
        self.log.append(("wait", event))
        self.carry_out(event)

    def finish(self):
        for event in list(self.pending):
            self.carry_out(event)
        self.log.append(("finish",))


GRADIENTS = [np.full(3, value, dtype=np.float32) for value in (1.0, 2.0, 3.0, 4.0)]


def test_every_gradient_arrives_however_late_copies_are():
    lane = Recorded()
    assert [each.tolist() for each in staged(iter(GRADIENTS), 3, torch.float32, lane)] == [
        g.tolist() for g in GRADIENTS
    ]
    assert len(lane.made["host"]) == len(lane.made["device"]) == 2
    assert lane.log[-1] == ("finish",)


def test_a_copy_is_under_way_before_the_step_before_it():
    lane = Recorded()
    for number, _ in enumerate(staged(iter(GRADIENTS), 3, torch.float32, lane), start=1):
        lane.log.append(("step", number))
    what = [entry[0] for entry in lane.log]
    for number in range(1, len(GRADIENTS)):
        copies_begun = what[: lane.log.index(("step", number))].count("copy")
        assert copies_begun == number + 1


def test_no_buffer_is_overwritten_while_it_is_in_use():
    lane = Recorded()
    list(staged(iter(GRADIENTS), 3, torch.float32, lane))
    copies = [(at, *entry[1:]) for at, entry in enumerate(lane.log) if entry[0] == "copy"]
    assert [(device, host) for _, device, host, _ in copies] == [(0, 0), (1, 1), (0, 0), (1, 1)]
    assert [after is None for *_, after in copies] == [True, True, False, False]
    for (earlier, *_), (at, *_, after) in zip(copies, copies[2:], strict=False):
        assert ("wait", earlier) in lane.log[:at]  # the host's buffer was fetched from
        assert lane.log[after] == ("mark",)  # the step that was given the device's buffer was asked for
        assert after < at


def test_leaving_early_waits_for_what_is_under_way():
    lane = Recorded()
    stream = staged(iter(GRADIENTS), 3, torch.float32, lane)
    next(stream)
    assert lane.pending
    stream.close()
    assert not lane.pending


class Stream:
    """A CUDA stream as far as staging knows one."""

    def __init__(self, log, name):
        self.log, self.name = log, name

    def wait_event(self, event):
        self.log.append((self.name, "waits for", event))

    def record_event(self):
        self.log.append((self.name, "marks"))
        return f"{self.name} {len(self.log)}"

    def synchronize(self):
        self.log.append((self.name, "is waited for"))


def test_cuda_copies_beside_the_steps(monkeypatch):
    """The calls alone: no CUDA is here. Copies wait for steps, and steps for copies, on the streams, not the host."""
    log, current = [], []

    @contextmanager
    def inside(stream):
        current.append(stream.name)
        yield
        current.pop()

    class Tensor:
        def copy_(self, source, non_blocking):
            log.append((current[-1], "copies", source, non_blocking))

    monkeypatch.setattr(torch.cuda, "Stream", lambda place: Stream(log, "copies"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda place: Stream(log, "steps"))
    monkeypatch.setattr(torch.cuda, "stream", inside)
    made = []
    monkeypatch.setattr(torch, "empty", lambda size, **how: made.append((size, how)))
    place = torch.device("cuda", 0)
    lane = lane_to(place)
    assert isinstance(lane, CudaLane)
    lane.host_buffer(3, "a dtype")
    lane.device_buffer(3, "a dtype")
    assert made == [(3, {"dtype": "a dtype", "pin_memory": True}), (3, {"dtype": "a dtype", "device": place})]
    assert lane.copy(Tensor(), "first", None) == "copies 2"
    lane.hold_steps("copies 2")
    assert lane.mark_steps() == "steps 4"
    lane.copy(Tensor(), "second", "steps 4")
    lane.finish()
    assert log == [
        ("copies", "copies", "first", True),
        ("copies", "marks"),
        ("steps", "waits for", "copies 2"),
        ("steps", "marks"),
        ("copies", "waits for", "steps 4"),
        ("copies", "copies", "second", True),
        ("copies", "marks"),
        ("copies", "is waited for"),
    ]


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(count):
    assert len(list(staged(iter(GRADIENTS[:count]), 3, torch.float32, Recorded()))) == count


def test_the_host_is_its_own_device():
    lane = lane_to(torch.device("cpu"))
    assert isinstance(lane, PlainLane)
    wide = [gradient.astype(np.float64) for gradient in GRADIENTS]
    assert [each.tolist() for each in staged(iter(wide), 3, torch.float64, lane)] == [g.tolist() for g in wide]

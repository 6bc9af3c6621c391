"""Buffers come back when nothing looks at them any more, and never before."""

import gc
import threading

import numpy as np
import pytest

from optconform.adapters.host_buffers import LEAST_BYTES, MOST_KEPT, HostBuffers

pytestmark = pytest.mark.numpy
FLOAT32 = np.dtype(np.float32)
SIZE = LEAST_BYTES // 4


def address(array):
    return array.__array_interface__["data"][0]


def test_a_buffer_is_used_again_once_no_view_is_left():
    buffers = HostBuffers()
    taken = buffers.take(SIZE, FLOAT32)
    first = address(taken)
    view = np.asarray(taken[10:20]).reshape(2, 5)
    assert type(view) is np.ndarray
    del taken
    other = buffers.take(SIZE, FLOAT32)
    assert address(other) != first, "a view is left"
    view[:] = 7.0
    del view
    assert address(buffers.take(SIZE, FLOAT32)) == first
    assert address(other) != first


def test_a_view_of_a_view_keeps_the_buffer():
    buffers = HostBuffers()
    views = [np.asarray(buffers.take(SIZE, FLOAT32)[5:]).reshape(-1)[3:][::2].view(np.int32) for _ in range(4)]
    for number, view in enumerate(views):
        view[:] = number
    assert [set(view.tolist()) for view in views] == [{0}, {1}, {2}, {3}]


def test_size_and_dtype_are_what_was_asked_for():
    buffers = HostBuffers()
    for size, dtype in ((SIZE, "float32"), (SIZE, "float64"), (2 * SIZE, "float32"), (3, "float16"), (0, "float64")):
        for _ in range(2):
            taken = buffers.take(size, np.dtype(dtype))
            assert (taken.shape, taken.dtype) == ((size,), np.dtype(dtype))


def test_what_is_kept_is_bounded():
    buffers = HostBuffers()
    for more in range(5 * MOST_KEPT):
        buffers.take(SIZE + more, FLOAT32)
    held = [buffers.take(SIZE, FLOAT32) for _ in range(3 * MOST_KEPT)]
    del held
    gc.collect()
    assert sum(len(free) for free in buffers._free.values()) <= MOST_KEPT * (MOST_KEPT + 1)


def test_buffers_given_up_in_another_thread_are_never_shared():
    buffers = HostBuffers()
    wrong = []

    def check(number, view):
        if (view != number).any():
            wrong.append(number)

    for number in range(60):
        view = np.asarray(buffers.take(SIZE, FLOAT32)[:])
        view[:] = number
        thread = threading.Thread(target=check, args=(number, view))
        del view
        thread.start()
    thread.join()
    assert not wrong

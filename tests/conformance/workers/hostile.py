"""NumPy optimizers that hang, crash, flood or break out. The tests copy this file to a folder of their own."""

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


class Plain:
    def __init__(self, weight_decay=0.0):
        self.weight_decay = weight_decay
        self.begin()

    def begin(self):
        pass

    def act(self):
        pass

    def step(self, params, grads, lr):
        self.act()
        return {name: self.one(theta, grads[name], lr) for name, theta in params.items()}

    def one(self, theta, grad, lr):
        return theta if grad is None else theta - lr * np.tanh(grad) - lr * self.weight_decay * theta


def target(act=None, begin=None, name="Named"):
    """Return a sound optimizer that does something besides, in every step or in its constructor."""

    def method(function):
        return lambda self: function() and None

    return type(name, (Plain,), {key: method(each) for key, each in (("act", act), ("begin", begin)) if each})


def remember(*pids):
    """Write processes down, for the tests to look for."""
    with (FOLDER / "pids").open("a") as file:
        file.writelines(f"{pid}\n" for pid in pids)


def leave_children():
    remember(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
    first = os.fork()
    if first == 0:
        os.setsid()
        second = os.fork()
        if second == 0:
            time.sleep(600)
        remember(second)
        os._exit(0)
    os.waitpid(first, 0)


def loop():
    remember(os.getpid())
    while True:
        time.sleep(1e-3)  # as endless as a loop without it, for a hundredth of the processor


def hold_the_gil():
    remember(os.getpid())
    ctypes.PyDLL(None).sleep(600)


def ignore_signals():
    remember(os.getpid())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(600)


def kill_parent():
    remember(os.getpid(), os.getppid())
    os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
    time.sleep(600)


def leave_and(number):
    """Leave a process in a session of its own, then send a signal to the parent."""
    remember(os.getpid())
    leave_children()
    os.kill(os.getppid(), number)
    time.sleep(600)


def write_everywhere(text):
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, text)
    time.sleep(600)


def start_threads():
    for _ in range(100_000):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


def flood():
    sys.stdout.write("first" + "x" * 2**18 + "last\n")


def raise_interrupt():
    raise KeyboardInterrupt("mine")


def raise_strange():
    raise type("E\x07rror", (RuntimeError,), {})("\x1b[2J\n\u202e")


def meet(own, other):
    """Return when the other has come too."""
    (FOLDER / own).touch()
    while not (FOLDER / other).exists():
        time.sleep(0.01)


Exits = target(lambda: os._exit(0))
Segfaults = target(lambda: ctypes.string_at(0))
Aborts = target(os.abort)
KillsItsGroup = target(lambda: os.killpg(0, signal.SIGKILL))
KillsItsParent = target(kill_parent)
SaysExit = target(sys.exit)
Interrupts = target(lambda: signal.raise_signal(signal.SIGINT))
RaisesInterrupt = target(raise_interrupt)
NeedsMemory = target(lambda: bytearray(100 * 10**9))
BuildsBig = target(begin=lambda: np.ones(100 * 10**9 // 8))
StartsThreads = target(start_threads)
Floods = target(begin=flood)
ClosesAll = target(lambda: os.closerange(0, 4096))
WritesEverywhere = target(lambda: write_everywhere(b"\xff" * 64))
ForgesMessages = target(lambda: write_everywhere(b'\0\0\0\x10{"ready": false}'))
ForgesMistakes = target(
    lambda: write_everywhere(b'\0\0\0\x20{"error": "X", "arguments": [1]}' + b'\0\0\0\x0c{"end": 123}')
)
ForgesResults = target(lambda: write_everywhere(b'\0\0\0\x0e{"result": {}}' + b'\0\0\0\x0c{"end": 123}'))
LeavesAndKills = target(lambda: leave_and(signal.SIGKILL))
LeavesAndStops = target(lambda: leave_and(signal.SIGSTOP))
LeavesChildren = target(begin=leave_children)
Strange = target(raise_strange, name="Str\x1b[31mange")
Seeds = target(lambda: random.seed(0))
LoopsInStep = target(loop)
LoopsInConstructor = target(begin=loop)
HoldsTheGil = target(hold_the_gil)
IgnoresSignals = target(ignore_signals)
Speaks = target(begin=lambda: print(os.getpid(), os.getppid()))
First = target(lambda: meet("first", "second"))
Second = target(lambda: meet("second", "first"))

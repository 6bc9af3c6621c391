"""A trace behind an address is the same bits as the directory it is a copy of, or is refused with a reason."""

import http.server
import json
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from optconform.conformance.cli.trace import trace as command
from optconform.conformance.traces import TraceError, find_trace, open_trace, remote, synthetic_trace, write_trace
from optconform.conformance.traces import blocks as blocks_module

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

FIRST, SECOND = "gradients-00001.safetensors", "gradients-00002.safetensors"
SECRET = "s3cr3t"
TARGET = """
class SGD:
    def __init__(self, weight_decay):
        self.wd = weight_decay

    def step(self, params, grads, lr):
        stepped = {name: params[name] - lr * (grad + self.wd * params[name]) for name, grad in grads.items()
                   if grad is not None}
        return params | stepped


def make(lr=0.1, weight_decay=0.0):
    return SGD(weight_decay)
"""


@contextmanager
def served(folder):
    """Serve `folder` on this machine. What the yielded object says decides how; it counts what was asked for."""
    state = SimpleNamespace(ranges=True, status={}, cut={}, drop=0, silent=False, asked=[], sent=0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            name = self.path.partition("?")[0].rpartition("/")[2]
            state.asked.append((self.command, name, self.headers.get("Range")))
            if state.silent and body:
                time.sleep(0.5)
            if state.drop and body:
                state.drop -= 1
                self.close_connection = True
                return
            file = folder / name
            status = state.status.get(name, 200 if file.is_file() else 404)
            if status != 200:
                self.send_error(status)
                return
            raw = file.read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "") if state.ranges else None
            part = raw[int(asked[1]) : int(asked[2]) + 1] if asked else raw
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(part)))
            if asked:
                self.send_header("Content-Range", f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(raw)}")
            self.end_headers()
            if body:
                sent = part[: state.cut.get(name, len(part))]
                state.sent += len(sent)
                with suppress(ConnectionError):  # a client that has seen enough
                    self.wfile.write(sent)
                self.close_connection = len(sent) < len(part)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_port}/run.trace"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server(stored):
    with served(stored) as state:
        yield state


@pytest.fixture
def in_memory(stored):
    store = fsspec.filesystem("memory")
    store.put(str(stored), "/run.trace", recursive=True)
    yield "memory://run.trace"
    store.rm("/run.trace", recursive=True)


@pytest.fixture
def large(tmp_path):
    """4 shards of 5 steps over three tensors, 12 kB a step; and blocks of 1 kB."""
    shapes = {"w": (50, 40), "v": (900,), "s": (100,)}
    made = synthetic_trace("mixed", seed=2, shapes=shapes, n_steps=20, dtype="float32")
    write_trace(made, tmp_path / "large", steps_per_shard=5)
    return tmp_path / "large"


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK_BYTES", 1024)
    monkeypatch.setattr(remote, "BLOCK_BYTES", 1024)


def refusal(address):
    with pytest.raises(TraceError) as refused:
        open_trace(address)
    assert str(refused.value).isprintable()
    assert SECRET not in str(refused.value)
    return refused.value


# The same bits.


def test_in_memory(stored, in_memory, tools):
    local, far = open_trace(stored), open_trace(in_memory)
    assert tools.same(local, far)
    assert (far.sha256, far.location) == (local.sha256, in_memory)
    assert far.block("w", 4, 3, 9).tobytes() == local.block("w", 4, 3, 9).tobytes()


@pytest.mark.parametrize("ending", ["", "/", "/index.json", f"?token={SECRET}", f"/index.json?token={SECRET}"])
def test_over_http(stored, server, tools, ending):
    far = find_trace(server.address + ending)
    assert tools.same(open_trace(stored), far)
    assert far.location == server.address + ("/" if ending == "/" else "")


def test_everything_that_a_run_keeps(rich_trace, tools):
    local = open_trace(rich_trace)
    with served(rich_trace) as state:
        far = open_trace(state.address)
        assert tools.same(local, far)
        for step in range(1, local.n_steps + 1):
            np.testing.assert_equal(far.parameters_after(step), local.parameters_after(step))
        for segment in local.run.segments:
            np.testing.assert_equal(far.state_before(segment), local.state_before(segment))
        for parameter in local.parameters:
            np.testing.assert_equal(far.coordinates(parameter.name), local.coordinates(parameter.name))


def test_verifying_shows_no_secret(server):
    result = CliRunner().invoke(command, ["verify", f"{server.address}?token={SECRET}"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{server.address}: sound, 5 steps")


def test_a_file_address_is_a_directory(stored, tools):
    assert tools.same(open_trace(stored.as_uri()), open_trace(stored))


def test_the_arrays_are_fresh(in_memory):
    far = open_trace(in_memory)
    far.initial_parameters()["w"][:] = 7.0
    next(far.steps()).gradients["w"][:] = 7.0
    assert not (far.initial_parameters()["w"] == 7.0).all()
    assert not (next(far.steps()).gradients["w"] == 7.0).all()


# How much is fetched.


def test_one_step_fetches_about_that_step(large, small_blocks):
    with served(large) as state:
        trace = open_trace(state.address, verify=False)
        before = state.sent
        list(trace.steps(1))
        step = sum(4 * p.size for p in trace.parameters)
        assert step <= state.sent - before <= step + 2 * 1024 * len(trace.parameters)
        before = state.sent
        trace.block("w", 17, 300, 400)
        assert state.sent - before <= 2 * 1024


def test_steps_one_after_the_other_fetch_every_byte_once_in_few_requests(large, small_blocks):
    with served(large) as state:
        trace = open_trace(state.address)  # verifies: every byte
        whole = sum(shard.bytes for shard in trace.index.shards)
        assert state.sent <= whole + (large / "index.json").stat().st_size
        for _ in range(2):
            list(trace.steps())
        assert state.sent <= whole + (large / "index.json").stat().st_size
        asked = [name for command, name, _ in state.asked if command == "GET" and name == SECOND]
        assert len(asked) < trace.index.gradients[1].n_steps * len(trace.parameters) / 2


def test_the_cache_is_bounded(large, small_blocks, monkeypatch, tools):
    monkeypatch.setattr(blocks_module, "CACHE_BYTES", 8 * 1024)
    monkeypatch.setattr(blocks_module, "AHEAD_BLOCKS", 2)
    monkeypatch.setattr(blocks_module, "MOST_BLOCKS", 2)
    kept = []
    with served(large) as state:
        trace = open_trace(state.address)
        for step in trace.steps():
            kept.append(sum(map(len, trace.files._blocks._kept.values())))
            assert trace.files._blocks._bytes == kept[-1]
            assert step.gradients.keys() == {"w", "v", "s"}
        assert tools.same(trace, open_trace(large))
    assert max(kept) <= 8 * 1024 + 1024


# What goes wrong.


@pytest.mark.parametrize("status", [401, 403, 404, 500])
@pytest.mark.parametrize("file", ["index.json", SECOND])
def test_a_status(server, status, file):
    server.status[file] = status
    error = refusal(f"{server.address}?token={SECRET}")
    assert (error.file, error.found) == (f"{server.address}/{file}", f"HTTP status {status}")
    assert ("credentials" in error.remedy) == (status in (401, 403))
    tried = [name for command, name, _ in server.asked if name == file and command == "HEAD"]
    assert len(tried) == (remote.ATTEMPTS if status == 500 else 1)


def test_nobody_answers(server, stored):
    with served(stored) as other:
        address = other.address
    error = refusal(address)
    assert error.file == f"{address}/index.json"
    assert "connect" in error.found.lower()


def test_a_connection_that_is_dropped_is_made_again(server, stored, tools):
    far = open_trace(server.address)
    server.drop = 1
    far.files._blocks._kept.clear()
    assert tools.same(far, open_trace(stored))


def test_connections_that_are_always_dropped(server):
    server.drop = 1000
    assert refusal(server.address).found.startswith("no answer")


def test_a_server_that_says_nothing(server, monkeypatch):
    monkeypatch.setattr(remote, "READ_SECONDS", 0.05)
    monkeypatch.setattr(remote, "ATTEMPTS", 1)
    server.silent = True
    assert refusal(server.address).found == "no answer in time"


def test_a_body_that_ends_early(server):
    server.cut[SECOND] = 20
    assert refusal(server.address).file.endswith(SECOND)


def test_an_answer_of_fewer_bytes(stored, in_memory, monkeypatch):
    trace = open_trace(in_memory, verify=False)
    fsspec.filesystem("memory").pipe("/run.trace/" + SECOND, (stored / SECOND).read_bytes()[:30])
    trace.files._blocks._kept.clear()
    trace.files._streams.clear()
    with pytest.raises(TraceError, match=r"bytes where .* were asked for"):
        list(trace.steps())


def test_a_server_without_ranges_serves_small_files(server, stored, tools):
    server.ranges = False
    assert tools.same(open_trace(server.address), open_trace(stored))


def test_a_server_without_ranges_is_told_from_one_that_is_broken(large, small_blocks):
    with served(large) as state:
        state.ranges = False
        assert refusal(state.address).found == "a server that sends whole files only"


@pytest.mark.parametrize("keep_size", [True, False])
def test_what_is_changed_after_it_was_verified_is_seen(server, stored, keep_size):
    far = open_trace(server.address)
    raw = bytearray((stored / SECOND).read_bytes())
    raw[-1] ^= 1
    (stored / SECOND).write_bytes(raw if keep_size else raw[:-1])
    far.files._blocks._kept.clear()
    with pytest.raises(TraceError, match="than when it was verified" if keep_size else "were asked for"):
        list(far.steps())


def test_a_wrong_digest(server, stored):
    raw = bytearray((stored / SECOND).read_bytes())
    raw[-1] ^= 1
    (stored / SECOND).write_bytes(raw)
    assert refusal(server.address).found.startswith("SHA-256")


def test_a_missing_folder_in_memory():
    error = refusal("memory://nothing-there")
    assert (error.file, error.found) == ("memory://nothing-there/index.json", "no such file")


def test_a_folder_in_place_of_a_shard(in_memory):
    store = fsspec.filesystem("memory")
    store.rm("/run.trace/" + SECOND)
    store.pipe(f"/run.trace/{SECOND}/x", b"x")
    assert "directory" in refusal(in_memory).found


def test_an_index_that_is_too_large_is_not_fetched(server, stored):
    with (stored / "index.json").open("r+b") as stream:
        stream.truncate(64 * 2**20 + 1)
    assert "at most 67108864 bytes" in str(refusal(server.address))
    assert server.sent == 0


@pytest.mark.parametrize("scheme", ["nosuchscheme", "https3"])
def test_an_unknown_scheme(scheme):
    assert f"no scheme '{scheme}'" in str(refusal(f"{scheme}://user:{SECRET}@host/t"))


@pytest.mark.parametrize(("absent", "address"), [("fsspec", "memory://t"), ("aiohttp", "http://127.0.0.1:1/t")])
def test_what_is_missing_is_named_with_the_command_that_installs_it(monkeypatch, absent, address):
    monkeypatch.setitem(sys.modules, absent, None)
    error = refusal(address)
    assert absent in error.found
    assert "pip install 'optconform[remote]'" in error.remedy


def test_no_secret_in_a_message(monkeypatch):
    class Broken:
        def info(self, address):
            raise OSError(f"cannot read {address}")

    monkeypatch.setattr(remote, "_open_store", lambda address: (Broken(), address))
    error = refusal(f"https://user:{SECRET}@host/t?sig={SECRET}#{SECRET}")
    assert error.file == "https://host/t/index.json"
    assert error.__suppress_context__


# In worker processes.


def test_the_command_line_checks_a_trace_behind_an_address(server, tmp_path):
    target = tmp_path / "target.py"
    target.write_text(TARGET)
    address = f"{server.address}?token={SECRET}"
    arguments = ["check", f"{target}:make", "--framework", "numpy", "--trace", address, "--expect", "ignored"]
    done = subprocess.run(
        [sys.executable, "-m", "optconform", *arguments, "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["verdict"] == "equivalent"
    assert [each["name"] for each in result["traces"]] == ["synthetic:mixed:1"]

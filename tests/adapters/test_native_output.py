"""Known noise on file descriptor 2 is left out; everything else comes through, also when the import raises."""

import os

import pytest

from optconform.adapters.native_output import NOISE, without_noise


def test_only_noise_is_left_out(capfd):
    with without_noise():
        os.write(2, b"first\n" + NOISE[0] + b" and more\nW0000 " + NOISE[1] + b"\nlast\n")
    assert capfd.readouterr().err == "first\nlast\n"


def test_output_before_an_error_is_written(capfd):
    def broken_import():
        with without_noise():
            os.write(2, b"the reason\n")
            raise ImportError("broken")

    with pytest.raises(ImportError, match="broken"):
        broken_import()
    assert capfd.readouterr().err == "the reason\n"


def test_standard_error_is_itself_again(capfd):
    with without_noise():
        pass
    os.write(2, NOISE[0] + b"\n")
    assert capfd.readouterr().err == NOISE[0].decode() + "\n"

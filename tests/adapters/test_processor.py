"""The processor has a name, whatever the platform tells of it."""

import platform

import pytest

from optconform.adapters.processor import describe_processor


def test_name_family_and_vector_extensions_from_the_kernels_description(tmp_path):
    source = tmp_path / "cpuinfo"
    source.write_text(
        "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC  9654\n"
        "flags\t\t: fpu avx512f avx2 fma\nmodel name\t: another\n"
    )
    assert describe_processor(source) == {
        "name": "AMD EPYC 9654 family 25 model 17",
        "machine": platform.machine(),
        "system": platform.system(),
        "vector": "avx2 fma avx512f",
    }


def test_extensions_of_arm(tmp_path):
    source = tmp_path / "cpuinfo"
    source.write_text("processor\t: 0\nFeatures\t: fp asimd evtstrm sve\n")
    assert describe_processor(source)["vector"] == "asimd sve"


@pytest.mark.parametrize("text", [None, "", "processor\t: 0\nBogoMIPS\t: 50.00\n"])
@pytest.mark.parametrize(
    ("processor", "machine", "expected"), [("arm", "arm64", "arm"), ("", "aarch64", "aarch64"), ("", "", "unknown")]
)
def test_name_where_the_kernel_tells_none(text, processor, machine, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: processor)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    source = tmp_path / "cpuinfo"
    if text is not None:
        source.write_text(text)
    assert describe_processor(source)["name"] == expected


def test_this_machine_has_a_name():
    assert describe_processor()["name"].strip()

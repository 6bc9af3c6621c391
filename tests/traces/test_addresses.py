"""Addresses: told from paths, put together, and shown without secrets."""

from optconform.conformance.addresses import below, is_address, shown, without_file

SECRET = "s3cr3t"


def test_addresses():
    assert all(map(is_address, ("http://h", "s3://b/k", "memory://", "simplecache::https://h/x", "abfs+x://y")))
    assert not any(map(is_address, ("trace", "./a", "C://traces", "C:/t", "synthetic:mixed:1", "/a://b", "")))
    assert shown(f"simplecache::https://u:{SECRET}@h:1/a/b?sig={SECRET}") == "simplecache::https://h:1/a/b"
    assert shown("a?b#c@d") == "a?b#c@d"
    assert below("https://h/t/?a=1", "f") == "https://h/t/f?a=1"
    assert below("s3://bucket/odd?name", "f") == "s3://bucket/odd?name/f"
    assert without_file("https://h/t/index.json?a=1", "index.json") == "https://h/t?a=1"

"""Every mistake in a configuration is named: file, key, value, what was expected, and what may have been meant."""

import datetime
import json
import os
import tomllib

import jsonschema
import pytest

from optconform.conformance.cli.main import main
from optconform.conformance.configuration.errors import ConfigurationError
from optconform.conformance.configuration.keys import ACCEPT_KEYS, KEYS, TARGET_KEYS
from optconform.conformance.configuration.reading import find_configuration, read_configuration
from optconform.conformance.configuration.schema import configuration_schema

TARGET = '[[tool.optconform.targets]]\ntarget = "src/optim.py:Mine"\n'
ACCEPT = '[[tool.optconform.accept]]\ncode = "OC204"\ntarget = "src/optim.py:Mine"\nreason = "known"\n'
SCHEMA = jsonschema.Draft7Validator(configuration_schema())

FORM = {
    # what the table holds: what is said of it; an editor sees it too
    "expct = 1": "expct is no key of the configuration; known here: targets, traces",
    "trace = []": 'trace is no key of the configuration; did you mean "traces"?',
    "targets = []": "targets is []: it should hold something; remove the key to check the built-in optimizers",
    "targets = true": "targets is true, a boolean, but should be an array with each item a table, such as {",
    'targets = ["a:b"]': 'targets[0] is "a:b" but should be a table, such as { target =',
    '[tool.optconform.targets]\ntarget = "a:b"': "did you mean [[tool.optconform.targets]], in two brackets?",
    '[[tool.optconform.targets]]\nexpect = "l2"': "targets[0].target is missing; it should be package.module:attribute",
    '[[tool.optconform.targets]]\ntarget = "nocolon"': 'targets[0].target is "nocolon": ',
    TARGET + 'expect = "decopled"': "verdict 'decopled' should be one of decoupled, l2,",
    TARGET + 'expect = "l2,low=wd"': "key 'low' should be one of law, order, epsilon, momentum; did you mean 'law'?",
    TARGET + 'expct = "l2"': 'targets[0].expct is no key of the configuration; did you mean "expect"?',
    TARGET + 'framework = "pytroch"': "should be one of numpy, torch, tensorflow, jax; did you mean",
    TARGET + 'framework = "keras"': 'framework is "keras" but should be one of numpy, torch, tensorflow, jax; '
    'did you mean "tensorflow"?',
    TARGET + "path = 1": "targets[0].path is 1, an integer, but should be the name of an execution path",
    TARGET + 'mode = "free"': 'should be one of theta-resync, free-run, full-resync; did you mean "free-run"?',
    TARGET + "set = 3": "targets[0].set is 3, an integer, but should be a table such as { weight_decay",
    TARGET + 'set = { "a b" = 1 }': 'targets[0].set."a b" is 1: its key should be the name of an option',
    TARGET + "map = { lr = 3 }": "targets[0].map.lr is 3, an integer, but should be the target's own name",
    TARGET + TARGET: "targets[1] is {",
    "traces = [3]": "traces[0] is 3, an integer, but should be the name, path or address of a trace",
    'traces = [""]': 'traces[0] is "" but should be',
    'dtypes = ["float46"]': 'dtypes[0] is "float46" but should be one of float64, float32, bfloat16, float16; '
    'did you mean "float64"?',
    'dtypes = ["Float32"]': 'did you mean "float32"?',
    'dtypes = ["bf16"]': 'did you mean "bfloat16"?',
    "dtypes = []": "dtypes is []: it should hold something; remove the key for the default",
    'dtypes = "float64"': 'dtypes is "float64" but should be an array with each item one of float64',
    'dtypes = ["float64", "float64"]': 'dtypes[1] is "float64": that is tool.optconform.dtypes[0] again',
    'devices = ["cdua"]': 'devices[0] is "cdua" but should be cpu, cuda or gpu:N; did you mean "cuda"?',
    'devices = ["gpu:x"]': 'devices[0] is "gpu:x" but should be',
    'select = ["OC999"]': "should be a code of the rule table, such as OC204; `optconform rules` lists them",
    'ignore = ["coupled-decay"]': 'did you mean "OC101"?',
    'require = ["pytorch"]': 'or a device (cpu, cuda, gpu:N); did you mean "torch"?',
    "baseline = 3": "baseline is 3, an integer, but should be the path of a baseline",
    'baseline = " "': 'baseline is " " but should be the path of a baseline',
    '[[tool.optconform.accept]]\ncode = "OC204"\ntarget = "*"': "accept[0].reason is missing; it should be a sentence",
    ACCEPT.replace("known", " "): 'accept[0].reason is " " but should be a sentence that says why',
    ACCEPT.replace("OC204", "OC2O4"): 'accept[0].code is "OC2O4" but should be a code',
    ACCEPT + ACCEPT: "that is tool.optconform.accept[0] again; remove one of them",
}
MEANING = {
    # what only somebody sees who looks at the disk, or knows the grammar
    '[[tool.optconform.targets]]\ntarget = "src/optm.py:Mine"': "src/optm.py does not exist in the folder of the "
    'configuration; did you mean "optim.py"?',
    '[[tool.optconform.targets]]\ntarget = "src/none/optim.py:Mine"': "src/none/optim.py does not exist",
    '[[tool.optconform.targets]]\ntarget = "src/folder.py:Mine"': "src/folder.py is no regular file",
    '[[tool.optconform.targets]]\ntarget = "src/optim:Mine"': "is not a .py file",
    '[[tool.optconform.targets]]\ntarget = "optim:Mi-ne"': "is not a target",
    TARGET + 'expect = "l2,law=lr"': "law 'lr' should be one of lr*wd, schedule*wd, wd, other",
    TARGET + "set = { lr = nan }": "targets[0].set.lr is NaN, a float, but should be a finite number",
    TARGET + "set = { betas = [0.9, inf] }": "targets[0].set.betas[1] is Infinity, a float, but should be",
    TARGET + "set = { lr = 1979-05-27 }": 'targets[0].set.lr is "1979-05-27", a date or a time, but should be',
    'traces = ["digits_mpl"]': "there is no trace of this name, and no such directory in the folder of the "
    'configuration; did you mean "digits_mlp"?',
    'traces = ["src"]': "no index.json in it",
    'traces = ["synthetic:mixd"]': "mixd",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "src" / "folder.py").mkdir(parents=True)
    (tmp_path / "src" / "optim.py").write_text("class Mine:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pyproject.toml"


def table(text):
    return f"[tool.optconform]\n{text}\n"


@pytest.mark.parametrize(("text", "said"), [*FORM.items(), *MEANING.items()])
def test_a_mistake_is_named(project, text, said):
    project.write_text(table(text))
    with pytest.raises(ConfigurationError) as caught:
        find_configuration()
    message = str(caught.value)
    assert message.startswith("pyproject.toml: tool.optconform."), message
    assert said in message
    assert "\n" not in message


@pytest.mark.skipif(os.name == "nt", reason="it is a path there")
def test_a_path_of_windows_is_told_apart(project):
    project.write_text(table("[[tool.optconform.targets]]\ntarget = 'src\\optim.py:Mine'"))
    with pytest.raises(ConfigurationError, match="does not exist in the folder of the configuration; write / where"):
        find_configuration()


@pytest.mark.parametrize("text", FORM)
def test_an_editor_sees_it_too(text):
    assert not SCHEMA.is_valid(tomllib.loads(table(text)))


@pytest.mark.parametrize("text", [text for text in MEANING if "1979" not in text])
def test_an_editor_leaves_the_rest_to_the_command(text):
    assert SCHEMA.is_valid(json.loads(json.dumps(tomllib.loads(table(text)))))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"x = ", "pyproject.toml is no valid TOML: Invalid value (at end of document); mend it"),
        (b"\xff\xfe[tool.optconform]", "pyproject.toml is not UTF-8 from byte 0 on; mend it, or run with --no-config"),
        (b"x = " + b"[" * 5000, "pyproject.toml nests too deeply to be read"),
        (b"#" * (4 << 20) + b"#", "pyproject.toml has more than 4,194,304 bytes"),
        (b"[tool.optcomform]", "pyproject.toml has a table [tool.optcomform]; did you mean [tool.optconform]?"),
        (b"[tool.OptConform]", "pyproject.toml has a table [tool.OptConform]; did you mean [tool.optconform]?"),
        (b"[tool]\noptconform = 3", "tool.optconform is 3, an integer, but should be a table"),
    ],
)
def test_a_file_that_cannot_be_read_is_the_users_to_mend(project, run, raw, said):
    project.write_bytes(raw)
    status, out, err = run("check")
    assert (status, out) == (2, "")
    assert said in err


def test_all_mistakes_are_told_at_once(project, run):
    project.write_text(table(f'expct = 1\ndtypes = ["half"]\n{TARGET}path = 2'))
    status, _, err = run("check")
    assert status == 2
    assert err.splitlines()[0] == "Error: pyproject.toml has 3 mistakes:"
    assert [line.split(" is ")[0].strip() for line in err.splitlines()[1:]] == [
        "tool.optconform.expct",
        "tool.optconform.dtypes[0]",
        "tool.optconform.targets[0].path",
    ]


def test_no_control_character_reaches_the_terminal(project, capsys):
    project.write_text('[tool.optconform]\n"e\\u001b[31m" = 1\ndtypes = ["\\u0007"]\n')
    assert main(["check"]) == 2
    err = capsys.readouterr().err
    assert not {"\x1b", "\x07"} & set(err)
    assert r"\u001b" in err
    assert r"\u0007" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TARGET.replace(":Mine", ":Nope"), "src/optim.py has no attribute 'Nope'"),
        (TARGET + "set = { nope = 1 }", "has no option 'nope'"),
        (TARGET + 'path = "nope"', "numpy has no path 'nope'"),
        (
            '[[tool.optconform.targets]]\ntarget = "no_such_module_here:X"',
            "there is no module named no_such_module_here",
        ),
        (TARGET.replace(":Mine", ":untold"), "Here --framework and --map are the keys framework and map."),
    ],
)
def test_what_only_the_worker_sees_is_a_mistake_in_the_configuration(project, run, text, said):
    project.write_text(table('traces = ["synthetic:small"]\n' + text))
    project.with_name("src").joinpath("optim.py").write_text(
        "class Mine:\n"
        "    def __init__(self, weight_decay=0.0):\n"
        "        self.weight_decay = weight_decay\n"
        "    def step(self, params, grads, lr):\n"
        "        return params\n"
        "def untold(a, b):\n"
        "    return 3\n"
    )
    status, out, err = run("check")
    assert (status, out) == (2, "")
    assert "Error: pyproject.toml: tool.optconform.targets: " in err
    assert said in err


ODD = (
    *(0, -1, True, 1.5, float("nan"), "", " ", "\0", "\u202e", "a" * 300, "x" * 5000 + ".py:C", "\0.py:C", "a/b.py:C"),
    *("synthetic:", "synthetic:mixed:x", "generated:", "generated:1e99", "://", "file:///none", "l2,", "gpu:", "OC"),
    *(
        [],
        {},
        [[]],
        [{}],
        {"": 1},
        {"a": 1},
        ["cpu", "cpu"],
        [1, [2, {"x": datetime.time(1)}]],
        datetime.date(2020, 1, 1),
    ),
)


@pytest.mark.parametrize("key", [key.name for key in (*KEYS, *TARGET_KEYS, *ACCEPT_KEYS)])
def test_no_value_is_more_than_a_mistake(project, key):
    """Whatever stands there: the configuration is read, or refused with a message that can be printed."""
    said = []
    for value in ODD:
        for table in ({key: value}, {key: [value]}, {"targets": [{key: value}]}, {"accept": [{key: value}]}):
            try:
                read_configuration(table, project)
            except ConfigurationError as error:
                said += str(error).splitlines()
    assert said
    assert not {"\0", "\u202e"} & set("".join(said))
    assert max(map(len, said)) < 2500

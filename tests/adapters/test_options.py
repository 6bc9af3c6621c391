"""Canonical names, the names in the wild, and constructors that hide theirs."""

import pytest

from optconform.adapters.errors import TargetError, UnknownOption
from optconform.adapters.option_names import ALIASES, Element
from optconform.adapters.options import (
    accepts,
    canonical_hyperparameters,
    canonical_values,
    constructor_arguments,
    default_of,
    held_values,
    names_in_order,
    names_of,
    own_name,
)
from optconform.adapters.protocol import Target
from optconform.adapters.signatures import signature_of

pytestmark = pytest.mark.numpy


def target(attribute, framework="numpy", **renamed):
    return Target("module:attribute", attribute, framework, renamed)


def torch_adamw(params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    """As torch spells it."""


def keras_adamw(learning_rate=0.001, weight_decay=0.004, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """As Keras spells it."""


def optax_adamw(learning_rate, b1=0.9, b2=0.999, eps=1e-8, *, weight_decay=1e-4):
    """As Optax spells it."""


def no_default(params, lr, betas):
    """Nothing to fall back to."""


CANONICAL = {"lr": 0.1, "weight_decay": 0.2, "beta1": 0.3, "beta2": 0.4, "eps": 0.5}


@pytest.mark.parametrize(
    ("attribute", "framework", "expected"),
    [
        (torch_adamw, "torch", {"lr": 0.1, "weight_decay": 0.2, "betas": (0.3, 0.4), "eps": 0.5}),
        (
            keras_adamw,
            "tensorflow",
            {"learning_rate": 0.1, "weight_decay": 0.2, "beta_1": 0.3, "beta_2": 0.4, "epsilon": 0.5},
        ),
        (optax_adamw, "jax", {"learning_rate": 0.1, "weight_decay": 0.2, "b1": 0.3, "b2": 0.4, "eps": 0.5}),
    ],
)
def test_canonical_names_become_the_targets_own_and_back(attribute, framework, expected):
    assert constructor_arguments(target(attribute, framework), CANONICAL) == expected
    assert canonical_values(target(attribute, framework), expected) == CANONICAL


@pytest.mark.parametrize(("canonical", "own"), [(c, o) for c, names in ALIASES.items() for o in names])
def test_every_alias_is_understood(canonical, own):
    if isinstance(own, Element):
        namespace = {}
        exec(f"def factory(params, {own.option}=(0.5, 0.25)): pass", namespace)
        found = constructor_arguments(target(namespace["factory"], "torch"), {canonical: 0.75})
        assert found[own.option][own.index] == 0.75
        return
    namespace = {}
    exec(f"def factory(params, {own}=0.5): pass", namespace)
    assert constructor_arguments(target(namespace["factory"], "torch"), {canonical: 0.75}) == {own: 0.75}
    assert default_of(target(namespace["factory"], "torch"), canonical) == 0.5


def test_one_beta_keeps_the_default_of_the_other():
    torch = target(torch_adamw, "torch")
    assert constructor_arguments(torch, {"beta2": 0.99}) == {"betas": (0.9, 0.99)}
    assert constructor_arguments(torch, {"beta1": 0.8}) == {"betas": (0.8, 0.999)}
    assert (default_of(torch, "beta1"), default_of(torch, "beta2")) == (0.9, 0.999)


def test_third_beta_is_kept():
    def adan(params, betas=(0.98, 0.92, 0.99)):
        """Three of them."""

    assert constructor_arguments(target(adan, "torch"), {"beta2": 0.5}) == {"betas": (0.98, 0.5, 0.99)}


def test_beta_without_default_to_complete_it():
    with pytest.raises(TargetError, match="betas has no default to complete; give beta1 too"):
        constructor_arguments(target(no_default, "torch"), {"beta2": 0.99})
    assert default_of(target(no_default, "torch"), "beta2") is None
    assert default_of(target(no_default, "torch"), "lr") is None


def test_pair_is_split_for_a_target_that_takes_its_elements():
    assert constructor_arguments(target(optax_adamw, "jax"), {"betas": (0.3, 0.4)}) == {"b1": 0.3, "b2": 0.4}
    assert constructor_arguments(target(torch_adamw, "torch"), {"betas": (0.3, 0.4)}) == {"betas": (0.3, 0.4)}
    with pytest.raises(TargetError, match=r"betas=0.9 should be a pair, \(beta1, beta2\)"):
        constructor_arguments(target(optax_adamw, "jax"), {"betas": 0.9})


@pytest.mark.parametrize(
    ("attribute", "framework", "given"),
    [
        (optax_adamw, "jax", {"lr": 0.1, "learning_rate": 0.2}),
        (torch_adamw, "torch", {"betas": (0.1, 0.2), "beta2": 0.3}),
        (optax_adamw, "jax", {"beta1": 0.1, "b1": 0.2}),
    ],
)
def test_option_given_twice(attribute, framework, given):
    with pytest.raises(TargetError, match="give one of them"):
        constructor_arguments(target(attribute, framework), given)


def test_renamed_option_wins_over_aliases():
    def factory(rate=0.5, lr=0.25, decay=0.125):
        """`lr` is something else here."""

    mapped = target(factory, lr="rate", weight_decay="decay")
    assert constructor_arguments(mapped, {"lr": 1, "weight_decay": 2}) == {"rate": 1, "decay": 2}
    assert (default_of(mapped, "lr"), default_of(mapped, "weight_decay")) == (0.5, 0.125)
    assert own_name(mapped, "weight_decay") == "decay"
    assert canonical_values(mapped, {"rate": 1, "decay": 2}) == {"lr": 1, "weight_decay": 2}
    assert not accepts(target(factory, weight_decay="absent"), "weight_decay")
    with pytest.raises(UnknownOption, match="has no option 'weight_decay'"):
        constructor_arguments(target(factory, weight_decay="absent"), {"weight_decay": 1})


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("wieght_decay", "Did you mean 'weight_decay'?"),
        ("learning_rate", "Did you mean 'lr'?"),
        ("beta_2", "Did you mean 'beta2'?"),
        ("momentum", "--map momentum=NAME"),
    ],
)
def test_unknown_option_teaches(given, hint):
    with pytest.raises(UnknownOption) as caught:
        constructor_arguments(target(torch_adamw, "torch"), {given: 1.0})
    assert f"module:attribute has no option {given!r}" in str(caught.value)
    assert "it accepts: lr, betas, eps, weight_decay" in str(caught.value)
    assert hint in str(caught.value)


def test_params_is_no_option():
    assert not accepts(target(torch_adamw, "torch"), "params")

    def with_another_name(parameters, lr=0.1):
        """The first one is where they go, whatever it is called."""

    assert list(signature_of(target(with_another_name, "torch")).defaults) == ["lr"]


class Base:
    def __init__(self, learning_rate, weight_decay=None, **kwargs):
        if kwargs:
            raise ValueError(kwargs)


class Middle(Base):
    def __init__(self, learning_rate=0.5, beta_1=0.9, *, name=None, **kwargs):
        super().__init__(learning_rate, **kwargs)


class Closed(Base):
    def __init__(self, learning_rate=0.5, weight_decay=0.25):
        super().__init__(learning_rate, weight_decay)


class Outer(Closed):
    def __init__(self, *args, extra=1, **kwargs):
        super().__init__(*args, **kwargs)


class Plain(Middle):
    """No constructor of its own."""


def test_kwargs_are_followed_to_where_they_go():
    outer = target(Outer, "tensorflow")
    assert signature_of(outer).defaults == {"extra": 1, "learning_rate": 0.5, "weight_decay": 0.25}
    assert not signature_of(outer).open
    with pytest.raises(UnknownOption, match="'momentum'"):
        constructor_arguments(outer, {"momentum": 0.9})


def test_kwargs_that_end_nowhere_are_taken_as_they_come():
    plain = target(Plain, "tensorflow")
    assert signature_of(plain).open
    assert default_of(plain, "lr") == 0.5  # the subclass's default, not the base's lack of one
    found = constructor_arguments(plain, {"lr": 0.1, "weight_decay": 0.2, "beta2": 0.3, "anything": 1})
    assert found == {"learning_rate": 0.1, "weight_decay": 0.2, "beta_2": 0.3, "anything": 1}


def test_base_that_refuses_closes_the_list():
    base = type("BaseOptimizer", (), {"__module__": "keras.src.optimizers.base_optimizer", "__init__": Base.__init__})
    mine = type("Mine", (base,), {"__init__": lambda self, rate=1.0, **kwargs: None})
    assert not signature_of(target(mine, "tensorflow")).open
    assert not accepts(target(mine, "tensorflow"), "momentum")
    assert accepts(target(mine, "tensorflow"), "weight_decay")


@pytest.mark.parametrize(
    ("framework", "expected"),
    [
        ("torch", {"lr": 0.1, "betas": (0.3, 0.4), "weight_decay": 0.2, "eps": 0.5}),
        ("tensorflow", {"learning_rate": 0.1, "beta_1": 0.3, "beta_2": 0.4, "weight_decay": 0.2, "epsilon": 0.5}),
        ("jax", {"learning_rate": 0.1, "b1": 0.3, "b2": 0.4, "weight_decay": 0.2, "eps": 0.5}),
        ("numpy", CANONICAL),
    ],
)
def test_open_target_gets_its_frameworks_spelling(framework, expected):
    def wrapper(*args, **options):
        """Names nothing."""

    assert constructor_arguments(target(wrapper, framework), CANONICAL) == expected
    assert accepts(target(wrapper, framework), "weight_decay")
    assert default_of(target(wrapper, framework), "lr") is None


def test_callable_without_a_signature_is_open():
    assert accepts(target(dict), "weight_decay")


def test_held_values_are_read_from_the_object_first():
    class Built:
        weight_decay = 0.25
        _epsilon = 0.125

        def learning_rate(self):
            """A method of that name is no value."""

    held = held_values(target(keras_adamw, "tensorflow"), {"learning_rate": 0.5, "beta_1": 0.75}, Built())
    assert held == {"lr": 0.5, "weight_decay": 0.25, "beta1": 0.75, "beta2": 0.999, "eps": 0.125}


def own_names(learning_rate, b2=0.9, wd=0.0): ...


def both_names(lr, momentum=0.0, mu=0.0, cycle=3): ...


@pytest.mark.parametrize(
    ("factory", "given", "canonical"),
    [
        (own_names, {"learning_rate": 1, "b2": 2, "wd": 3}, ("lr", "beta2", "weight_decay")),
        (torch_adamw, {"lr": 1, "betas": (0.5, 0.6)}, ("lr", "betas")),
        (both_names, {"mu": 1, "momentum": 2, "cycle": 3}, ("mu", "momentum", "cycle")),
    ],
)
def test_own_names_become_canonical_where_they_mean_the_same_option(factory, given, canonical):
    renamed = canonical_hyperparameters(target(factory), given)
    assert tuple(renamed) == canonical
    assert constructor_arguments(target(factory), renamed) == constructor_arguments(target(factory), given)


def test_the_option_of_the_target_comes_before_the_usual_names():
    def factory(wd=0.0):
        """Name it as few do."""

    found = names_in_order(target(factory), "weight_decay")
    assert found[:2] == ("wd", "weight_decay")
    assert set(found) == names_of(target(factory), "weight_decay")
    assert names_in_order(target(factory, weight_decay="decay"), "weight_decay")[0] == "weight_decay"
    assert "decay" in names_in_order(target(factory, weight_decay="decay"), "weight_decay")

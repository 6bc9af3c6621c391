"""Optimizers that need more than parameters and numbers: what they are handed, and which are left alone."""

from types import SimpleNamespace

import pytest

from optconform.adapters.options import constructor_arguments
from optconform.adapters.protocol import Target
from optconform.adapters.recipes import PLAIN_RECIPE, RECIPES, HandOver, Recipe, first_argument, recipe_of


def target(module, name, framework="torch"):
    made = type(name, (), {"__module__": module, "__init__": lambda self, params, lr=0.1, num_iterations=None: None})
    return Target(f"{module}:{name}", made, framework)


@pytest.mark.parametrize("row", RECIPES, ids=lambda row: f"{row.package}-{row.names[0]}")
def test_every_row_says_why_and_changes_something(row):
    assert row.reason
    assert row.names
    same = Recipe(row.package, row.names, row.reason)
    assert row != same, "a row that hands over nothing special is none"


def test_a_recipe_is_found_by_package_and_name():
    assert recipe_of(target("torch.optim._muon", "Muon")).matrices_only
    assert recipe_of(target("schedulefree.adamw", "AdamWScheduleFreeClosure")).not_replayable
    assert recipe_of(target("schedulefree.adamw", "AdamWScheduleFree")).call == "train"
    assert recipe_of(target("bitsandbytes.optim.sgd", "SGD8bit")).options == {"momentum": 0.9}


@pytest.mark.parametrize(
    ("module", "name"),
    [("torch.optim.adamw", "AdamW"), ("mine", "Muon"), ("torchlike.optim", "Muon"), ("__main__", "Sub.Muon")],
)
def test_everything_else_needs_nothing_special(module, name):
    assert recipe_of(target(module, name)) is PLAIN_RECIPE


def test_what_has_no_name_needs_nothing_special():
    assert recipe_of(Target("x:f", SimpleNamespace(), "numpy")) is PLAIN_RECIPE


def test_parameters_are_handed_over_as_a_list():
    assert first_argument(PLAIN_RECIPE, ("p", "q")) == ["p", "q"]


def test_flags_go_into_every_group():
    recipe = Recipe("x", ("*",), "flags", group={"use_muon": True})
    assert first_argument(recipe, ["p", "q"]) == [{"params": ["p", "q"], "use_muon": True}]
    groups = [{"params": ["p"], "weight_decay": 0.0}, {"params": ["q"]}]
    assert first_argument(recipe, groups) == [
        {"params": ["p"], "weight_decay": 0.0, "use_muon": True},
        {"params": ["q"], "use_muon": True},
    ]


def test_names_and_models():
    named = [("parameter_0", "p"), ("parameter_1", "q")]
    assert first_argument(Recipe("x", ("*",), "names", hand_over=HandOver.NAMED), ["p", "q"]) == named
    model = first_argument(Recipe("x", ("*",), "model", hand_over=HandOver.MODEL), ["p", "q"])
    assert model.named_parameters() == named
    assert model.parameters() == ["p", "q"]


def test_options_are_added_and_the_user_wins():
    ranger = target("pytorch_optimizer.optimizer.ranger21", "Ranger21")
    made = constructor_arguments(ranger, {"lr": 0.5})
    assert (made["lr"], made["num_iterations"]) == (0.5, 1000)
    assert constructor_arguments(ranger, {"num_iterations": 7})["num_iterations"] == 7

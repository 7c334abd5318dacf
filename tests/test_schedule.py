"""Schedules: the paper's plateau worked out by hand, and the notebook of the 2012 source line by line."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from alexnet_cli.recipes.read import load_recipe
from alexnet_cli.recipes.recipe import Change, Input, Training
from alexnet_stages.train.schedule import Schedule

NAMES = ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc8.weight", "fc8.bias"]


def run(training: Training, errors: list[float]) -> tuple[list[float], list[str], Schedule]:
    """The rate in each epoch, what was said, and the schedule at the end."""
    schedule = Schedule.start(training, Input())
    rates, said = [], []
    for epoch, error in enumerate(errors, 1):
        if schedule.finished:
            break
        said += schedule.begin_epoch(training, epoch)
        rates.append(schedule.rate)
        reason = schedule.end_epoch(training, epoch, error)
        said += [reason] if reason else []
    return rates, said, schedule


def test_a_plateau_divides_the_rate_after_so_many_epochs_without_a_new_best() -> None:
    training = Training(rate=0.01, patience=2, drops=3)
    errors = [0.9, 0.8, 0.8, 0.85, 0.7, 0.7, 0.7, 0.7, 0.7]
    rates, said, _ = run(training, errors)
    # The best of epoch 2 is not beaten in 3 and 4; that of 5 not in 6 and 7, and then not in 8 and 9.
    assert rates == pytest.approx([0.01] * 4 + [0.001] * 3 + [0.0001] * 2)
    assert said == [
        "rate 0.001 from epoch 5 on: no lower validation error than 80.00% in 2 epochs",
        "rate 0.0001 from epoch 8 on: no lower validation error than 70.00% in 2 epochs",
        "rate 1e-05 from epoch 10 on: no lower validation error than 70.00% in 2 epochs",
    ]


def test_after_three_drops_the_next_plateau_ends_the_training() -> None:
    training = Training(rate=0.01, patience=1, drops=3)
    rates, said, schedule = run(training, [0.5] * 10)
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.0001, 0.00001])
    assert schedule.finished
    assert said[-1] == (
        "training ends after epoch 5: no lower validation error than 50.00% in 1 epoch, "
        "and the rate was dropped 3 times"
    )


def test_a_falling_error_never_drops_the_rate() -> None:
    rates, said, schedule = run(Training(patience=1), [0.9 - 0.01 * epoch for epoch in range(50)])
    assert rates == [0.01] * 50 and said == [] and not schedule.finished


def test_an_error_that_is_not_a_number_is_no_new_best() -> None:
    rates, _, _ = run(Training(patience=1), [0.5, math.nan, 0.4, 0.3])
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_steps_do_not_look_at_the_error() -> None:
    training = Training(schedule="steps", patience=1, changes=(Change(epoch=3, rate=0.5),))
    rates, said, schedule = run(training, [0.5] * 4)
    assert rates == [0.01, 0.01, 0.5, 0.5] and not schedule.finished
    assert said == ["rate 0.5 from epoch 3 on: the recipe's step"]


def test_the_notebook_of_the_2012_source_line_by_line() -> None:
    """FACTS 4: 25 → 1e-3; 51 → 1e-4; 67 conv1 → 1e-5, no colour noise; 72 conv1 frozen; 79 all others → 1e-5."""
    recipe = load_recipe("source-2012")
    training, schedule = recipe.training, Schedule.start(recipe.training, recipe.input)
    others, conv1, noise, said = {}, {}, {}, []
    for epoch in range(1, training.epochs + 1):
        said += schedule.begin_epoch(training, epoch)
        rates = schedule.rates(training, NAMES)
        others[epoch], conv1[epoch], noise[epoch] = rates["conv2.weight"], rates["conv1.weight"], schedule.colour_noise
        assert rates["conv2.bias"] == rates["fc8.bias"] == 0.02, "epsB stays throughout"
        assert rates["conv1.bias"] == (0.02 if rates["conv1.weight"] else 0.0), "a frozen layer's biases are too"
        assert rates["fc8.weight"] == rates["conv2.weight"]
        assert schedule.end_epoch(training, epoch, 0.5) is None
    assert training.epochs == 90
    for epoch in range(1, 91):
        expected = 0.01 if epoch < 25 else 1e-3 if epoch < 51 else 1e-4 if epoch < 79 else 1e-5
        assert others[epoch] == expected
        assert conv1[epoch] == (0.0 if epoch >= 72 else 1e-5 if epoch >= 67 else expected)
        assert noise[epoch] == (0.0 if epoch >= 67 else 0.1)
    assert said == [
        "rate 0.001 from epoch 25 on: the recipe's step",
        "rate 0.0001 from epoch 51 on: the recipe's step",
        "conv1 rate 1e-05 from epoch 67 on: the recipe's step",
        "colour noise off from epoch 67 on: the recipe's step",
        "conv1 frozen from epoch 72 on: the recipe's step",
        "rate 1e-05 from epoch 79 on: the recipe's step",
    ]


def test_the_paper_has_one_rate_for_all_layers_biases_too() -> None:
    recipe = load_recipe("paper")
    schedule = Schedule.start(recipe.training, recipe.input)
    assert schedule.rates(recipe.training, NAMES) == dict.fromkeys(NAMES, 0.01)
    assert (recipe.training.drop_factor, recipe.training.drops, recipe.training.epochs) == (10.0, 3, 90)


@pytest.mark.parametrize("after", range(1, 9))
def test_a_schedule_continued_from_its_record_goes_on_as_it_would_have(after: int) -> None:
    training = Training(rate=0.01, patience=2, drops=3)
    errors = [0.9, 0.8, 0.8, 0.85, 0.7, 0.7, 0.7, 0.7, 0.7]
    _, _, whole = run(training, errors)
    schedule = Schedule.start(training, Input())
    for epoch, error in enumerate(errors, 1):
        schedule.end_epoch(training, epoch, error)
        if epoch == after:
            schedule = Schedule(**asdict(schedule))
    assert schedule == whole

"""Files of search spaces: what they describe, and mistakes in them."""

import optuna
import pytest

from common.options import UserError
from common.tuning.search_space import Parameter, load_space, read_space

START = '[a]\nmetrics = { val_loss = "minimize" }\n[a.search]\n'


@pytest.fixture
def file(tmp_path):
    def write(text):
        folder = tmp_path / "paper"
        folder.mkdir(exist_ok=True)
        path = folder / "search_space.toml"
        path.write_text(text)
        return path

    return write


def test_a_space_is_read(file):
    path = file(
        """
        [first]
        metrics = { "val_mrr@20" = "maximize", val_loss = "minimize" }
        options = { task = "skip" }
        trial = { baselines = false }
        [first.search]
        units = { low = 8, high = 64, step = 8 }
        rate = { low = 1e-3, high = 0.1, log = true, when = { task = "skip" } }
        layers = [[8, 4], [16]]
        "inner.kind" = { choices = ["x", "y"], when = { layers = [[16]], task = ["skip", "seq"] } }
        [second]
        metrics = { val_loss = "minimize" }
        [second.search]
        units = [1]
        """
    )
    space = read_space(path)
    assert (space.name, space.paper, read_space(path, "second").name) == ("paper/first", "paper", "paper/second")
    assert space.metrics == {"val_mrr@20": "maximize", "val_loss": "minimize"}
    assert (space.options, space.trial) == ({"task": "skip"}, {"baselines": False})
    units, rate, layers, kind = space.search
    assert units == Parameter("units", low=8, high=64, step=8)
    assert rate == Parameter("rate", low=1e-3, high=0.1, log=True, when=(("task", ("skip",)),))
    assert layers.choices == ([8, 4], [16]) and kind.when == (("layers", ([16],)), ("task", ("skip", "seq")))
    assert kind.applies({"task": "seq", "layers": [16]})
    assert not kind.applies({"task": "seq", "layers": [8, 4]}) and not kind.applies({"layers": [16]})


def test_values_lie_in_the_space_and_have_its_types():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(1))
    whole = Parameter("whole", low=8, high=64, step=8)
    steps = Parameter("steps", low=0.0, high=0.3, step=0.05)
    free = Parameter("free", low=1e-3, high=0.1, log=True)
    lists = Parameter("lists", choices=([8, 4], [16], [8]))
    mixed = Parameter("mixed", choices=(True, 1.5, 2, "x"))
    found = []
    for _ in range(60):
        trial = study.ask()
        found.append([parameter.suggest(trial) for parameter in (whole, steps, free, lists, mixed)])
    columns = list(zip(*found, strict=True))
    assert set(columns[0]) == set(range(8, 65, 8)) and all(type(value) is int for value in columns[0])
    assert set(columns[1]) == {0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3}
    assert len(set(columns[2])) == 60 and min(columns[2]) >= 1e-3 and max(columns[2]) <= 0.1
    assert {tuple(value) for value in columns[3]} == {(8, 4), (16,), (8,)}
    assert {(type(value), value) for value in columns[4]} == {(bool, True), (float, 1.5), (int, 2), (str, "x")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no space"),
        ("x = [", "cannot be read as TOML"),
        ("x = 1", "x is no table"),
        ("[a]\n[a.search]\nx = [1]", "metrics must name columns"),
        ('[a]\nmetrics = { val_loss = "down" }\n[a.search]\nx = [1]', "each maximize or minimize"),
        ('[a]\nmetrics = { rmse = "minimize" }\n[a.search]\nx = [1]', "figures of the validation part"),
        ('[a]\nmetrics = { val_loss = "minimize" }', "names nothing to search"),
        ('[a]\nmetrics = { val_loss = "minimize" }\nsearched = { x = [1] }', "unknown searched; expected metrics"),
        ('[a]\nmetrics = { val_loss = "minimize" }\nsearch = 3', "search is 3; expected a table"),
        (
            '[a]\nmetrics = { val_loss = "minimize" }\noptions = { x = 1 }\n[a.search]\nx = [1]',
            "options of every trial",
        ),
        (START + "x = 3", "search: x is 3; expected a list"),
        (START + "x = []", "one or more values"),
        (START + "x = [1, 1]", "names a choice twice"),
        (START + "x = [1979-05-27]", "choices must be numbers"),
        (START + "x = { choices = [1], low = 3 }", "both choices and low"),
        (START + "x = { low = 1 }", "low and high"),
        (START + "x = { low = 1, high = 2, steps = 1 }", "low and high"),
        (START + "x = { low = 2, high = 1 }", "low not above high"),
        (START + 'x = { low = "a", high = 1 }', "expected finite numbers"),
        (START + "x = { low = 0, high = inf }", "expected finite numbers"),
        (START + "x = { low = 0.0, high = 1.0, log = true }", "a logarithm needs low above 0"),
        (START + "x = { low = 1, high = 9, step = 0.5 }", "whole if both ends are"),
        (START + "x = { low = 1, high = 9, step = 0 }", "above 0"),
        (START + "x = { choices = [1], when = { y = 1 } }", "when names y, which must come before it"),
        (START + 'x = { choices = [1], when = "y" }', "expected a table such as"),
    ],
)
def test_a_mistake_is_told_with_its_place(text, message, file):
    path = file(text)
    with pytest.raises(UserError) as error:
        read_space(path)
    assert str(path) in str(error.value) and message in str(error.value), error.value


def test_spaces_that_are_not_there(file):
    path = file(START + "x = [1]")
    with pytest.raises(UserError, match="paper/b: no such search space; paper has a"):
        read_space(path, "b")
    with pytest.raises(UserError, match="nothing: no paper with a search space; expected one of audiotext, "):
        load_space("nothing")
    with pytest.raises(UserError, match="no paper"):
        load_space("../gru4rec")

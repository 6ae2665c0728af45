"""Every search space names options of its trainer only, with values that the trainer accepts."""

import pytest

from audiotext.options import AudioTextOptions
from common.command import parse
from common.options import PROJECT
from common.presets import as_arguments
from common.tuning.search_space import FILE, load_space, papers, read_tables
from dtnmr.options import DtnmrOptions
from gru4rec.options import GruOptions
from seer.options import SeerOptions
from session_transformers.options import SessionOptions
from session_transformers.settings import family


def of_gru(options):
    options.completed(False)


def of_dtnmr(options):
    options.completed(False)


def of_seer(options):
    options.completed(False, 500)


def of_audiotext(options):
    options.completed(False).architecture(factors=200)


def of_sessions(options):
    options = options.completed(False)
    if family(options.model) == "ddpg":
        assert options.of_ddpg
    else:
        options.architecture(1000, 29, options.of_data.ids)


TRAINERS = {
    "audiotext": (AudioTextOptions, of_audiotext),
    "dtnmr": (DtnmrOptions, of_dtnmr),
    "gru4rec": (GruOptions, of_gru),
    "seer": (SeerOptions, of_seer),
    "session_transformers": (SessionOptions, of_sessions),
}
SPACES = [f"{paper}/{name}" for paper in TRAINERS for name in read_tables(PROJECT / paper / FILE)]


def values_of(parameter):
    return parameter.choices or (parameter.low, parameter.high)


def settings(space):
    """For each value, or end of a range, of each parameter a setting that has it."""
    known = {parameter.name: parameter for parameter in space.search}
    for parameter in space.search:
        for value in values_of(parameter):
            wanted, above = {parameter.name: value}, [parameter]
            while above:
                for name, values in above.pop().when:
                    wanted[name] = values[0]
                    above += [known[name]] if name in known else []
            chosen = {}
            for other in space.search:
                if other.applies(space.options | space.trial | chosen):
                    chosen[other.name] = wanted.get(other.name, values_of(other)[0])
            assert parameter.name in chosen, (parameter.name, chosen)
            yield chosen


def test_every_paper_has_a_space():
    assert papers() == sorted(TRAINERS)


@pytest.mark.parametrize("name", SPACES)
def test_the_trainer_accepts_all_that_a_space_holds(name, tmp_path):
    space = load_space(name)
    options, complete = TRAINERS[space.paper]
    given = space.options | space.trial
    if str(given.get("model")).startswith("bert-"):
        given["bert"] = tmp_path
    for chosen in settings(space):
        complete(parse(options, as_arguments(given | chosen)))

"""What each protocol sets, and options that do not fit together."""

import pytest

from common.command import parse
from common.options import UserError
from dtnmr.options import DtnmrOptions


def options(*arguments):
    return parse(DtnmrOptions, list(map(str, arguments)))


def test_the_released_protocol_has_the_values_of_the_released_code():
    found = options("--protocol", "released").completed(False)
    assert (found.epochs, found.batch_size, found.learning_rate, found.optimizer) == (1, 16, 0.1, "sgd")
    assert (found.rating, found.final_relu, found.loss, found.negatives) == ("linear", "yes", "softmax", "released")
    assert (found.embedding, found.mlp, found.lstm, found.lstm_layers, found.dropout) == (32, (512, 64), 256, 2, 0.3)
    assert (found.subset_size, found.top, found.short_term_len, found.long_term_len) == (5, 0.001, 10, 20)
    assert (found.min_playlist_len, found.max_playlist_len) == (20, 200)


def test_the_corrected_protocol_lets_user_and_song_meet():
    found = options().completed(False)
    small = options().completed(True)
    assert small.lstm < found.lstm and small.rating == found.rating
    assert found.rating != "linear" and found.negatives != "released" and found.final_relu == "no"


@pytest.mark.parametrize("protocol", ["corrected", "released"])
def test_single_options_override_the_protocol(protocol):
    arguments = ("--rating", "mlp", "--mlp", 8, 4, "--optimizer", "adagrad", "--final-relu", "yes", "--dropout", 0)
    found = options("--protocol", protocol, *arguments).completed(False)
    assert (found.rating, found.mlp, found.optimizer, found.final_relu) == ("mlp", (8, 4), "adagrad", "yes")
    assert found.dropout == 0


@pytest.mark.parametrize(
    "arguments", [(), ("--loss", "full-softmax"), ("--negatives", "popularity"), ("--protocol", "released")]
)
def test_complete_options_stay_what_they_are(arguments):
    """A resumed run is given the options that a run has written down."""
    found = options(*arguments).completed(False)
    assert found.completed(False) == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rating", "cosine"), "--rating"),
        (("--loss", "full-softmax", "--negatives", "uniform"), "draws no --negatives"),
        (("--negatives-power", 0.5), "belongs to --negatives popularity"),
        (("--negatives", "popularity", "--negatives-power", 2), "--negatives-power is 2"),
        (("--cutoffs", 10, 5), "in ascending order"),
        (("--cutoffs", 0, 5), "from 1 on"),
        (("--cutoffs", 5, 5), "different numbers"),
        (("--epochs", 0), "--weights FILE"),
        (("--batch-size", 0), "--batch-size is 0"),
        (("--embedding", 0), "--embedding is 0"),
        (("--mlp", 0), "--mlp is (0,)"),
        (("--lstm-layers", 99), "--lstm-layers is 99"),
        (("--dropout", 1), "--dropout is 1"),
        (("--test-points", -1), "--test-points is -1"),
        (("--precision", "float8"), "invalid choice"),
        (("--subset-size", 1), "--subset-size is 1"),
        (("--top", 1), "--top is 1"),
        (("--min-playlist-len", 200), "less than the second"),
        (("--short-term-len", 30), "at most the second"),
        (("--long-term-len", 30), "at most the second"),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    with pytest.raises(UserError) as error:
        options(*arguments).completed(False)
    assert message in str(error.value) and "\n" not in str(error.value)

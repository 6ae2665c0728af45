import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest

from common.options import PROJECT, UserError
from session_transformers.architecture import CORRECTED, RELEASED, Architecture
from session_transformers.kinds import RELEASED_IDS
from session_transformers.model import build_model
from session_transformers.weights import WEIGHTS, load_bert, load_network, read_architecture

SMALL = Architecture("transformer", "seq", 30, width=12, features=4, encoder_layers=1, feed_forward=8)
BERT = replace(SMALL, model="bert", features=0)
AUGMENTED = replace(SMALL, model="bert-augmented", bert=BERT, switches=replace(CORRECTED, dropnet_eval_random=True))
KINDS = [
    SMALL,
    BERT,
    AUGMENTED,
    replace(SMALL, task="skip", skip_input="embedding"),
    replace(SMALL, ids=RELEASED_IDS, switches=RELEASED),
    replace(SMALL, tied=True),
]


def store(folder, architecture, **changes):
    described = asdict(architecture) | changes
    (folder / "options.json").write_text(json.dumps({"options": {}, "architecture": described}))


def build(architecture):
    features = np.random.default_rng(1).standard_normal((architecture.vocabulary, architecture.features))
    return build_model(architecture, features.astype(np.float32), seed=2)


@pytest.mark.parametrize("architecture", KINDS, ids=lambda one: f"{one.model} {one.task}")
def test_a_model_comes_back_whole(architecture, tmp_path):
    model = build(architecture)
    store(tmp_path, architecture)
    model.save_weights(tmp_path / WEIGHTS)
    assert read_architecture(tmp_path, 30) == architecture
    loaded = load_network(tmp_path / WEIGHTS, 30)
    assert loaded.architecture == architecture
    rng = np.random.default_rng(0)
    inputs = {"source": rng.integers(3, 30, (2, 10)), "target": rng.integers(3, 30, (2, 10))}
    np.testing.assert_array_equal(model(inputs), loaded(inputs))


def test_a_bert_is_told_from_other_models(tmp_path):
    store(tmp_path, BERT)
    with pytest.raises(UserError, match=r"model.weights.h5: not there; the run is not finished"):
        load_bert(tmp_path, 30)
    build(BERT).save_weights(tmp_path / WEIGHTS)
    assert load_bert(tmp_path, 30).architecture == BERT
    with pytest.raises(UserError, match=r"its architecture has 30 ids; the vocabulary has 31"):
        load_bert(tmp_path, 31)
    store(tmp_path, SMALL)
    with pytest.raises(UserError, match=r"its model is transformer; name a run of .* --model bert"):
        load_bert(tmp_path, 30)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "none"},
        {"task": ["seq"]},
        {"vocabulary": "x"},
        {"vocabulary": 30.0},
        {"vocabulary": None},
        {"width": 0},
        {"width": 12.0},
        {"width": 10**9},
        {"heads": 5},
        {"encoder_layers": 10**9},
        {"decoder_layers": "1"},
        {"feed_forward": True},
        {"features": -1},
        {"dropout": "much"},
        {"dropout": float("nan")},
        {"half": 10**7},
        {"skip_input": "hat"},
        {"tied": 1},
        {"ids": {"mask": "1"}},
        {"ids": {"mask": 1, "skip": 2, "first_track": 10**6}},
        {"ids": {"mask": 1, "skip": "2", "first_track": 3}},
        {"ids": None},
        {"switches": {"load_features": "yes"}},
        {"switches": {"other": True}},
        {"switches": []},
        {"bert": 3},
        {"bert": asdict(SMALL)},
        {"bert": asdict(replace(BERT, vocabulary=31))},
        {"bert": asdict(BERT) | {"bert": asdict(BERT)}},
        {"more": 1},
    ],
    ids=str,
)
def test_a_damaged_architecture(tmp_path, wrong):
    store(tmp_path, AUGMENTED, **wrong)
    with pytest.raises(UserError, match=r"options.json: not of a training run of session_transformers"):
        read_architecture(tmp_path, 30)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"options": {}}', '{"options": {}, "architecture": [1]}'])
def test_a_damaged_description(tmp_path, content):
    (tmp_path / "options.json").write_text(content)
    with pytest.raises(UserError, match=r"options.json: (cannot be read|not )"):
        read_architecture(tmp_path, 30)


def test_reading_a_run_does_not_wait_for_tensorflow():
    code = "import sys, session_transformers.recommend; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, timeout=60)

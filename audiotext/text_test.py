import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from audiotext.layout import zero_rows
from audiotext.raw import RawData
from audiotext.text import Document, TfIdf, beginning, documents, entity, tag
from common.options import UserError
from conftest import GOLDEN

TEXTS = Path(__file__).parent.parent / "tests" / "golden" / "audiotext" / "text"


def golden():
    with np.load(GOLDEN / "audiotext" / "tfidf_dummy.npz") as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads((GOLDEN / "audiotext" / "tfidf_dummy.json").read_text("utf-8")), arrays


def cases(facts, arrays):
    """Name, its facts, the part it was fitted on and all parts, each with its matrix."""
    for name in ("split", "all9"):
        parts = {part: arrays[f"{name}_{part}_dense"] for part in facts[name]["parts"]}
        fitted = next(part for part in parts if facts[name]["parts"][part]["items"] == facts[name]["fit_on"])
        yield name, facts[name], fitted, parts


@pytest.mark.golden
def test_bags_of_words_rebuilt_from_the_golden_matrices():
    # A row is (1 + ln tf) * idf up to a factor; some word of a text occurs once, which gives the factor away.
    facts, arrays = golden()
    for name, about, fitted, parts in cases(facts, arrays):
        bags = {}
        for part, matrix in parts.items():
            scaled = np.divide(matrix, arrays[f"{name}_idf"])
            least = np.where(scaled > 0, scaled, np.inf).min(axis=1, keepdims=True)
            counts = np.where(scaled > 0, np.rint(np.exp(scaled / least - 1)), 0).astype(int)
            bags[part] = [Document("", dict(zip(about["vocabulary"], row.tolist(), strict=True))) for row in counts]
        model = TfIdf().fit(bags[fitted])
        assert model.terms == about["vocabulary"]
        for part, matrix in parts.items():
            np.testing.assert_allclose(model.transform(bags[part]).toarray(), matrix, rtol=0, atol=1e-12)


@pytest.mark.golden
def test_the_real_texts_give_the_golden_matrices(tmp_path):
    facts, arrays = golden()
    index = dict(line.split("\t") for line in (TEXTS / "index.tsv").read_text("utf-8").splitlines())
    texts = {item: Document((TEXTS / file).read_text("utf-8")) for item, file in index.items()}
    tokens = {token for text in texts.values() for token in text.tokens()}
    if os.environ.get("GOLDEN_DIR") and not tokens.issuperset(facts["all9"]["vocabulary"]):
        pytest.skip("GOLDEN_DIR is about other texts; the test above needs none")
    for name, about, _, parts in cases(facts, arrays):
        model = TfIdf().fit([texts[item] for item in about["fit_on"]])
        assert model.terms == about["vocabulary"]
        model.save(tmp_path / "tfidf.json")
        for same in (model, TfIdf.load(tmp_path / "tfidf.json")):
            for part, matrix in parts.items():
                found = same.transform([texts[item] for item in about["parts"][part]["items"]])
                np.testing.assert_allclose(found.toarray(), matrix, rtol=0, atol=1e-12)
                if name == "split":
                    np.testing.assert_allclose(
                        found.toarray(), arrays[f"tartarus_py2_{part}_dense"], rtol=0, atol=1e-12
                    )


def test_pieces_of_a_text():
    assert beginning("a b\n\nc\td") == "a b  c\td"
    assert beginning("w " * 299 + "x y") == "w " * 299 + "x"
    assert beginning("w " * 300) == ("w " * 300)[:-1]
    assert beginning("") == ""


def test_terms_stay_whole_and_apart_from_words():
    one = Document("Jazz of New Orleans", {entity("New Orleans"): 2, entity("Jazz"): 1})
    assert Counter(one.tokens()) == {
        "jazz": 1, "of": 1, "new": 1, "orleans": 1, "entity:new_orleans": 2, "entity:jazz": 1
    }  # fmt: skip
    late = Document("w " * 400 + "late", {tag("Late"): 1})
    assert set(late.tokens()) == {"tag:late"}


def raw(tags, entities, biographies):
    count = len(biographies)
    empty = [Counter()] * count
    return RawData([], [], [], np.arange(0), None, biographies, tags or empty, entities or empty, [])  # type: ignore


def test_kinds_of_text():
    data = raw(
        [Counter({"Hip Hop": 2, "hip hop": 3}), Counter()],
        [Counter(), Counter({"Berlin": 1})],
        ["first words", ""],
    )
    assert documents(data, "a-text") == [Document("first words"), Document("")]
    assert documents(data, "a-sem") == [Document("first words"), Document("", {"entity:berlin": 1})]
    assert documents(data, "a-tags") == [Document("", {"tag:hip_hop": 5}), Document()]


def test_weights_by_hand():
    texts = [Document("", {"x": 3, "y": 1}), Document("", {"y": 1, "z": 1}), Document("", {"w": 1}), Document()]
    found = TfIdf().fit(texts).transform(texts).toarray()
    idf = {name: np.log((1 + 4) / (1 + df)) + 1 for name, df in {"w": 1, "x": 1, "y": 2, "z": 1}.items()}
    first = np.array([0, (1 + np.log(3)) * idf["x"], idf["y"], 0])
    np.testing.assert_allclose(found[0], first / np.linalg.norm(first), rtol=1e-14)
    assert zero_rows(found) == 1 and not found[3].any()


def test_the_most_frequent_terms_are_kept_and_common_ones_left_out():
    texts = [Document("all aa aa bb cc"), Document("all aa aa bb"), Document("all dd"), Document("all ee")]
    assert TfIdf(2).fit(texts).terms == ["aa", "bb"]
    assert "all" not in TfIdf().fit(texts).terms


def test_unknown_words_are_a_row_of_zeros():
    model = TfIdf().fit([Document("aa bb"), Document("cc")])
    assert zero_rows(model.transform([Document("zz"), Document(""), Document("aa")])) == 2


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match="3 training texts, 0 of them not empty, give no terms"):
        TfIdf().fit([Document()] * 3)
    with pytest.raises(UserError, match="2 training texts, 2 of them not empty, give no terms"):
        TfIdf().fit([Document("same words")] * 2)
    with pytest.raises(UserError, match="it must be 1 or more"):
        TfIdf(0)
    path = tmp_path / "tfidf.json"
    with pytest.raises(UserError, match="cannot be read as terms"):
        TfIdf.load(path)
    for content in (
        "[]", "{", '{"terms": ["a"]}', '{"terms": ["a"], "idf": [1, 2]}', '{"terms": [1], "idf": [1]}',
        '{"terms": ["a"], "idf": [NaN]}', '{"terms": ["a", "a"], "idf": [1, 2]}', '{"terms": [["a"]], "idf": [1]}',
        '{"terms": [], "idf": []}', '{"terms": ["a"], "idf": [[1]]}',
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(UserError, match=r"tfidf\.json"):
            TfIdf.load(path)

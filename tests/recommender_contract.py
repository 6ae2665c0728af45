"""The contract of a recommender in Python, inherited by the tests of each: one tiny model, in this process."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import pytest

from common.options import UserError
from common.recommender import Recommender
from common.testing import arrays_of


class RecommenderContract:
    """What every recommender does; a subclass says which one, on what data, and whom to recommend for."""

    kind: ClassVar[type[Recommender[Any, Any]]]
    options: ClassVar[dict[str, Any]]
    """Of a model that is fitted in a second."""
    columns: ClassVar[dict[str, str]] = {}
    """Names of the columns of :meth:`tables`."""
    ids: ClassVar[tuple[str, ...]]
    """Columns with ids, which may be called anything."""
    asked: ClassVar[list[Any]]
    """Three questions for ``recommend``."""
    unknown: ClassVar[Any]
    """A question about nothing that the data have."""

    @staticmethod
    def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
        """Data to learn from, and later data to be measured on."""
        raise NotImplementedError

    @classmethod
    def besides(cls, renamed: bool = False) -> dict[str, Any]:
        """What ``fit`` takes besides a table and its columns; if ``renamed``, with other ids."""
        return {}

    def relabelled(self, asked: Any) -> Any:
        """A question, or an answer's id, in the other ids of :meth:`test_other_ids_give_the_same_answers`."""
        return [f"new {one}" for one in asked] if isinstance(asked, list) else f"new {asked}"

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def eager(cls) -> Iterator[None]:
        """Tracing TensorFlow's functions takes longer than a tiny model itself."""
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, eager: None) -> Recommender[Any, Any]:
        """A fitted model, which no test changes."""
        return cls.fit()

    @classmethod
    def fit(cls, table: Any = None, options: Mapping[str, Any] | None = None, **fitting: Any) -> Recommender[Any, Any]:
        """A model that is fitted on a table, by default the first one."""
        given = cls.tables()[0] if table is None else table
        return cls.kind(**cls.options | dict(options or {})).fit(given, **cls.columns, **(cls.besides() | fitting))

    def test_a_model_needs_no_data_and_tells_its_options(self):
        model = self.kind(**self.options)
        name, value = next(iter(self.options.items()))
        assert getattr(model.options, name) in (value, tuple(value) if isinstance(value, list) else value)
        assert repr(model).startswith(f"{self.kind.__name__}(") and f"{name}=" in repr(model)
        for attempt in (lambda: model.recommend(self.asked[0]), model.evaluate, lambda: model.save("nowhere")):
            with pytest.raises(UserError, match=r"call fit\(\) first"):
                attempt()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"epoch": 3}, "has no option epoch; did you mean epochs?"),
            ({"epochs": "3"}, "epochs is '3'; it must be a whole number"),
            ({"epochs": True}, "epochs is True"),
            ({"epochs": -1}, "^epochs is -1; it must be 0 or more"),
            ({"learning_rate": float("nan")}, "^learning_rate is nan"),
            ({"precision": "float8"}, "precision is 'float8'; it must be 'auto'"),
            ({"epochs": 0}, "weights"),
            ({"run_dir": "here"}, r"run_dir belong to fit\(\)"),
        ],
    )
    def test_wrong_options_are_refused_at_once(self, options, words):
        with pytest.raises(ValueError, match=words):
            self.kind(**options)

    def test_an_evaluation_has_the_model_and_the_baselines(self, fitted):
        found = fitted.evaluate(self.tables()[1], **self.columns)
        first = fitted.description.columns[0]
        assert np.isfinite(found.metrics[first]) and found.baselines
        table = found.table()
        assert list(table.index) == [found.model, *found.baselines]
        assert table.loc[found.model, first] == found.metrics[first]
        low, high = found.intervals[found.model][first]
        assert low <= found.metrics[first] <= high
        assert found.tests[first]["baseline"] in found.baselines
        alone = fitted.evaluate(self.tables()[1], baselines=False, **self.columns)
        assert alone.metrics == found.metrics and not alone.baselines

    def test_recommendations_are_ranked(self, fitted):
        found = fitted.recommend(self.asked[0], k=3)
        assert list(found["rank"]) == [1, 2, 3] and found["item"].is_unique
        assert found["score"].is_monotonic_decreasing
        assert list(found.columns[:3]) == ["rank", "item", "score"]
        assert set(found.columns[3:]) <= {"title", "artist", "name"}

    def test_several_questions_at_once_are_answered_as_one_by_one(self, fitted):
        together = fitted.recommend(self.asked, k=3)
        key = together.columns[0]
        parts = [part.drop(columns=key).reset_index(drop=True) for _, part in together.groupby(key, sort=False)]
        for part, asked in zip(parts, self.asked, strict=True):
            pd.testing.assert_frame_equal(part, fitted.recommend(asked, k=3))

    def test_what_the_data_do_not_have_is_refused(self, fitted):
        for nobody in (self.unknown, []):
            with pytest.raises(UserError):
                fitted.recommend(nobody)

    def test_a_model_that_is_kept_answers_as_before(self, fitted, tmp_path):
        folder = fitted.save(tmp_path / "kept")
        again = self.kind.load(folder)
        pd.testing.assert_frame_equal(again.recommend(self.asked, k=3), fitted.recommend(self.asked, k=3))
        later = self.tables()[1]
        assert again.evaluate(later, **self.columns).rows == fitted.evaluate(later, **self.columns).rows
        with pytest.raises(UserError, match="is not empty"):
            fitted.save(folder)
        again.save(tmp_path / "once more")
        names = [sorted(path.name for path in place.iterdir()) for place in (folder, tmp_path / "once more")]
        assert names[0] == names[1]

    def test_a_damaged_folder_is_told(self, fitted, tmp_path):
        folder = fitted.save(tmp_path / "kept")
        with pytest.raises(UserError, match="no such folder"):
            self.kind.load(tmp_path / "none")
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            content, named = file.read_bytes(), file.relative_to(folder).parts[0]
            for damaged in (content[: len(content) // 2], b""):
                file.write_bytes(damaged)
                with pytest.raises(UserError, match=named):
                    self.kind.load(folder).evaluate(self.tables()[1], **self.columns)
            file.write_bytes(content)
        self.kind.load(folder).recommend(self.asked[0])

    def test_other_ids_give_the_same_answers(self, fitted):
        train = self.tables()[0]
        other = train.assign(**{name: "new " + train[name].astype(str) for name in self.ids})
        found = self.fit(other, **self.besides(renamed=True)).recommend(self.relabelled(self.asked[0]), k=3)
        expected = fitted.recommend(self.asked[0], k=3)
        assert list(found["item"]) == [self.relabelled(item) for item in expected["item"]]
        np.testing.assert_array_equal(found["score"], expected["score"])

    def test_a_run_that_is_resumed_equals_an_uninterrupted_one(self, fitted, tmp_path):
        self.fit(options={"epochs": 1}, run_dir=tmp_path / "run")
        whole = self.fit(run_dir=tmp_path / "whole")
        self.fit(run_dir=tmp_path / "run", resume=True)
        expected, found = (arrays_of(tmp_path / name / "checkpoint.npz") for name in ("whole", "run"))
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
        loaded = self.kind.load(tmp_path / "run")
        for model in (whole, loaded):
            pd.testing.assert_frame_equal(model.recommend(self.asked, k=3), fitted.recommend(self.asked, k=3))

    def test_the_process_is_as_before_and_the_console_is_quiet(self, fitted, capfd):
        random.seed(3)
        np.random.seed(3)
        before = random.getstate(), np.random.get_state()[1].tolist(), keras.config.dtype_policy().name
        self.fit().evaluate(self.tables()[1], **self.columns)
        assert (random.getstate(), np.random.get_state()[1].tolist(), keras.config.dtype_policy().name) == before
        assert capfd.readouterr() == ("", "")
        self.fit(verbose=True)
        out, err = capfd.readouterr()
        assert "epoch 1 loss " in out and len(out.splitlines()) > self.options["epochs"] and not err

    def test_two_models_do_not_disturb_each_other(self, fitted):
        first, second, third = self.fit(), self.fit(options={"seed": 2}), self.fit()
        expected = fitted.recommend(self.asked, k=3)
        for model in (first, third):
            pd.testing.assert_frame_equal(model.recommend(self.asked, k=3), expected)
        assert not second.recommend(self.asked, k=3).equals(expected)

    def test_the_networks_are_functional_models(self, fitted):
        networks = fitted.network if isinstance(fitted.network, dict) else {"whole": fitted.network}
        for network in networks.values():
            assert type(network).__name__ == "Functional"
            network.summary(print_fn=lambda line: None)

    def test_a_loaded_run_tells_its_data(self, fitted, tmp_path):
        folder: Path = fitted.save(tmp_path / "kept")
        described = json.loads((folder / "options.json").read_text("utf-8"))["dataset"]
        assert described["name"] == "table" and not described["synthetic"] and described["counts"]

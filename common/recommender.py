"""Recommender: the Python interface of a paper. Its command line drives the same object, so neither can do more.

    model = GRU4Rec(loss="bpr-max", epochs=5)       # the options of the command line, by name; wrong ones raise at once
    model.fit(events)                               # a data frame, a file, a folder, or a dataset by name
    model.evaluate(later).table()                   # the model and the baselines
    model.recommend(["t1", "t7"], k=10)             # a data frame: rank, item, score
    model.save("runs/mine"); GRU4Rec.load("runs/mine")

A paper writes a subclass with what is particular to it, and no more: the methods of :class:`common.paper.Paper`. The
order of a run is that of :mod:`common.experiment`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from common import console
from common.options import TrainingOptions, UserError, require
from common.options_by_name import options_by_name
from common.paper import Data, Description, Options, Paper, Told
from common.presets import options_of
from common.row_counts import RowCounts
from common.rundir import claimed, read_run

if TYPE_CHECKING:  # imported late: whoever makes or loads a model need not wait for TensorFlow
    from common.evaluation import Evaluation

OF_A_RUN = ("data_dir", "run_dir", "resume")
"""Options that are arguments of ``fit`` in Python."""
NOT_OF_A_MODEL = (*OF_A_RUN, "preset", "weights")
"""Options that a model that is loaded does not take over from its run."""

__all__ = ["Description", "Recommender", "Told"]  # what a paper imports for its own


class Recommender(Paper[Options, Data]):
    """A model that learns from data, is measured on later data, recommends, and is kept in a folder.

    Args:
        options: those of the paper's ``train.py`` by name, with underscores. Data and the folder of the run are
            arguments of :meth:`fit`.

    Raises:
        UserError: there is no such option, or its value is of a wrong type or out of bounds.
    """

    def __init__(self, **options: Any) -> None:
        kind = self.options_type
        own = [name for name in OF_A_RUN if name in options]
        require(not own, f"{', '.join(own)} belong to fit(), not to {type(self).__name__}()")
        preset = options.get("preset")
        if preset is not None:
            options = dict(options_of(str(preset), kind.presets)) | options
        try:
            self.options = options_by_name(kind, options, type(self).__name__)  # type: ignore[assignment]
        except UserError as error:
            raise UserError(in_python(str(error), kind)) from None
        self.settings = self.data = self.dataset = self.progress = None
        self.recorded = {}

    @classmethod
    def of(cls, options: TrainingOptions) -> Self:
        """The model of options that the command line has parsed."""
        made = cls()
        made.options = options  # type: ignore[assignment]
        return made

    def run(self) -> dict[str, Any]:
        """What ``train.py`` does: fit, evaluate, and write the run directory; returns what ``metrics.json`` holds."""
        options, dataset, data = self.read(self.options, None, None, {})
        # Imported late, here and below: mistakes in the options or the data are told without waiting for TensorFlow.
        from common import experiment

        return experiment.run(self, options, dataset, data)

    def __repr__(self) -> str:
        defaults = self.options_type()
        set_here = {
            f.name: value
            for f in dataclasses.fields(self.options)
            if (value := getattr(self.options, f.name)) != getattr(defaults, f.name)
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in set_here.items())})"

    # The verbs. A subclass names what else fit and evaluate take, such as columns of tables, and writes recommend.

    def fit(
        self,
        data: Any = None,
        validation: Any = None,
        run_dir: str | Path | None = None,
        resume: bool = False,
        *,
        verbose: bool = False,
        **reading: Any,
    ) -> Self:
        """Learn from data.

        Args:
            data: a table (pandas, Polars or Arrow), or a file, pattern or list of files of one (csv, tsv, Parquet, JSON
                lines): all of it is learnt from. A folder with a dataset in one of the formats of ``data/README.md``,
                or ``"sample"``: its training part. None: what the command line takes without ``--data-dir``.
            validation: a table that chooses the best epoch; None: what the options split off.
            run_dir: folder of the run, which can be resumed; None: nothing is written.
            resume: go on with the interrupted run in ``run_dir``.
            verbose: print what was read, and the figures of each epoch.
            **reading: how the paper reads its data, such as names of columns; those that are not named are recognised.

        Returns:
            The model itself.

        Raises:
            UserError: the data are wrong, or options do not fit them.
        """
        with as_in_python(self.options_type, verbose):
            place = None if run_dir is None else Path(run_dir)
            options = dataclasses.replace(self.options, run_dir=place, resume=resume)
            options, dataset, found = self.read(options, data, validation, reading)
            from common import experiment

            if verbose:
                sizes = ", ".join(f"{name.replace('_', ' ')} {size:,}" for name, size in self.counts(found).items())
                console.say(f"{dataset.name}: {sizes}", *found.notes, *RowCounts.of_json(found.rows).lines())
            try:
                with claimed(options):
                    experiment.fit(self, options, dataset, found, runs=place is not None)
            except BaseException:
                self.settings = None  # half a model would answer, too
                raise
            if verbose and self.progress is not None:
                console.say(
                    *(" ".join(f"{name} {value:.6g}" for name, value in row.items()) for row in self.progress.history)
                )
        return self

    def evaluate(
        self, data: Any = None, baselines: bool = True, *, verbose: bool = False, **reading: Any
    ) -> Evaluation:
        """Measure the model, and what it has to beat, on later data.

        Args:
            data: as for :meth:`fit`; None: the test part of the dataset that was learnt from.
            baselines: measure the baselines too, which learn from the training data.
            verbose: print warnings instead of giving them to :mod:`warnings`.
            **reading: as for :meth:`fit`.

        Raises:
            UserError: nothing was learnt yet, the data are wrong, or nothing in them can be measured.
        """
        self.require_fitted()
        with as_in_python(self.options_type, verbose):
            found = self.training_data(whole=baselines or data is None)
            if data is not None:
                found = self.tested_on(found, data, reading)
            self.require_tested(found)
            from common import experiment

            for warning in self.warnings(found):
                console.notify(f"warning: {warning}")
            return dataclasses.replace(experiment.evaluate(self, found, baselines), data=found.rows)

    def save(self, folder: str | Path) -> Path:
        """Keep the model in a folder, for :meth:`load`, the ``recommend.py`` of the paper and ``--weights``.

        Raises:
            UserError: nothing was learnt yet, or the folder holds something already.
        """
        self.require_fitted()
        from common import experiment

        return experiment.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The model that :meth:`save`, or a run of the command line, has left in a folder.

        Raises:
            UserError: a file is missing, damaged, or does not fit the others.
        """
        place = Path(folder)
        require(place.is_dir(), f"{place}: no such folder")
        started = read_run(place)
        left = (*NOT_OF_A_MODEL, *cls.not_of_a_model)
        with as_in_python(cls.options_type, verbose=False):
            values = {
                name: value
                for name, value in started["options"].items()
                if value is not None and name not in left and (name, value) != ("epochs", 0)
            }
            model = cls.of(options_by_name(cls.options_type, values, f"{place / 'options.json'}: {cls.__name__}"))
            model.settings = model.options
            model.recorded = {name: value for name, value in started.items() if name != "options"}
            model.restore(place, started["options"].get("data_dir"))
        return model

    def require_fitted(self) -> None:
        """Refuse what needs a model that has learnt."""
        require(self.settings is not None, f"this {type(self).__name__} has learnt nothing yet; call fit() first")


def in_python(message: str, kind: type[Any]) -> str:
    """A message that names options as on the command line, with their names in Python.

    >>> in_python("--batch-size is 0; it must be 1 or more", TrainingOptions)
    'batch_size is 0; it must be 1 or more'
    """
    names = {f.name.replace("_", "-"): f.name for f in dataclasses.fields(kind)}
    return re.sub(r"--([a-z][a-z-]*)", lambda found: names.get(found[1], found[0]), message)


@contextlib.contextmanager
def as_in_python(kind: type[Any], verbose: bool = False) -> Iterator[None]:
    """Name options as in Python; print only what is asked for: what the command line notes becomes a warning."""
    with contextlib.ExitStack() as stack:
        lines = [] if verbose else stack.enter_context(console.held_back())
        try:
            yield
        except UserError as error:
            raise UserError(in_python(str(error), kind)) from None
    for line in lines:
        warnings.warn(line.removeprefix("warning: "), stacklevel=4)

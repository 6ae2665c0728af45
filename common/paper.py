"""Paper: what the author of a paper writes so that it can be trained, measured, kept and used like every other.

    data          read, tested_on, training_data, counts, tests, require_tested
    networks      completed, build, network, train
    figures       measure, measure_baselines
    a run's files facts, keep, restore, and words for the report: title, name_of_run, told

:mod:`common.experiment` calls these in the order of a run; :class:`common.recommender.Recommender` adds the verbs of
Python.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from common.options import TrainingOptions
from common.row_counts import RowCounts
from common.sources import Dataset

if TYPE_CHECKING:  # imported late: whoever makes or loads a model need not wait for TensorFlow
    import keras

    from common.checkpoint import Progress
    from common.evaluation import Evaluation, Figures, Measured
    from common.report import Part

WEIGHTS = "model.weights.h5"
Options = TypeVar("Options", bound=TrainingOptions)
Data = TypeVar("Data", bound="Read")


class Read(Protocol):
    """What the data of every paper have."""

    @property
    def fingerprint(self) -> str:
        """SHA-256, the same for the same data."""

    @property
    def rows(self) -> dict[str, Any]:
        """Rows of each file, used and left out; see :meth:`common.row_counts.RowCounts.as_json`."""

    @property
    def notes(self) -> list[str]:
        """What was recognised in the files, a sentence each."""


@dataclass(frozen=True)
class Description:
    """What reports tell of a paper, whatever the run.

    Attributes:
        folder: of the paper: where its runs lie below ``runs/``.
        title: of its models in headlines.
        citation: name of the model, authors, year and identifier of the paper.
        columns: figures that tables show, the most important one first.
        ranking: what is ranked for whom, in words.
        split: how training and test data are told apart, in words.
        ties: how equal scores count, in words.
        protocol: if it is not that of the options.
        tested: one of what the test part is counted in.
        bounds: rows that no model can beat, such as an upper bound: none of them is the best baseline.
        against_all: whether the model is tested against every other row, too: ``tests`` of the details.
    """

    folder: str
    title: str
    citation: str
    columns: Sequence[str]
    split: str
    ranking: str
    ties: str = "expected rank"
    protocol: str = ""
    tested: str = "test event"
    bounds: Sequence[str] = ()
    against_all: bool = False


@dataclass(frozen=True)
class Told:
    """What a run's report tells besides figures, intervals and tests.

    Attributes:
        details: below ``details`` in ``metrics.json``.
        task: of the paper's tasks the one of this run, if there are several.
        deviations: names of single deviations from the corrected protocol that were asked for.
        published: rows of the table that were not measured here: name -> figure -> value.
        more_columns: of the table, behind those of the description.
        notes: sentences below the table.
        parts: further tables.
        following: the command that is of use next: a script and its arguments.
    """

    details: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    deviations: Sequence[str] = ()
    published: Mapping[str, Figures] = field(default_factory=dict)
    more_columns: Sequence[str] = ()
    notes: Sequence[str] = ()
    parts: Sequence[Part] = ()
    following: Sequence[object] = ()


class Paper(abc.ABC, Generic[Options, Data]):
    """A model of a paper, by what is particular to it.

    Attributes:
        options: as given, what is left open being None.
        settings: the same, filled in by the data; None before :meth:`fit` or :meth:`load`.
        data: what was learnt from; of a loaded model perhaps without the training part, until that is needed.
        dataset: its name, and where it lies.
        progress: what the training has reached.
        recorded: what ``options.json`` tells of the run besides its options.
    """

    options_type: ClassVar[type[TrainingOptions]]
    not_of_a_model: ClassVar[tuple[str, ...]] = ()
    """Options that a loaded model does not take over from its run, such as folders of other runs."""
    mirrored: ClassVar[bool] = True
    """Whether ``--distribute`` mirrors the weights on all devices; else they are plain variables of each process."""
    options: Options
    settings: Options | None
    data: Data | None
    dataset: Dataset | None
    progress: Progress | None
    recorded: dict[str, Any]

    @property
    @abc.abstractmethod
    def description(self) -> Description:
        """What reports tell of the paper."""

    # Its data, ...

    @abc.abstractmethod
    def read(
        self, options: Options, data: Any, validation: Any, reading: Mapping[str, Any]
    ) -> tuple[Options, Dataset, Data]:
        """The data to learn from, see :meth:`fit`, and the options with what is known of them by then."""

    @abc.abstractmethod
    def tested_on(self, data: Data, table: Any, reading: Mapping[str, Any]) -> Data:
        """``data`` with a table in the place of their test part."""

    @abc.abstractmethod
    def training_data(self, whole: bool) -> Data:
        """What the model learnt from; of a loaded model without its training part, unless it is needed (``whole``)."""

    @abc.abstractmethod
    def counts(self, data: Data) -> dict[str, int]:
        """Sizes of the data by name."""

    def inputs(self, data: Data) -> dict[str, str]:
        """What else is read than what the fingerprint of the data tells, such as texts or sound -> its SHA-256."""
        return {}

    @abc.abstractmethod
    def tests(self, data: Data) -> int:
        """What is measured of the test part: the number of events, pairs, ..."""

    @abc.abstractmethod
    def require_tested(self, data: Data) -> None:
        """Refuse data without a test part."""

    def warnings(self, data: Data) -> list[str]:
        """Why figures on the test part say little, a sentence each."""
        return RowCounts.of_json(data.rows).warnings(self.tests(data), self.description.tested)

    # ... its networks and their training, ...

    def completed(self, options: Options, dataset: Dataset, data: Data) -> Options:
        """The options, filled in."""
        return options.completed(dataset.synthetic)  # type: ignore[attr-defined, no-any-return]

    @abc.abstractmethod
    def build(self, data: Data, weights: Path | None) -> None:
        """Make the networks that the settings describe: new ones, or those of a file."""

    @property
    @abc.abstractmethod
    def network(self) -> keras.Model | dict[str, keras.Model]:
        """The functional network, or several views of one set of weights by name."""

    @property
    def kept(self) -> Any:
        """The Keras model that has all weights."""
        return self.network

    @abc.abstractmethod
    def train(self, data: Data, run_dir: Path | None) -> Progress:
        """Fit the networks."""

    # ... what is measured of them, ...

    @abc.abstractmethod
    def measure(self, data: Data) -> Measured:
        """The figures of the model on the test part."""

    def measure_models(self, data: Data) -> dict[str, Measured]:
        """The same by name: of the model, then of further ``--weights`` that it is compared with."""
        return {self.title(): self.measure(data)}

    @abc.abstractmethod
    def measure_baselines(self, data: Data) -> dict[str, Measured]:
        """The figures of what it has to beat."""

    # ... and what is kept and told of a run.

    @abc.abstractmethod
    def facts(self, data: Data) -> dict[str, Any]:
        """What ``options.json`` tells besides options and dataset: what the networks were made of."""

    @abc.abstractmethod
    def keep(self, folder: Path) -> None:
        """Write what the weights are of no use without."""

    @abc.abstractmethod
    def restore(self, folder: Path, data_dir: str | None) -> None:
        """Read it again, and the weights."""

    @abc.abstractmethod
    def title(self) -> str:
        """Name of the model's row in tables."""

    def name_of_run(self, dataset: Dataset) -> str:
        """Of its default folder, and in headlines."""
        return dataset.name

    def keep_predictions(self, folder: Path, data: Data) -> None:
        """Write what was predicted of the test part, by which runs can be compared."""

    def told(self, data: Data, folder: Path, found: Evaluation) -> Told:
        """What the report tells besides; ``found`` is what was measured."""
        return Told()

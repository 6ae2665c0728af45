"""The study of a search: it proposes trials, keeps what came of them and names the best.

It is optuna's, in ``study.db``; its tree-structured Parzen estimator (Bergstra et al. 2011) proposes the trials.
"""

from __future__ import annotations

import contextlib
import csv
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import console
from common.options import UserError, replacing, require, write_json
from common.tuning.search_space import Direction
from common.tuning.trials import Failed, Trials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

SHOWN = 10
"""Rows of the table of the best trials."""
HOPELESS = 3
"""Trials that may fail before any succeeds."""


def open_study(folder: Path, direction: Direction, begun: dict[str, Any]) -> Study:
    """The study in ``folder``, a new one if there is none.

    Args:
        begun: what it was begun with, or is begun with now.

    Raises:
        UserError: optuna is missing, the study is damaged, or was begun with something else.
    """
    try:
        import optuna
        from sqlalchemy.engine import URL
    except ModuleNotFoundError as missing:
        raise UserError(f'a search needs {missing.name}: pip install -e ".[tune]"') from None
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    file = folder / "study.db"
    with readable(file, RuntimeError, ValueError, KeyError):
        storage = optuna.storages.RDBStorage(URL.create("sqlite", database=str(file)).render_as_string())
        study = optuna.create_study(storage=storage, study_name="search", direction=direction, load_if_exists=True)
        before = study.user_attrs.get("begun")
        if before is None:
            study.set_user_attr("begun", begun)
            return study
    for name, now in begun.items():
        same = before.get(name) == now
        words = f"was begun with {name} = {before.get(name) or 'none'}, not {now or 'none'}"
        words = "was begun with another search space of this name" if name == "search space" else words
        require(same, f"{file}: {words}; name another folder with --out, or delete that one")
    return study


@contextlib.contextmanager
def readable(file: Path, *others: type[Exception]) -> Iterator[None]:
    """Turn errors of the study's ``file``, damaged or on a full disk, into one line; ``others`` too."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    caught: tuple[type[Exception], ...] = (SQLAlchemyError, OptunaError, *others)
    try:
        yield
    except caught as error:
        said = str(error.__cause__ or error).splitlines()[:1]
        raise UserError(f"{file}: cannot be read or written as a study ({' '.join(said)})") from None


def search(study: Study, trials: Trials, count: int) -> None:
    """Make trials until ``count`` are over, the interrupted one first.

    Raises:
        UserError: the first few all failed, or no trial can be judged.
    """
    from optuna.samplers import TPESampler
    from optuna.trial import Trial, TrialState

    def sampler(number: int) -> TPESampler:
        """With a seed for each trial: a search that is continued proposes what an uninterrupted one would."""
        return TPESampler(seed=int(np.random.SeedSequence((trials.seed, number)).generate_state(1)[0]))

    for unfinished in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.sampler = sampler(unfinished.number)
        _make(study, trials, Trial(study, unfinished._trial_id))
        _give_up(study)
    while done(study) < count:
        study.sampler = sampler(len(study.get_trials(deepcopy=False)))
        _make(study, trials, study.ask())
        _give_up(study)


def _make(study: Study, trials: Trials, trial: Trial) -> None:
    """Make a trial and record what came out."""
    from optuna.trial import TrialState

    chosen = trials.choose(trial)
    trial.set_user_attr("chosen", chosen)
    console.say(f"Trial {trial.number}: {_listed(chosen)}", flush=True)
    twin = next((old for old in _complete(study) if old.params == trial.params), None)
    try:
        if twin:
            found = twin.user_attrs["found"] | {"seconds": 0.0, "same_as": twin.number}
            said = f"as trial {twin.number}"
        else:
            found = trials.run(trial.number, chosen)
            said = f"epoch {found['epoch']}, {found['seconds']:.0f} s"
            _same_dataset(study, found["dataset"], trials.run_dir(trial.number))
        trial.set_user_attr("found", found)
        study.tell(trial, found["value"])
        console.say(f"Trial {trial.number}: {trials.metric} {found['value']:.6g}, {said}", flush=True)
    except (Failed, UserError) as error:
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.FAIL)
        if isinstance(error, UserError):
            raise
        console.say(f"Trial {trial.number}: failed: {error}", flush=True)
    finally:
        write_trials(study, trials)
    if _complete(study):
        write_json(trials.folder / "preset.json", preset_of(study, trials))


def _same_dataset(study: Study, dataset: dict[str, Any], run_dir: Path) -> None:
    if "dataset" not in study.user_attrs:
        study.set_user_attr("dataset", dataset)
    same = study.user_attrs["dataset"] == dataset
    require(same, f"{run_dir}: is of another dataset than the trials before; name another folder with --out")


def _give_up(study: Study) -> None:
    failed = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "FAIL"]
    if len(failed) >= HOPELESS and not _complete(study):
        raise UserError(
            f"the first {len(failed)} trials all failed, the last one with: {failed[-1].user_attrs['error']}"
        )


def _complete(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]


def done(study: Study) -> int:
    """Trials that are over."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _listed(chosen: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in chosen.items()) or "the space's options"


def best_first(study: Study) -> list[FrozenTrial]:
    """The trials that succeeded; of equal ones the first comes first."""
    sign = -1 if study.direction.name == "MAXIMIZE" else 1
    return sorted(_complete(study), key=lambda trial: sign * trial.user_attrs["found"]["value"])


def preset_of(study: Study, trials: Trials) -> dict[str, Any]:
    """The best trial's options as a preset, with what they are from."""
    best = best_first(study)[0]
    found = best.user_attrs["found"]
    return {
        "paper": trials.space.paper,
        "options": found["options"],
        "found": {
            "space": trials.space.name,
            "metric": trials.metric,
            "value": found["value"],
            "trial": best.number,
            "trials": done(study),
            "seed": trials.seed,
            "dataset": study.user_attrs["dataset"],
        },
    }


def write_trials(study: Study, trials: Trials) -> None:
    """Write ``trials.csv``: a row for each trial that is over."""
    names = [parameter.name for parameter in trials.search]
    with replacing(trials.folder / "trials.csv", "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["trial", "state", trials.metric, "epoch", "seconds", *names, "same_as", "error"])
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                chosen, found = trial.user_attrs["chosen"], trial.user_attrs.get("found", {})
                figures = [found.get(name, "") for name in ("value", "epoch", "seconds")]
                values = [chosen.get(name, "") for name in names]
                rest = [found.get("same_as", ""), trial.user_attrs.get("error", "")]
                table.writerow([trial.number, trial.state.name.lower(), *figures, *values, *rest])


def finish(study: Study, trials: Trials) -> dict[str, Any]:
    """Print the best trials; the preset of the best one.

    Raises:
        UserError: no trial succeeded.
    """
    ranked = best_first(study)
    require(bool(ranked), f"all {done(study)} trials failed; {trials.folder / 'trials.csv'} says why")
    file, paper = trials.folder / "preset.json", trials.space.paper
    preset = preset_of(study, trials)
    write_json(file, preset)
    rows = [(trial, trial.user_attrs["found"], trial.user_attrs["chosen"]) for trial in ranked[:SHOWN]]
    console.print_table(
        f"{trials.space.name}: the best of {done(study)} trials",
        ["trial", trials.metric, "epoch", "options"],
        [[str(t.number), f"{found['value']:.6g}", str(found["epoch"]), _listed(chosen)] for t, found, chosen in rows],
    )
    _warn_of_chance(trials, preset["found"]["value"])
    command = ["python", f"{paper}/train.py", "--preset", str(file)]
    command += ["--data-dir", str(trials.data_dir)] if trials.data_dir else []
    command += ["--seed", str(trials.seed)] if trials.seed != 1 else []
    said = shlex.join([*command, *trials.arguments])
    console.say(f"Trial {ranked[0].number} is the best. To train with its options: {said}")
    return preset


def _warn_of_chance(trials: Trials, value: float) -> None:
    """Say so if the best trial knows less than nothing."""
    chance = trials.space.chance.get(trials.metric)
    if chance is None or (value <= chance if trials.space.metrics[trials.metric] == "minimize" else value >= chance):
        return
    console.say(
        f"Even the best trial is worse than chance: {trials.metric} is {value:.4g}, and {chance:.4g} for a model that "
        "knows nothing. Train longer (--epochs), or search smaller learning rates."
    )

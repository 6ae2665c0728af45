"""What a run keeps of its agent, and the agent from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.options import UserError, require, write_json
from common.weights import load_own_weights, save_own_weights
from session_transformers.reinforcement.agent import Agent
from session_transformers.reinforcement.networks import Judged, Networks, Sizes
from session_transformers.reinforcement.options import DdpgOptions, DdpgSwitches

MODEL = "ddpg"
ARCHITECTURE, WEIGHTS = "architecture.json", "model.weights.h5"


def judged_by(options: DdpgOptions) -> Judged:
    """What the critic sees of an action."""
    if not options.switches.judges_decision:
        return "action"
    return "track" if options.task == "skip" else "memory"


def build_agent(options: DdpgOptions, sizes: Sizes) -> Agent:
    """An agent that has learned nothing yet."""
    networks = Networks(sizes, judged_by(options), options.switches.unit_actions, options.seed, options.skip_grams)
    return Agent(networks, options)


def save_agent(folder: Path, agent: Agent) -> None:
    """Write ``architecture.json`` and ``model.weights.h5`` into the folder of a run."""
    described = {"model": MODEL, "options": asdict(agent.options), "sizes": asdict(agent.networks.sizes)}
    write_json(folder / ARCHITECTURE, described)
    save_own_weights(folder / WEIGHTS, agent.networks)


def load_agent(folder: Path) -> Agent:
    """The agent that :func:`save_agent` wrote.

    Raises:
        UserError: a file is missing or damaged, or the run is one of another model.
    """
    file = folder / ARCHITECTURE
    try:
        described = json.loads(file.read_text("utf-8"))
        model = described["model"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read ({error}); expected the folder of a run of --model {MODEL}") from None
    require(model == MODEL, f"{file}: a run of --model {model}, not of {MODEL}")
    try:
        sizes = Sizes(**described["sizes"])
        agent = build_agent(_options(described["options"]), sizes)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: damaged, or of another version ({error})") from None
    require((folder / WEIGHTS).is_file(), f"{folder / WEIGHTS}: no such file; the run has not ended")
    load_own_weights(agent.networks, folder / WEIGHTS)
    return agent


def _options(described: Mapping[str, Any]) -> DdpgOptions:
    return DdpgOptions(**(dict(described) | {"switches": DdpgSwitches(**described["switches"])}))

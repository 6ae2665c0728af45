"""Options of the networks over biographies and sound."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

import tyro

from audiotext.architecture import Architecture, architecture
from audiotext.data_options import PrepareOptions
from audiotext.kinds import TEXT_KINDS, Kind, Text, network_of
from audiotext.layout import Part
from common.options import OptionalFloat, OptionalInt, OptionalPath, TrainingOptions, flag, require, require_between

DEFAULTS: dict[str, Any] = {"epochs": 100, "batch_size": 32, "learning_rate": 1e-3, "patience": 4}
OF_KIND: dict[str, dict[str, Any]] = {"seed": {"batch_size": 256, "patience": 5}}
SIZES = ("text_units", "fusion_units", "filters", "kernels", "pools", "dropout", "fusion_dropout")
SAMPLE: dict[str, Any] = {
    "epochs": 40, "text_units": (128, 128), "fusion_units": 128, "filters": (32, 64, 64, 64), "pools": (4, 2, 2, 1),
    "dropout": 0.3, "fusion_dropout": 0.3,
}  # fmt: skip
"""Smaller networks for the sample: the paper's have more weights than it has plays."""
Integers = Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...", help_behavior_hint="")]


@dataclass(frozen=True)
class AudioTextOptions(TrainingOptions, PrepareOptions):
    """Options of training. What is left open is the paper's, or the seed's for --model seed; smaller on the sample."""

    data_dir: OptionalPath = None
    """Folder with dlrs-data of MSD-A, with raw material, or with the HetRec 2011 Last.fm files (data/README.md).
    Default: the released dlrs-data below data/audiotext, else the synthetic sample, which is written on first use."""
    model: Kind = "mm-lf-h1"
    """a-text, a-sem, a-tags: an artist's text alone, with entities, or tags; audio: a song's sound; mm-lf-lin,
    mm-lf-h1: both embeddings fused without or with a hidden layer; mm: both branches trained together; seed: the
    network of MusicRecommender, tf-idf and the audio embedding."""
    text: Literal["auto", "a-text", "a-sem", "a-tags"] = "auto"
    """The text that mm-lf-*, mm and seed read. Default: a-sem (the paper's), else what the data have."""
    text_run: OptionalPath = None
    """mm-lf-*: run of a text model whose last hidden layer is the artist embedding. Default: the embedding of the
    dataset, else it is trained first."""
    audio_run: OptionalPath = None
    """mm-lf-*, seed: run of the audio model whose flattened maps are the track embedding. Default: the embedding of
    the dataset, else it is trained first."""
    epochs: OptionalInt = None
    """Passes over the training items, at most, of each network (tartarus: 100). Default: 100, on the sample 40."""
    batch_size: OptionalInt = None
    """Items in a batch (tartarus: 32, seed: 256)."""
    learning_rate: OptionalFloat = None
    """Step size of Adam (all: 0.001)."""
    patience: OptionalInt = None
    """Epochs without a lower validation loss before training stops; 0 never (tartarus: 4, seed: 5)."""
    text_units: Integers = ()
    """Units of the layers over the terms (paper: 2048 2048, seed: 512 512). On the sample 128 128."""
    fusion_units: OptionalInt = None
    """Units of the layer over both embeddings (mm-lf-h1: 512; mm-lf-lin has none). On the sample 128."""
    filters: Integers = ()
    """Of the convolutions (paper: 256 512 1024 1024). On the sample 32 64 64 64."""
    kernels: Integers = ()
    """Frames that each convolution reads (4 4 4 1)."""
    pools: Integers = ()
    """Frames of which each convolution keeps the largest value (4 4 4 1). On the sample 4 2 2 1."""
    dropout: OptionalFloat = None
    """Share of inputs and units dropped in the branches (0.5). On the sample 0.3."""
    fusion_dropout: OptionalFloat = None
    """Share of both embeddings dropped (0.7). On the sample 0.3."""
    users: int = 10_000
    """Users that are evaluated: the first ones (tartarus: 10,000); 0 is all."""
    neighbours: int = 20
    """Training items that the nearest-neighbour baseline averages."""
    baselines: bool = True
    """Evaluate the baselines too."""

    def __post_init__(self) -> None:
        TrainingOptions.__post_init__(self)
        PrepareOptions.__post_init__(self)
        require_between(
            self,
            batch_size=(1, 2**20),
            patience=(0, 10**6),
            fusion_units=(0, 2**16),
            dropout=(0, 0.99),
            fusion_dropout=(0, 0.99),
            users=(0, 2**31),
            neighbours=(1, 10**6),
        )
        for name in ("text_units", "filters", "kernels", "pools"):
            sizes = getattr(self, name)
            require(all(1 <= size <= 2**16 for size in sizes), f"{flag(name)} is {sizes}; each must lie in 1..65536")
        for name in ("text_run", "audio_run"):
            run = getattr(self, name)
            require(run is None or run.is_dir(), f"{flag(name)} {run}: no such folder")
        require(self.text_run is None or self.model.startswith("mm-lf"), "--text-run belongs to mm-lf-lin and mm-lf-h1")
        require(
            self.audio_run is None or self.model.startswith(("mm-lf", "seed")),
            "--audio-run belongs to mm-lf-lin, mm-lf-h1 and seed",
        )
        require(
            self.text == "auto" or self.model.startswith(("mm", "seed")),
            f"--text belongs to mm-lf-lin, mm-lf-h1, mm and seed; --model {self.model} names its own input",
        )
        require(
            len(self.weights) <= 1 or self.epochs == 0,
            "--weights names several files; training starts from one: name one, or compare them with --epochs 0",
        )

    @property
    def parts(self) -> list[Part]:
        """The parts of the dataset that the network, and the branches that it needs, read."""
        text: list[Part] = ["text"] if self.model != "audio" else []
        return ["factors", *text, *(["audio"] if self.model not in TEXT_KINDS else [])]  # type: ignore[list-item]

    @property
    def of_data(self) -> PrepareOptions:
        """Those that turn raw material into dlrs-data."""
        return PrepareOptions(**{field.name: getattr(self, field.name) for field in fields(PrepareOptions)})

    def completed(self, synthetic: bool) -> AudioTextOptions:
        """These options with everything filled in but the sizes that are the paper's."""
        chosen = DEFAULTS | OF_KIND.get(self.model, {}) | (SAMPLE if synthetic else {})
        open_fields = {field.name for field in fields(self) if getattr(self, field.name) in (None, ())}
        if self.model == "mm-lf-lin":
            open_fields.discard("fusion_units")  # which it has none of
        return replace(self, **{name: value for name, value in chosen.items() if name in open_fields})

    def architecture(self, **known: int) -> Architecture:
        """The network that complete options describe; ``known`` are the sizes that the data fix.

        Raises:
            UserError: the sizes do not fit together.
        """
        sizes = {name: getattr(self, name) for name in SIZES if getattr(self, name) not in (None, ())}
        counts = {len(sizes[name]) for name in ("filters", "kernels", "pools") if name in sizes} | {4}
        given = all(name in sizes for name in ("filters", "kernels", "pools"))
        require(
            len(counts) == 1 or (given and len(counts - {4}) == 1),
            "--filters, --kernels and --pools need four numbers each, or all three the same number of them",
        )
        return architecture(network_of(self.model), **sizes, **known)


__all__ = ["DEFAULTS", "OF_KIND", "SAMPLE", "AudioTextOptions", "Text"]

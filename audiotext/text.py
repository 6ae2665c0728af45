"""Biographies, entities and tags as tf-idf: the input of the artist branch.

Three kinds of text: A-TEXT is the words of the biography, A-SEM adds entities found in it (and their categories) as
terms, A-TAGS is the tags that listeners gave. A term that is not a word of the text is one token however many words it
has, and is told from the same word by a prefix.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from audiotext.raw import RawData
from common.options import UserError, require, write_json

PIECES, TERMS, COMMONEST = 300, 10_000, 0.5
"""Pieces of a text that count, most terms, and largest share of the texts that a term may be in: those of tartarus."""
TextKind = Literal["a-text", "a-sem", "a-tags"]
_words = TfidfVectorizer().build_analyzer()


@dataclass(frozen=True)
class Document:
    """What is known of an artist.

    Attributes:
        text: in whole; only the beginning counts, see :func:`beginning`.
        terms: entities or tags, with how often each occurs; see :func:`entity` and :func:`tag`.
    """

    text: str = ""
    terms: Mapping[str, int] = field(default_factory=dict)

    def tokens(self) -> Iterator[str]:
        """The words, lower-case and of two or more letters or digits, and the terms."""
        yield from _words(beginning(self.text))
        for term, count in self.terms.items():
            for _ in range(count):
                yield term


def beginning(text: str) -> str:
    r"""The first 300 pieces of a text that is split at every blank and line feed; empty pieces count.

    A carriage return is no line end: texts are read as their bytes are, as the released code does.

    >>> beginning("one  two\n" + "x " * 400).count("x")
    297
    """
    return " ".join(re.split("[\n ]", text, maxsplit=PIECES)[:PIECES])


def entity(name: str) -> str:
    """The term of an entity or category.

    >>> entity("New Orleans  jazz")
    'entity:new_orleans_jazz'
    """
    return "entity:" + "_".join(name.lower().split())


def tag(name: str) -> str:
    """The term of a tag: case and blanks make no difference.

    >>> tag("Hip Hop")
    'tag:hip_hop'
    """
    return "tag:" + "_".join(name.lower().split())


def documents(raw: RawData, kind: TextKind) -> list[Document]:
    """The documents of all artists, in their order."""
    if kind == "a-tags":
        return [Document("", _renamed(tags, tag)) for tags in raw.tags]
    if kind == "a-sem":
        pairs = zip(raw.biographies, raw.entities, strict=True)
        return [Document(text, _renamed(entities, entity)) for text, entities in pairs]
    return [Document(text) for text in raw.biographies]


def _renamed(terms: Mapping[str, int], rename: Any) -> dict[str, int]:
    renamed: dict[str, int] = {}
    for name, count in terms.items():
        renamed[rename(name)] = renamed.get(rename(name), 0) + count
    return renamed


class TfIdf:
    """Term weights learned from the training artists: (1 + ln tf) * idf, each row of norm 1.

    idf = ln((1 + n) / (1 + df)) + 1; terms in more than half of the documents are left out, and of the rest those
    with the highest counts are taken. This is scikit-learn's TfidfVectorizer with sublinear tf.
    """

    def __init__(self, terms: int = TERMS) -> None:
        require(terms >= 1, f"tf-idf of {terms} terms; it must be 1 or more")
        self._vectorizer = _vectorizer(max_df=COMMONEST, max_features=terms)

    @property
    def terms(self) -> list[str]:
        """The term of each column."""
        return self._vectorizer.get_feature_names_out().tolist()

    def fit(self, training: Sequence[Document]) -> TfIdf:
        """Choose and weigh the terms.

        Raises:
            UserError: no term is left: the documents are empty, or all alike.
        """
        try:
            self._vectorizer.fit(training)
        except ValueError as error:
            raise UserError(
                f"{len(training)} training texts, {sum(1 for _ in _filled(training))} of them not empty, give no terms "
                f"for tf-idf: {error}"
            ) from error
        return self

    def transform(self, texts: Sequence[Document]) -> sparse.csr_matrix:
        """tf-idf (documents, terms) in double precision; a document without a known term is a row of zeros."""
        return sparse.csr_matrix(self._vectorizer.transform(texts))

    def save(self, path: Path) -> None:
        """Write terms and weights as JSON, which keeps every bit of them."""
        write_json(path, {"terms": self.terms, "idf": self._vectorizer.idf_})

    @classmethod
    def load(cls, path: Path) -> TfIdf:
        """Read what :meth:`save` wrote.

        Raises:
            UserError: the file is missing or damaged.
        """
        try:
            found = json.loads(path.read_text("utf-8"))
            terms, idf = found["terms"], np.array(found["idf"], np.float64)
            right = len(set(terms)) == len(terms) > 0 and idf.shape == (len(terms),) and bool(np.isfinite(idf).all())
            require(right and all(isinstance(term, str) for term in terms), f"{path}: terms and idf do not fit")
            loaded = cls(len(terms))
            loaded._vectorizer = _vectorizer(vocabulary=terms)
            loaded._vectorizer.idf_ = idf
        except UserError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read as terms and weights of tf-idf: {error}") from error
        return loaded


def _vectorizer(**settings: Any) -> TfidfVectorizer:
    return TfidfVectorizer(analyzer=Document.tokens, sublinear_tf=True, dtype=np.float64, **settings)


def _filled(texts: Iterable[Document]) -> Iterator[Document]:
    return (text for text in texts if next(text.tokens(), None) is not None)

"""The embedding models of a process, and which of them a dataset is bound to."""

from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.embedding import Embedder, binding
from retrieval.embedding.passages import PassageEmbeddings
from retrieval.embedding.queries import QueryEmbeddings
from retrieval.errors import InvalidRequest, ModelMismatch
from retrieval.types import Dataset, ModelBinding


@dataclass(frozen=True, slots=True)
class Model:
    """An embedder, with what is remembered of the questions and passages that it has read."""

    embedder: Embedder
    queries: QueryEmbeddings
    passages: PassageEmbeddings

    @property
    def binding(self) -> ModelBinding:
        """Loads a model that is loaded when first used. Raises EmbedderUnavailable."""
        return binding(self.embedder)


class Models:
    """Those of one process: the primary one, which new datasets have if none is named, and others.

    A model that is loaded when first used is loaded for a dataset that names it, and for no other.
    """

    def __init__(self, primary: Embedder, others: Sequence[Embedder] = ()) -> None:
        self._models = tuple(_with_memory(embedder) for embedder in (primary, *others))
        self._bound: dict[ModelBinding, Model] = {}

    @property
    def primary(self) -> Model:
        return self._models[0]

    @property
    def names(self) -> tuple[str, ...]:
        """Each once, the primary one first."""
        return tuple(dict.fromkeys(model.embedder.name for model in self._models))

    def named(self, name: str) -> Model:
        """Raises InvalidRequest that says which models there are."""
        for model in self._models:
            if model.embedder.name == name:
                return model
        raise InvalidRequest(
            f"this process runs no embedding model named {name!r} (it runs: {', '.join(self.names)}): add it to "
            "QUOTEBASE_EMBEDDING_MODELS",
            "vectorModel",
        )

    def of(self, dataset: Dataset) -> Model:
        """The one that the dataset is bound to.

        Raises:
            ModelMismatch: none of the process is.
            EmbedderUnavailable: the one of that name cannot be loaded.
        """
        known = self._bound.get(dataset.model)
        if known is not None:
            return known
        for model in self._models:
            if model.embedder.name == dataset.model.name and model.binding == dataset.model:
                self._bound[dataset.model] = model
                return model
        bound, present = _described(dataset.model), _described(self.primary.binding)
        others = "".join(f", {name}" for name in self.names[1:])
        raise ModelMismatch(
            f"dataset {dataset.name!r} was made with the embedding model {bound} and this process runs "
            f"{present}{others}: set QUOTEBASE_EMBEDDING_MODEL to the model of the dataset or add it to "
            "QUOTEBASE_EMBEDDING_MODELS, or import its files into a new dataset"
        )


def _with_memory(embedder: Embedder) -> Model:
    return Model(embedder, QueryEmbeddings(embedder), PassageEmbeddings(embedder))


def _described(model: ModelBinding) -> str:
    return f"{model.name} ({model.dim} dimensions, {model.fingerprint})"

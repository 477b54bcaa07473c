"""What the tools of the MCP server take and give: short, in the words of the command line."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from retrieval.types import Dataset, RecordDraft


class DatasetFound(BaseModel):
    id: str
    name: str
    intro: str


class DatasetsFound(BaseModel):
    datasets: list[DatasetFound]


class QuoteFound(BaseModel):
    """A record with the score that decided its place: a cosine, BM25, or in ``mixedRecall`` their weighed sum."""

    id: str
    q: str
    a: str
    score: float
    collection: str


class SearchFound(BaseModel):
    """``notes`` says what was asked for and could not be done."""

    quotes: list[QuoteFound]
    similarity: float
    notes: list[str]


class RecordFound(BaseModel):
    """``indexes`` are the texts beside q and a that it is found by."""

    id: str
    q: str
    a: str
    indexes: list[str]
    dataset_id: str
    collection_id: str
    collection: str
    updated_at: str


class NewRecord(BaseModel):
    """A question or title, its answer, and further texts that it can be found by."""

    q: Annotated[str, Field(pattern=r"\S", description="The question, title or statement; not blank.")]
    a: Annotated[str, Field(description="The answer or text.")] = ""
    indexes: Annotated[list[str], Field(description="Further texts that it can be found by.")] = []

    def to_draft(self) -> RecordDraft:
        return RecordDraft(self.q, self.a, tuple(self.indexes))


class RecordsAdded(BaseModel):
    """Those that the collection had already are ``unchanged``."""

    added: int
    unchanged: int


def dataset_found(dataset: Dataset) -> DatasetFound:
    return DatasetFound(id=dataset.id, name=dataset.name, intro=dataset.intro)


def search_found(reply: Mapping[str, Any]) -> SearchFound:
    """Of a reply of ``searchTest``."""
    return SearchFound(
        quotes=[
            QuoteFound(
                id=item["id"],
                q=item["q"],
                a=item["a"],
                score=item["score"][0]["value"],
                collection=item["sourceName"],
            )
            for item in reply["list"]
        ],
        similarity=reply["similarity"],
        notes=reply["notes"],
    )


def record_found(detail: Mapping[str, Any]) -> RecordFound:
    """Of a reply of ``data/detail``."""
    return RecordFound(
        id=detail["id"],
        q=detail["q"],
        a=detail["a"],
        indexes=[index["text"] for index in detail["indexes"] if not index["defaultIndex"]],
        dataset_id=detail["datasetId"],
        collection_id=detail["collectionId"],
        collection=detail["sourceName"],
        updated_at=detail["updateTime"],
    )

"""Requests about apps, and what is told of them. Search settings are called as in ``searchTest``."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasChoices, Field, model_validator

from api.apps import App, Variable
from api.schemas import Wire, wire_time
from retrieval.types import SearchMode

_UNSET_BY_NULL = frozenset(("similarity", "topK", "perSource", "temperature"))
"""Where null says something: none, and not the one there was."""


class AppList(Wire):
    search_key: str = ""


class VariableItem(Wire):
    """``defaultValue`` stands where a request says nothing."""

    key: str
    default_value: str = ""
    label: str = ""


class AppFields(Wire):
    """What is left out stays, or is what an app has by itself."""

    name: str | None = None
    intro: str | None = None
    dataset_ids: list[str] | None = None
    search_mode: SearchMode | None = None
    similarity: float | None = None
    limit: int | None = None
    top_k: int | None = None
    per_source: int | None = None
    embedding_weight: float | None = None
    rerank: bool | None = Field(None, alias="usingReRank")
    rerank_weight: float | None = None
    extension: bool | None = Field(None, alias="datasetSearchUsingExtensionQuery")
    extension_model: str | None = Field(None, alias="datasetSearchExtensionModel")
    extension_background: str | None = Field(None, alias="datasetSearchExtensionBg")
    system_prompt: str | None = None
    limit_prompt: str | None = None
    quote_template: str | None = None
    quote_prompt: str | None = None
    backend: str | None = None
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    history_turns: int | None = None
    empty_reply: str | None = None
    welcome_text: str | None = None
    variables: list[VariableItem] | None = None
    citations: bool | None = None
    search_price: float | None = None
    chat_price: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        return {name: value for name, value in body.items() if value is not None or name in _UNSET_BY_NULL}

    @property
    def given(self) -> dict[str, Any]:
        """The fields of an :class:`~api.apps.App` that the body has."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set & _FIELDS}
        if self.dataset_ids is not None:
            given["dataset_ids"] = tuple(dict.fromkeys(self.dataset_ids))
        if self.variables is not None:
            given["variables"] = tuple(
                Variable(item.key, item.default_value, item.label) for item in self.variables
            )
        return given


_FIELDS = frozenset(AppFields.model_fields)


class AppCreate(AppFields):
    name: Annotated[str, Field(min_length=1)]
    dataset_ids: Annotated[list[str], Field(min_length=1)]


class AppUpdate(AppFields):
    """FastGPT's clients name the app in the query."""

    app_id: str = Field("", validation_alias=AliasChoices("appId", "id", "app_id"))


def app_item(app: App) -> dict[str, Any]:
    """An app with all its settings."""
    item = {str(field.alias): getattr(app, name) for name, field in AppFields.model_fields.items()}
    return {
        "_id": app.id,
        **item,
        "datasetIds": list(app.dataset_ids),
        "variables": [variable_item(variable) for variable in app.variables],
        "createTime": wire_time(datetime.fromisoformat(app.created_at)) if app.created_at else None,
    }


def variable_item(variable: Variable) -> dict[str, Any]:
    return {"key": variable.key, "label": variable.label, "defaultValue": variable.default}

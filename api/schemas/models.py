"""Apps in the form of OpenAI's models."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from api.apps import App


class ModelItem(BaseModel):
    """``id`` is the name of an app; ``created`` is in seconds, 0 where nobody noted it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["quotebase"] = "quotebase"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelItem]


def model_item(app: App) -> ModelItem:
    created = int(datetime.fromisoformat(app.created_at).timestamp()) if app.created_at else 0
    return ModelItem(id=app.name, created=created)

"""What is told of the state of the server."""

from typing import Literal

from pydantic import BaseModel, Field

from api.readiness import Report


class StoreCheck(BaseModel):
    ready: bool
    message: str = Field(description="what is wrong, or empty")


class ModelCheck(StoreCheck):
    name: str


class IndexCheck(StoreCheck):
    loaded: list[str] = Field(description="ids of the datasets whose index is in memory")
    failing: list[str] = Field(description="ids of the datasets whose index could not be loaded")


class Checks(BaseModel):
    store: StoreCheck
    model: ModelCheck
    indexes: IndexCheck


class ReadyReply(BaseModel):
    """``status`` is ``ok`` if every check is ready."""

    status: Literal["ok", "unavailable"]
    checks: Checks


def ready_reply(report: Report) -> ReadyReply:
    loaded, failing = sorted(report.indexes.loaded), sorted(report.indexes.failing)
    checks = Checks(
        store=StoreCheck(ready=not report.store, message=report.store),
        model=ModelCheck(ready=not report.model, message=report.model, name=report.model_name),
        indexes=IndexCheck(
            ready=not failing,
            message="some indexes cannot be loaded: the log says why" if failing else "",
            loaded=loaded,
            failing=failing,
        ),
    )
    return ReadyReply(status="ok" if report.is_ready else "unavailable", checks=checks)

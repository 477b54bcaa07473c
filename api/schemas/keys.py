"""Requests to make keys, and what is told of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from api.keys import CAPABILITIES, Capability, Key, KeyKind
from api.schemas import Wire, wire_time
from retrieval.errors import InvalidRequest


class KeyCreate(Wire):
    """What is left out of a dataset key's ``datasetIds`` and ``capabilities`` is all there are."""

    name: str = ""
    kind: KeyKind
    app_id: str | None = None
    dataset_ids: list[str] | None = Field(None, min_length=1)
    capabilities: list[Capability] | None = Field(None, min_length=1)

    def check(self) -> None:
        """Raises InvalidRequest for the first field that a key of this kind needs or cannot have."""
        if self.kind == "app" and not self.app_id:
            raise InvalidRequest("an app key needs the id of its app as appId", "appId")
        if self.kind != "app" and self.app_id:
            raise InvalidRequest(f"appId is for app keys, and kind is {self.kind}: leave it out", "appId")
        if self.kind != "dataset":
            for name, value in (("datasetIds", self.dataset_ids), ("capabilities", self.capabilities)):
                if value is not None:
                    raise InvalidRequest(
                        f"{name} is for dataset keys, and kind is {self.kind}: leave it out", name
                    )

    def options(self) -> dict[str, Any]:
        """As :meth:`api.keys.Keys.create` takes them."""
        return {
            "kind": self.kind,
            "name": self.name,
            "app_id": self.app_id or "",
            "dataset_ids": tuple(dict.fromkeys(self.dataset_ids or ())),
            "capabilities": tuple(self.capabilities or CAPABILITIES),
        }


def key_item(key: Key, last_uses: Mapping[str, str]) -> dict[str, Any]:
    """A key without its secret. ``last_uses`` are ISO 8601 by key id."""
    used_at = last_uses.get(key.id)
    return {
        "_id": key.id,
        "id": key.id,
        "prefix": key.prefix,
        "kind": key.kind,
        "name": key.name,
        "capabilities": key.allowed,
        "datasetIds": list(key.dataset_ids),
        "appId": key.app_id,
        "createTime": wire_time(datetime.fromisoformat(key.created_at)),
        "lastUsedTime": wire_time(datetime.fromisoformat(used_at)) if used_at else None,
    }

"""Keys: who may do what. Only a hash is kept; the key itself is shown once, when it is made."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from api.key_uses import KeyUses
from retrieval.errors import KeyNotFound
from retrieval.store import Store
from retrieval.types import Document, new_id, now

KIND = "key"

KeyKind = Literal["admin", "dataset", "app"]

Capability = Literal["search", "write", "export"]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)
"""Of a dataset key: to look at what there is and search it; to change it; to take all of it away."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a key opens: everything but chat, datasets (named ones, or all if none is named), or one app's chat.

    ``capabilities`` are of a dataset key; an admin key may do everything that is not chat.
    """

    id: str
    kind: KeyKind
    name: str
    prefix: str
    created_at: str
    app_id: str = ""
    dataset_ids: tuple[str, ...] = ()
    capabilities: tuple[Capability, ...] = CAPABILITIES

    def may(self, capability: Capability) -> bool:
        return self.kind == "admin" or (self.kind == "dataset" and capability in self.capabilities)

    @property
    def allowed(self) -> list[Capability]:
        """What it may do with datasets: an admin's everything, an app's nothing."""
        return [capability for capability in CAPABILITIES if self.may(capability)]

    def may_use(self, dataset_id: str) -> bool:
        return self.kind == "admin" or (
            self.kind == "dataset" and (not self.dataset_ids or dataset_id in self.dataset_ids)
        )


class Keys:
    """The keys in a store. A document's id is the key's SHA-256: 256 random bits need no salt."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.uses = KeyUses(store, lambda: {key.id for key in self.list()})

    def create(
        self,
        kind: KeyKind,
        name: str = "",
        app_id: str = "",
        dataset_ids: tuple[str, ...] = (),
        capabilities: tuple[Capability, ...] = CAPABILITIES,
    ) -> tuple[Key, str]:
        """A new key, and its secret, which cannot be had again. Only a dataset key has capabilities to choose."""
        secret = f"qb-{kind}-{secrets.token_urlsafe(32)}"
        prefix = secret[: len(kind) + 10]
        may = tuple(capability for capability in CAPABILITIES if capability in capabilities)
        chosen = may if kind == "dataset" else ()
        key = Key(new_id(), kind, name, prefix, now().isoformat(), app_id, dataset_ids, chosen)
        self._store.put_document(KIND, _digest(secret), asdict(key))
        return key, secret

    def find(self, secret: str) -> Key | None:
        """Asks the store each time, so that a key which another process revokes is gone at once."""
        digest = _digest(secret)
        document = self._store.find_document(KIND, digest)
        if document is None or not hmac.compare_digest(document.id, digest):
            return None
        return _from_document(document)

    def list(self) -> list[Key]:
        """Oldest first."""
        return [_from_document(document) for document in self._store.list_documents(KIND)]

    def revoke(self, key_id: str) -> None:
        """From now on the key opens nothing. Raises KeyNotFound."""
        for document in self._store.list_documents(KIND):
            if document.body["id"] == key_id:
                self._store.delete_document(KIND, document.id)
                self.uses.forget(key_id)
                return
        raise KeyNotFound(f"there is no key with the id {key_id!r}: see the ids with quotebase keys list")

    def revoke_those_of(self, app_id: str) -> None:
        """No key opens the app any more."""
        for key in self.list():
            if key.app_id == app_id:
                # Another request may have been quicker.
                with suppress(KeyNotFound):
                    self.revoke(key.id)


_LISTS: Mapping[str, tuple[str, ...]] = {"dataset_ids": (), "capabilities": CAPABILITIES}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _from_document(document: Document) -> Key:
    body: Mapping[str, Any] = document.body
    lists = {name: tuple(body.get(name, default)) for name, default in _LISTS.items()}
    return Key(**{**body, **lists})

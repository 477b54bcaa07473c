"""Who calls: the bearer key of a request, checked for what the path needs."""

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from api.keys import Capability, Key
from api.limiting import network_of
from api.wiring import Service
from retrieval.errors import Forbidden, InvalidRequest, Unauthorized

_bearer = HTTPBearer(auto_error=False, description="A key made by `quotebase keys create`")

LOCAL_KEY = Key("local", "admin", "the command line on this machine", "", "")


def service_of_request(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(service_of_request)]


Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _any_key(service: ServiceOf, request: Request, credentials: Credentials) -> Key:
    key = _key_of(service, request, credentials.credentials if credentials else "")
    request.state.key_id = key.id
    return key


def _key_of(service: Service, request: Request, secret: str) -> Key:
    if hmac.compare_digest(secret.encode(), service.local_token.encode()):
        return LOCAL_KEY
    key = find_key(service, request, secret)
    if key is None:
        raise Unauthorized(
            "the key is not known here: make one with  quotebase keys create"
            if secret
            else "no key was sent: add the header  Authorization: Bearer <key>"
        )
    service.keys.uses.note(key.id)
    return key


def find_key(service: Service, request: Request, secret: str) -> Key | None:
    """The key, if there is one; the request counts for it, else for the address that it comes from.

    A known key is not refused for what others do at its address, which behind a proxy may be everybody's.

    Raises:
        RateLimited: it is one request too many.
    """
    key = service.keys.find(secret) if secret else None
    if service.rate_limit:
        host = request.client.host if request.client else ""
        service.rate_limit.count(key.id if key else network_of(host))
    return key


def _dataset_key(key: Annotated[Key, Depends(_any_key)]) -> Key:
    if key.kind == "app":
        raise Forbidden(
            "this is an app key, which opens only the chat of its app: use a dataset key "
            "(quotebase keys create --datasets) here"
        )
    return key


def _app_key(key: Annotated[Key, Depends(_any_key)]) -> Key:
    if key.kind != "app":
        raise Forbidden(
            f"this is {'an admin' if key.kind == 'admin' else 'a dataset'} key, and chat takes an app key only, "
            "because the app says which datasets and prompts to use: make one with  quotebase keys create --app NAME"
        )
    return key


def _admin_key(key: Annotated[Key, Depends(_dataset_key)]) -> Key:
    if key.kind != "admin":
        raise Forbidden("this is a dataset key, and this takes an admin key (quotebase keys create --admin)")
    return key


def _key_that_may(capability: Capability) -> Callable[[Key], Key]:
    def check(key: Annotated[Key, Depends(_dataset_key)]) -> Key:
        if not key.may(capability):
            raise Forbidden(
                f"this key may not {capability}, only {' and '.join(key.capabilities) or 'nothing'}: use one that may "
                f"(quotebase keys create --datasets --may {capability})"
            )
        return key

    return check


def _chat_key(key: Annotated[Key, Depends(_any_key)]) -> Key:
    if key.kind == "dataset":
        raise Forbidden(
            "this is a dataset key, and apps and their chats are for app keys (quotebase keys create --app NAME), or "
            "an admin key to look at them"
        )
    return key


def _may_read_metrics(service: ServiceOf, request: Request, credentials: Credentials) -> None:
    if not service.metrics.is_open:
        _admin_key(_dataset_key(_any_key(service, request, credentials)))


MetricsKey = Annotated[None, Depends(_may_read_metrics)]
"""An admin key, unless the settings leave the metrics open."""
AppKey = Annotated[Key, Depends(_app_key)]
ChatKey = Annotated[Key, Depends(_chat_key)]
"""An app's, for that app and the chats of that key; or an admin's, which may look at those of any app."""
DatasetKey = Annotated[Key, Depends(_dataset_key)]
"""Any that is not an app's: whatever it may do, it may know which datasets it opens."""
SearchKey = Annotated[Key, Depends(_key_that_may("search"))]
WriteKey = Annotated[Key, Depends(_key_that_may("write"))]
ExportKey = Annotated[Key, Depends(_key_that_may("export"))]
AdminKey = Annotated[Key, Depends(_admin_key)]


def require_dataset(key: Key, dataset_id: str) -> None:
    """Raises Forbidden if the key does not open the dataset."""
    if not key.may_use(dataset_id):
        raise Forbidden(f"this key does not open the dataset {dataset_id}: use a key that names it")


def require_app(key: Key, app_id: str) -> None:
    """Raises Forbidden if an app key is of another app, InvalidRequest if an admin key names none."""
    if key.kind == "app" and app_id not in ("", key.app_id):
        raise Forbidden(f"this key is not of the app {app_id}: leave appId out, or use a key of that app")
    if key.kind != "app" and not app_id:
        raise InvalidRequest("appId is missing: an admin key has to say whose chats to look at", "appId")


def require_all_datasets(key: Key) -> None:
    """Raises Forbidden if the key opens named datasets only."""
    if key.dataset_ids:
        raise Forbidden("this key opens named datasets only: use an admin key, or one for all datasets")


def require_capability(key: Key, capability: Capability) -> None:
    """Raises Forbidden if the key may not do that."""
    _key_that_may(capability)(key)


def dataset_key_of(request: Request) -> Key:
    """The key of a request, for what is no route. Raises Unauthorized, RateLimited, Forbidden for an app's."""
    scheme, secret = get_authorization_scheme_param(request.headers.get("Authorization"))
    is_bearer = scheme.lower() == "bearer" and bool(secret)
    sent = HTTPAuthorizationCredentials(scheme=scheme, credentials=secret) if is_bearer else None
    return _dataset_key(_any_key(service_of_request(request), request, sent))

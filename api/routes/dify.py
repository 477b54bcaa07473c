"""Dify's external knowledge API: ``POST /retrieval``. Its user enters the address of this server, and no path."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security.utils import get_authorization_scheme_param

from api.access import dataset_meant
from api.auth import SearchKey, ServiceOf
from api.errors import describe_validation, headers_of, status_of
from api.schemas.dify import (
    BAD_HEADER,
    NO_KNOWLEDGE,
    NOT_AUTHORISED,
    Retrieval,
    failure_item,
    record_item,
)
from retrieval.errors import DatasetNotFound, Forbidden, QuotebaseError, Unauthorized


class DifyRoute(APIRoute):
    """A route whose errors are also in Dify's form.

    Both kinds of refusal have the status 403: when a connection is made, Dify asks without a body, and takes
    any other status for a key that is right (but 404 and 502 for a wrong address).
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_retrieval(request: Request) -> Response:
            try:
                return await handle(request)
            except QuotebaseError as error:
                return _failure(request, error)
            except RequestValidationError as error:
                param, message = describe_validation(error.errors())
                return JSONResponse(failure_item(422, 422, "invalid_request", message, param), 422)

        return handle_retrieval


router = APIRouter(tags=["other systems"], route_class=DifyRoute)


@router.post("/retrieval")
def retrieve(body: Retrieval, service: ServiceOf, key: SearchKey) -> dict[str, Any]:
    """The records of a dataset that are most similar to a query, by meaning: scores and threshold are cosines.

    ``metadata_condition`` chooses collections by ``title``, ``tags``, ``collectionId`` and ``createTime``; any
    other name is an error, since what a record keeps is not indexed and a filter that is not applied would
    look like one that is.
    """
    store = service.library.store
    dataset = dataset_meant(key, store.list_datasets(), body.knowledge_id)
    condition = body.metadata_condition
    chosen = condition.choose(store.list_collections(dataset.id)) if condition else None
    found = service.library.search(body.to_request(dataset.id, chosen))
    return {"records": [record_item(quote) for quote in found.quotes]}


def _failure(request: Request, error: QuotebaseError) -> JSONResponse:
    status, code = status_of(error), status_of(error)
    if isinstance(error, Unauthorized | Forbidden):
        scheme, key = get_authorization_scheme_param(request.headers.get("Authorization"))
        is_bearer = scheme.lower() == "bearer" and bool(key)
        status, code = 403, NOT_AUTHORISED if is_bearer else BAD_HEADER
    elif isinstance(error, DatasetNotFound):
        code = NO_KNOWLEDGE
    item = failure_item(status, code, error.code, error.message, getattr(error, "param", None))
    return JSONResponse(item, status, headers_of(error))

"""``/docs``: Swagger UI, from files of this installation, so that it works without the internet."""

from collections.abc import Callable
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

PAGE = "/docs"
ASSETS = f"{PAGE}/assets"

_PACKAGE = "fastapi_swagger.resources"
"""Where the files are; of the package nothing else is used."""

_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


def install(app: FastAPI) -> None:
    """Serve the page and its files."""
    for name in _FILES:
        app.add_api_route(f"{ASSETS}/{name}", _serving(name), include_in_schema=False)
    app.add_api_route(PAGE, _page, include_in_schema=False)


def _page(request: Request) -> HTMLResponse:
    below = request.scope.get("root_path", "").rstrip("/")
    script, style, icon = (f"{below}{ASSETS}/{name}" for name in _FILES)
    return get_swagger_ui_html(
        openapi_url=f"{below}/openapi.json",
        title="quotebase",
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
        # Else documents on public hosts are sent to a validator elsewhere.
        swagger_ui_parameters={"validatorUrl": None, "persistAuthorization": False},
    )


def _serving(name: str) -> Callable[[], Response]:
    def serve() -> Response:
        content = files(_PACKAGE).joinpath(name).read_bytes()
        return Response(content, media_type=_FILES[name], headers={"Cache-Control": "max-age=86400"})

    return serve

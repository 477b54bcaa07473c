"""The command that serves the Model Context Protocol."""

from api.output import model_progress
from api.settings import read_settings


def serve_mcp() -> None:
    """Serve the datasets as tools of a language model (Model Context Protocol, on stdin and stdout)."""
    from api.mcp_server import serve_stdio

    serve_stdio(read_settings(), model_progress())

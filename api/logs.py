"""What a line in the log looks like."""

import json
import logging
from datetime import UTC, datetime
from typing import Literal

from api.request_ids import REQUEST_ID
from api.schemas import wire_time

LogFormat = Literal["text", "json"]

ACCESS_FIELDS = ("method", "route", "status", "duration_ms", "client", "key")
"""What the line of a request has beside those that every line has."""


class TextFormatter(logging.Formatter):
    """``time level logger: message [request id]``; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line, request_id = super().formatMessage(record), REQUEST_ID.get()
        return f"{line} [{request_id}]" if request_id else line


class JsonFormatter(logging.Formatter):
    """An object a line, in ASCII, which nothing takes for two lines."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": wire_time(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": REQUEST_ID.get(),
        }
        fields |= {name: getattr(record, name) for name in ACCESS_FIELDS if hasattr(record, name)}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def set_up_logs(level: str, log_format: LogFormat) -> None:
    """Log to standard error from now on, at ``level`` and above."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # A line for each call of a backend would say where it is, and nothing else.
    logging.getLogger("httpx2").setLevel(max(logging.WARNING, logging.getLogger().level))

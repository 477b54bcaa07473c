"""Every error quotebase raises on purpose.

::

    QuotebaseError(message)          code "quotebase_error"
    ├── DatasetNotFound              "dataset_not_found"
    ├── CollectionNotFound           "collection_not_found"
    ├── RecordNotFound               "record_not_found"
    ├── AppNotFound                  "app_not_found"
    ├── ChatNotFound                 "chat_not_found"
    ├── ChatItemNotFound             "chat_item_not_found"
    ├── KeyNotFound                  "key_not_found"
    ├── JobNotFound                  "job_not_found"
    ├── UsageNotFound                "usage_not_found"
    ├── NameTaken                    "name_taken"
    ├── ModelMismatch                "model_mismatch"
    ├── DirectoryInUse               "directory_in_use"
    ├── InvalidRequest               "invalid_request"
    │   ├── InvalidChatId            "invalid_chat_id"
    │   ├── UnreadableFile           "unreadable_file"
    │   └── MissingColumn            "missing_column"
    ├── PayloadTooLarge              "payload_too_large"
    ├── StoreUnavailable             "store_unavailable"
    ├── EmbedderUnavailable          "embedder_unavailable"
    ├── CompletionFailed             "completion_failed"
    ├── RerankFailed                 "rerank_failed"
    ├── ServerStopping               "server_stopping"
    ├── Unauthorized                 "unauthorized"
    ├── Forbidden                    "forbidden"
    └── RateLimited                  "rate_limited"

A message is one sentence or two: it names the thing and says how to mend it. ``code`` is stable
and is what programs compare. The wire's status for each class is in ``api/errors.py``.
"""

import re


class QuotebaseError(Exception):
    """Base of all errors a caller may want to handle."""

    code = "quotebase_error"

    def __init_subclass__(cls) -> None:
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def message(self) -> str:
        return str(self)


class DatasetNotFound(QuotebaseError):
    pass


class CollectionNotFound(QuotebaseError):
    pass


class RecordNotFound(QuotebaseError):
    pass


class AppNotFound(QuotebaseError):
    pass


class ChatNotFound(QuotebaseError):
    pass


class ChatItemNotFound(QuotebaseError):
    pass


class KeyNotFound(QuotebaseError):
    pass


class JobNotFound(QuotebaseError):
    pass


class UsageNotFound(QuotebaseError):
    pass


class NameTaken(QuotebaseError):
    pass


class ModelMismatch(QuotebaseError):
    """A dataset and an embedder that do not belong together."""


class DirectoryInUse(QuotebaseError):
    """Another process owns the data directory."""


class InvalidRequest(QuotebaseError):
    """A value that cannot be worked with; ``param`` names it, where there is one."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class InvalidChatId(InvalidRequest):
    pass


class UnreadableFile(InvalidRequest):
    pass


class MissingColumn(InvalidRequest):
    pass


class PayloadTooLarge(QuotebaseError):
    """More bytes than a request may have."""


class StoreUnavailable(QuotebaseError):
    pass


class EmbedderUnavailable(QuotebaseError):
    pass


class CompletionFailed(QuotebaseError):
    """``is_of_request``: it was refused for what was asked, and would answer something else."""

    def __init__(self, message: str, *, is_of_request: bool = False) -> None:
        super().__init__(message)
        self.is_of_request = is_of_request


class RerankFailed(QuotebaseError):
    pass


class ServerStopping(QuotebaseError):
    """What was asked for goes on at the next start."""


class Unauthorized(QuotebaseError):
    pass


class Forbidden(QuotebaseError):
    pass


class RateLimited(QuotebaseError):
    """Too many requests; after ``retry_after_s`` whole seconds there may be more."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

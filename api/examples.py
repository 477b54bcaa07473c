"""Bodies that show what the main operations take, by path."""

from typing import Any

_DATASET, _COLLECTION, _APP = (f"65f0c0ffee0123456789abc{digit}" for digit in "def")

_CHAT: dict[str, Any] = {
    "an answer": {
        "chatId": "abcd",
        "stream": False,
        "detail": True,
        "variables": {"name": "Ada"},
        "messages": [{"role": "user", "content": "导演是谁"}],
    },
    "a stream": {"stream": True, "messages": [{"role": "user", "content": "does freezing harm beans"}]},
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "/api/core/dataset/create": {"a dataset": {"name": "films", "intro": "questions about films"}},
    "/api/core/dataset/collection/create": {
        "an empty collection": {"datasetId": _DATASET, "name": "by hand", "type": "virtual", "tags": ["2024"]}
    },
    "/api/core/dataset/data/pushData": {
        "two records": {
            "collectionId": _COLLECTION,
            "data": [
                {"q": "导演是谁", "a": "新海诚", "indexes": [{"text": "谁执导了这部电影"}]},
                {"q": "Who wrote the screenplay?", "a": "Makoto Shinkai", "chunkIndex": 1},
            ],
        }
    },
    "/api/core/dataset/searchTest": {
        "by meaning": {"datasetId": _DATASET, "text": "导演是谁", "limit": 1500, "similarity": 0.8},
        "by meaning and words": {
            "datasetId": _DATASET,
            "text": "AB-1204/x",
            "searchMode": "mixedRecall",
            "embeddingWeight": 0.5,
            "usingReRank": False,
            "topK": 5,
        },
    },
    "/api/core/app/create": {
        "an app": {
            "name": "films",
            "datasetIds": [_DATASET],
            "searchMode": "mixedRecall",
            "topK": 5,
            "systemPrompt": "You talk to {{name}}.",
            "variables": [{"key": "name", "defaultValue": "a guest", "label": "Your name"}],
            "welcomeText": "What would you like to know?",
            "emptyReply": "I have found nothing about that.",
        }
    },
    "/api/core/app/update": {"no more than three quotes": {"appId": _APP, "topK": 3, "similarity": None}},
    "/api/v1/chat/completions": _CHAT,
    "/v1/chat/completions": _CHAT,
    "/api/chat/completions": _CHAT,
}
"""Each with names of examples and the bodies themselves. The ids are made up."""

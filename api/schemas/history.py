"""Requests about chats, and what is told of them and of their turns."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import AliasChoices, Field

from api.apps import App, Variable
from api.chat.history import QUESTION_SUFFIX, About, PastTurn
from api.schemas import Wire, wire_time
from api.schemas.apps import variable_item
from api.schemas.chat import ChatId
from api.schemas.paging import Paging
from retrieval.completion import Content

SOURCE = "api"
"""FastGPT's name for where chats come from; here there are no others."""


class OfApp(Wire):
    """``appId`` may be left out with an app key, which is of one app."""

    app_id: str = ""


class OfChat(OfApp):
    chat_id: ChatId


class HistoryList(OfApp, Paging):
    source: str = SOURCE


class RecordList(OfChat, Paging):
    """``keyId`` is ours: whose chat an admin key means, where several keys of the app have one of that id."""

    key_id: str = ""


class ChatInit(OfApp):
    """Without ``chatId`` a new one is made up."""

    chat_id: str = ""
    key_id: str = ""


class HistoryUpdate(OfChat):
    """What is left out stays."""

    title: str | None = None
    custom_title: str | None = None
    top: bool | None = None


class ItemDelete(OfChat):
    content_id: str = Field(validation_alias=AliasChoices("contentId", "dataId", "content_id"))


class UserFeedback(OfChat):
    """What is left out, or empty, is taken back. ``dataId`` was called ``chatItemId`` before."""

    data_id: str = Field(validation_alias=AliasChoices("dataId", "chatItemId", "data_id"))
    user_good_feedback: str = ""
    user_bad_feedback: str = ""

    @property
    def given(self) -> dict[str, str]:
        named = {"userGoodFeedback": self.user_good_feedback, "userBadFeedback": self.user_bad_feedback}
        return {name: text for name, text in named.items() if text}


def history_item(app_id: str, about: About) -> dict[str, Any]:
    """A chat in a list; ``keyId`` is ours."""
    return {
        "chatId": about.chat_id,
        "updateTime": about.updated_at,
        "appId": app_id,
        "customTitle": about.custom_title,
        "title": about.title,
        "top": about.top,
        "keyId": about.key_id,
    }


def turn_items(turn: PastTurn) -> tuple[dict[str, Any], dict[str, Any]]:
    """The question and the answer; ``complete`` is ours: false if the answer broke off."""
    time = wire_time(datetime.fromisoformat(turn.time))
    question = {
        "_id": f"{2 * turn.seq:024x}",
        "dataId": turn.id + QUESTION_SUFFIX,
        "obj": "Human",
        "value": _values(turn.question),
        "time": time,
        "customFeedbacks": [],
    }
    answer = {
        "_id": f"{2 * turn.seq + 1:024x}",
        "dataId": turn.id,
        "obj": "AI",
        "value": _values(turn.answer),
        "time": time,
        "customFeedbacks": [],
        "complete": turn.is_complete,
        **turn.feedback,
    }
    return question, answer


def chat_start(app: App, model: str, chat_id: str, about: About | None) -> dict[str, Any]:
    """What a client shows before the first question; nothing of the app's prompts."""
    return {
        "chatId": chat_id,
        "appId": app.id,
        "title": (about.custom_title or about.title) if about else "",
        "variables": {},
        "app": {
            "chatConfig": {
                "welcomeText": app.welcome_text,
                "variables": [_asked_for(variable) for variable in app.variables],
                "questionGuide": False,
            },
            "chatModels": [model],
            "name": app.name,
            "avatar": "",
            "intro": app.intro,
            "type": "simple",
            "pluginInputs": [],
        },
    }


def _asked_for(variable: Variable) -> dict[str, Any]:
    """A field of the form before a chat, which may stay empty."""
    return {
        "id": variable.key,
        **variable_item(variable),
        "label": variable.label or variable.key,
        "type": "input",
        "required": False,
    }


def _values(content: Content) -> list[dict[str, Any]]:
    """FastGPT's ``value``: newer clients look for the name, older ones at ``type``."""
    if isinstance(content, str):
        return [_text(content)]
    return [_value(part) for part in content]


def _value(part: Mapping[str, Any]) -> dict[str, Any]:
    match part:
        case {"type": "image_url", "image_url": {"url": url}}:
            return {"type": "file", "file": {"type": "image", "name": part.get("name", ""), "url": url}}
        case {"type": "file_url", "url": url}:
            return {"type": "file", "file": {"type": "file", "name": part.get("name", ""), "url": url}}
        case _:
            return _text(str(part.get("text", "")))


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": {"content": content}}

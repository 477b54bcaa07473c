"""An app goes with all that is its own."""

from api.apps import Apps
from api.chat.chats import Chats
from api.keys import Keys


def delete_app(apps: Apps, keys: Keys, chats: Chats, app_id: str) -> None:
    """Delete an app, its chats and its keys; cut off anywhere, the same again does the rest. Raises AppNotFound."""
    apps.get(app_id)
    # The keys first, so that no chat comes after the last was deleted; the app last, by which this is found again.
    keys.revoke_those_of(app_id)
    chats.clear_app(app_id)
    apps.delete(app_id)

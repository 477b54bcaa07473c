"""An app goes with all that is its own."""

from api.apps import Apps
from api.chat.chats import Chats
from api.keys import Keys


def delete_app(apps: Apps, keys: Keys, chats: Chats, app_id: str) -> None:
    """Delete an app, its keys and its chats; cut off anywhere, the same again does the rest. Raises AppNotFound."""
    apps.get(app_id)
    keys.revoke_those_of(app_id)
    chats.clear_app(app_id)
    # By it the rest is found again, so that it goes last.
    apps.delete(app_id)
    # What was answered meanwhile; from here on no turn is kept.
    chats.clear_app(app_id)

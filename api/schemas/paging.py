"""Pages of lists: asked for by ``offset`` or by ``pageNum``, with ``pageSize`` of each."""

from typing import Annotated, Any

from pydantic import Field

from api.schemas import Wire

MOST_ROWS = 1000
"""Of one page. Clients stop at a page with fewer rows than they asked for, so that more is refused and not cut."""

FARTHEST = 2**53
"""What every client can count to."""

Place = Annotated[int, Field(ge=0, le=FARTHEST)]


class Paging(Wire):
    """``offset`` counts before ``pageNum``, which begins with 1."""

    offset: Place | None = None
    page_num: Annotated[int, Field(ge=1, le=FARTHEST)] = 1
    page_size: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 10

    @property
    def start(self) -> int:
        """Rows before the page."""
        return (self.page_num - 1) * self.page_size if self.offset is None else self.offset


def page_of(items: list[dict[str, Any]], total: int) -> dict[str, Any]:
    """A page on the wire."""
    return {"list": items, "total": total}

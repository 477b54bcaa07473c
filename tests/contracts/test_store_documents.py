"""Pages of the documents of a group, and deleting a group, on every store."""

import pytest

from retrieval.store import Store
from retrieval.types import Document

ODD_GROUPS = ("", "a/b", "2024-01-01", "铃芽", "'\"{}", "$x", "%_")


def put(store: Store, count: int, group: str = "g", kind: str = "turn") -> list[Document]:
    return [store.put_document(kind, f"{group}-{n}", {"n": n}, group) for n in range(count)]


@pytest.mark.parametrize("newest_first", [False, True])
def test_pages_are_slices_of_the_whole_list(store: Store, newest_first: bool) -> None:
    documents = put(store, 7)
    put(store, 3, group="other")
    put(store, 2, kind="chat", group="g")
    whole = documents[::-1] if newest_first else documents

    for offset in range(9):
        for limit in range(9):
            page = store.page_documents("turn", "g", offset, limit, newest_first)
            assert (list(page.items), page.total) == (whole[offset : offset + limit], 7), (offset, limit)


def test_documents_of_other_groups_may_lie_between(store: Store) -> None:
    for n in range(6):
        store.put_document("turn", f"{n}", {"n": n}, group="ab"[n % 2])

    page = store.page_documents("turn", "b", 1, 5, newest_first=True)

    assert ([document.id for document in page.items], page.total) == (["3", "1"], 3)


def test_a_page_far_beyond_the_end_is_empty(store: Store) -> None:
    put(store, 2)

    page = store.page_documents("turn", "g", 2**53, 1000)

    assert (page.items, page.total) == ((), 2)


def test_a_group_that_is_not_there_has_an_empty_page(store: Store) -> None:
    page = store.page_documents("turn", "g", 0, 10)

    assert (page.items, page.total) == ((), 0)


def test_a_replaced_document_keeps_its_place_in_pages(store: Store) -> None:
    first, second = put(store, 2)
    replaced = store.put_document("turn", first.id, {"n": 9}, "g")

    assert store.page_documents("turn", "g", 0, 10).items == (replaced, second)


def test_a_deleted_group_is_gone_and_nothing_else(store: Store) -> None:
    put(store, 3)
    others = put(store, 2, group="g2")
    chats = put(store, 1, kind="chat")

    assert store.delete_documents("turn", "g") == 3
    assert store.delete_documents("turn", "g") == 0
    assert store.list_documents("turn") == others
    assert store.list_documents("chat") == chats


def test_any_group_is_meant_exactly(store: Store) -> None:
    documents = {group: tuple(put(store, 2, group)) for group in ODD_GROUPS}
    for group, pair in documents.items():
        assert store.page_documents("turn", group, 0, 10).items == pair

    for group in ODD_GROUPS:
        assert store.delete_documents("turn", group) == 2
    assert store.list_documents("turn") == []

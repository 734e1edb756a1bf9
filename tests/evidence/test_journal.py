import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockd.base.errors import JournalBrokenError
from dockd.evidence.journal import GENESIS, Entry, canonical, link, parse, verify
from dockd.evidence.statements import JournalHead

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text("abc"), values),
    max_leaves=5,
)
any_details = st.dictionaries(st.text("abcdé", min_size=1, max_size=3), json_values, max_size=3)
details = st.fixed_dictionaries({"path": st.text("aé", max_size=2)})


def chain_of(details: list[dict[str, Any]]) -> list[Entry]:
    entries: list[Entry] = []
    head = GENESIS
    for number, detail in enumerate(details):
        entry = link(
            head,
            at="2026-11-21T12:00:00.000Z",
            event="clip.found",
            camera="generic:CAM-0001",
            clip=number if number % 2 else None,
            detail=detail,
        )
        entries.append(entry)
        head = entry.head
    return entries


chains = st.lists(details, min_size=2, max_size=5).map(chain_of)


def broken(entries: list[Entry], *anchors: JournalHead) -> str:
    with pytest.raises(JournalBrokenError) as caught:
        verify(entries, anchors)
    return caught.value.detail


@given(st.lists(any_details, max_size=4).map(chain_of))
def test_a_whole_chain_holds_in_memory_and_as_text(entries: list[Entry]) -> None:
    head = entries[-1].head if entries else GENESIS
    assert verify(entries) == head
    lines = [entry.as_json() + "\n" for entry in entries]
    assert verify(map(parse, lines), [entry.head for entry in entries]) == head


@given(chains, st.data())
def test_an_edited_entry_breaks_the_chain(entries: list[Entry], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))
    edits: list[dict[str, Any]] = [
        {"seq": entries[index].seq + 1},
        {"at": "2026-11-21T12:00:00.001Z"},
        {"event": "clip.vanished"},
        {"camera": None},
        {"clip": 99},
        {"detail": {**entries[index].detail, "path": "other"}},
        {"prev": "f" * 64},
        {"hash": "f" * 64},
    ]
    edited = replace(entries[index], **data.draw(st.sampled_from(edits)))
    assert broken([*entries[:index], edited, *entries[index + 1 :]])


@given(chains, st.data())
def test_an_edited_entry_with_its_own_digest_made_anew_breaks_the_chain_after_it(
    entries: list[Entry], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(entries) - 2))
    before = entries[index - 1].head if index else GENESIS
    forged = link(
        before, at=entries[index].at, event="clip.vanished", camera=None, clip=None, detail={}
    )
    assert broken([*entries[:index], forged, *entries[index + 1 :]])


@given(chains, st.data())
def test_a_deleted_entry_breaks_the_chain(entries: list[Entry], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(entries) - 2))
    assert broken([*entries[:index], *entries[index + 1 :]])


@given(chains, st.data())
def test_an_inserted_entry_breaks_the_chain(entries: list[Entry], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))
    again = data.draw(st.sampled_from(entries))
    assert broken([*entries[:index], again, *entries[index:]])


@given(chains, st.data())
def test_entries_in_another_order_break_the_chain(
    entries: list[Entry], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(entries).filter(lambda order: order != entries))
    assert broken(shuffled)


@given(chains, st.data())
def test_a_shortened_chain_is_noticed_by_what_a_manifest_names(
    entries: list[Entry], data: st.DataObject
) -> None:
    kept = data.draw(st.integers(0, len(entries) - 1))
    named = data.draw(st.integers(kept, len(entries) - 1))
    assert verify(entries[:kept])
    detail = broken(entries[:kept], entries[named].head)
    assert detail == f"it ends at entry {kept}, but a manifest names entry {named + 1}"


@given(chains, details, st.data())
def test_a_chain_rewritten_from_some_entry_on_is_noticed_by_what_a_manifest_names(
    entries: list[Entry], other: dict[str, Any], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))
    before = entries[index - 1].head if index else GENESIS
    rewritten = link(before, at="later", event="clip.found", camera=None, clip=1, detail=other)
    chain = [*entries[:index], rewritten]
    assert verify(chain) == rewritten.head
    assert broken(chain, entries[index].head)
    # A manifest of the time after does not make up for it.
    assert broken(chain, entries[index].head, rewritten.head)
    assert broken(chain, rewritten.head, entries[index].head)


def test_a_manifest_may_name_the_empty_journal() -> None:
    assert verify([], [GENESIS]) == GENESIS
    assert verify(chain_of([{}]), [GENESIS]).seq == 1
    assert broken(chain_of([{}]), JournalHead(seq=0, hash="f" * 64))


@given(chains, st.data())
def test_no_edit_of_the_text_passes(entries: list[Entry], data: st.DataObject) -> None:
    text = "".join(entry.as_json() + "\n" for entry in entries)
    position = data.draw(st.integers(0, len(text) - 2))
    character = data.draw(st.characters(codec="utf-8").filter(lambda c: c != text[position]))
    inserts = data.draw(st.booleans())
    edited = text[:position] + character + text[position + (not inserts) :]
    with pytest.raises(JournalBrokenError):
        verify(map(parse, edited.splitlines(keepends=True)), [entries[-1].head])


def members(**changes: Any) -> str:
    (entry,) = chain_of([{"path": "é"}])
    return canonical(json.loads(entry.as_json()) | changes)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "null",
        "[]",
        "{}",
        "<html>",
        "[" * 100_000,
        members(detail=5),
        members(detail=[["path", "x"]]),
        members(detail="x"),
        members(seq=1.0),
        members(seq=True),
        members(seq="1"),
        members(clip=1.5),
        members(more=1),
        members(at=None),
        members().replace('"camera"', '"kamera"'),
        members().replace(":", ": "),
        members().replace("é", "\\u00e9"),
        members().replace("é", "\\ud800"),
        members().replace("{", '{"at":"1999",', 1),
        members() + "\n\n",
        " " + members(),
    ],
)
def test_a_line_that_is_not_an_entry_as_it_was_written_is_refused(line: str) -> None:
    with pytest.raises(JournalBrokenError):
        parse(line)


def test_an_entry_is_hashed_as_the_documentation_says() -> None:
    # sha256sum of the text without "hash", made by hand.
    entry = link(
        GENESIS,
        at="2026-11-21T12:00:00.000Z",
        event="clip.found",
        camera="generic:CAM-0001",
        clip=1,
        detail={"size": 3, "path": "Straße"},
    )
    hashed = (
        '{"at":"2026-11-21T12:00:00.000Z","camera":"generic:CAM-0001","clip":1,'
        '"detail":{"path":"Straße","size":3},"event":"clip.found",'
        f'"prev":"{"0" * 64}","seq":1}}'
    )
    assert entry.as_json() == hashed.replace('"prev"', f'"hash":"{entry.hash}","prev"')
    assert entry.hash == "3bbb62ed84155a36597982a269a3860b2d92d69f8a2af144c6e91f34a6a2df80"


@pytest.mark.parametrize("act", [lambda head: head.seq, lambda head: head.hash])
def test_a_head_names_its_entry(act: Callable[[JournalHead], object]) -> None:
    (entry,) = chain_of([{}])
    assert act(entry.head) == act(JournalHead(seq=entry.seq, hash=entry.hash))

"""A collection of nasty files goes through the preview of an import, or is refused for what is wrong with it."""

import csv
from pathlib import Path

import pytest

from ingest.jobs import ImportSettings
from ingest.mapping import ColumnChoice
from ingest.preview import preview_file
from ingest.rows import TableOptions
from ingest.sources import Reading
from retrieval.errors import QuotebaseError, UnreadableFile
from tests.doubles import HashEmbedder

REFUSED = {
    "csvkit__empty.csv": "is empty",
    "duckdb__fuzzing_22.csv": "is a binary file",
    "duckdb__unterminated.csv": "line 1: a quote is opened and never closed",
    "duckdb__invalid_utf_quoted_nl.csv": "line 12 has the byte 0xff",
    "duckdb__nightmare.csv": "line 38 has the byte 0xff",
}

OTHERWISE = {
    # Here the reader that the manifest was made with takes two lines for one record.
    "papaparse__malformed.tsv": 10,
    "commons__csv-141.csv": 4,
    "csvkit__test.xlsx": 6,
    "tabulator__merged-cells.xlsx": 1,
    "tabulator__multiline-headers.xlsx": 4,
}


@pytest.mark.filterwarnings("ignore:Unknown extension:UserWarning")
def test_each_file_is_read_as_it_is_meant(shared_data: Path) -> None:
    folder = shared_data / "csv_fixtures"
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as source:
        manifest = list(csv.DictReader(source))
    assert len(manifest) == 69
    for item in manifest:
        check(folder / item["file"], item)


def check(path: Path, item: dict[str, str]) -> None:
    """The first column stands in for q: these tables are about other things."""
    given = item["delimiter"] if len(item["delimiter"].encode()) > 3 else None
    reading = Reading(TableOptions(delimiter=given), ColumnChoice(q="1"))
    if path.name in REFUSED:
        with pytest.raises(UnreadableFile, match=REFUSED[path.name]):
            preview_file(path, ImportSettings(path.name, path.name, reading=reading), HashEmbedder())
        return
    try:
        preview = preview_file(path, ImportSettings(path.name, path.name, reading=reading), HashEmbedder())
    except QuotebaseError as error:
        raise AssertionError(f"{path.name}: {error}") from error
    assert preview.read == preview.records + preview.rejected
    expected = OTHERWISE.get(path.name) or int(item["expected_records"])
    assert 1 + preview.read + preview.blank == expected, path.name
    if preview.kind == "csv":
        assert preview.delimiter == {"tab": "\t"}.get(item["delimiter"], item["delimiter"]), path.name
        raw = path.read_bytes()
        assert raw.decode(preview.encoding) == raw.decode(item["encoding"]), path.name

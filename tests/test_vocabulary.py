"""Words that the code no longer uses; the few places that still must know them are listed."""

import re

import pytest

from tests.support.paths import ROOT

RETIRED = [
    "Carrier",
    "Carriage",
    "Carrying",
    "Studio",
    "Spool",
    "Journal",
    "Doors",
    "Behind",
    "Refusal",
    "Unread",
    "HouseLine",
    "house_words",
    "House",
    "Turns",
    "Workplace",
    "LocalCarriage",
    "Timetable",
    "Aside",
    "HandOver",
    "hand_over",
    "make_quick",
    "quicken",
    "give_back",
    "exact_way",
    "quick_way",
    "CudaTape",
    "plain_tape",
    "Choices",
    "EDITION",
    "Defects",
    "freshen",
    "still_of",
    "Dropper",
    "Habits",
    "Told",
    "Yielded",
    "InLine",
    "keepsakes",
    "theatre",
    "spool_bytes",
    "away_s",
    "grace_s",
    "unwatched_s",
    "longest_s",
    "shared_s",
    "next_report",
    "when_forgotten",
    "run_of",
    "place_of",
    "carried_by",
]
ALLOWED = {
    "longlive/runtime/deprecated_options.py",
    "longlive/serving/README.md",  # names the old options once
    "longlive/benchmark/loadtest/README.md",  # fields of recorded results
}
FILES = [
    path
    for pattern in ("*.py", "longlive/**/*.py", "longlive/**/*.js", "longlive/**/*.css", "longlive/**/*.html")
    for path in ROOT.glob(pattern)
] + [ROOT / "README.md", *ROOT.glob("longlive/**/*.md")]


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_word_is_used_nowhere(word: str) -> None:
    pattern = re.compile(rf"\b{word}\b")
    found = [
        str(path.relative_to(ROOT)) for path in FILES if pattern.search(path.read_text(encoding="utf-8"))
    ]
    assert [path for path in found if path not in ALLOWED] == []

"""What a text is found by: what looks the same to a reader is the same, and nothing that can be asked for is lost."""

import itertools
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retrieval.fulltext.analysis import LEAD_COUNTS, MAX_TERM, analyse, analyse_passage, codes, fold


def words(text: str) -> list[str]:
    return analyse(text).words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" \n\t\u3000…!？", []),
        ("The cats are running.", ["the", "cat", "are", "run"]),
        ("it's Anna’s, isn't it", ["it", "anna", "isn", "it"]),
        ("O'Neil d'accord", ["o", "neil", "d", "accord"]),
        ("'s", ["s"]),
        ("ＷＩＦＩ　Ⅳ ﬁne", ["wifi", "iv", "fine"]),
        ("Café cafe\u0301 CAFE", ["cafe", "cafe", "cafe"]),
        ("Straße STRASSE", ["strass", "strass"]),
        ("İstanbul", ["istanbul"]),
        ("ΟΔΟΣ οδος", ["οδοσ", "οδοσ"]),
        ("йод ёлка", ["йод", "ёлка"]),
        ("हिन्दी की किताब", ["हिन्दी", "की", "किताब"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("infor\u00admation \ufeffnews", ["inform", "news"]),
        ("می\u200cخواهم", ["میخواهم"]),
        ("\u200d\u0301", []),
        ("snake_case __init__", ["snake", "case", "init"]),
        ("C++ C# A+ R&D .NET", ["c++", "c", "c#", "c", "a+", "a", "r", "d", "net"]),
        ("me@example.com", ["me", "exampl", "com"]),
        ("AB-1204/x", ["ab1204x", "ab", "1204", "x"]),
        ("v1.2", ["v12", "v1", "v", "1", "2"]),
        ("café-12", ["cafe12", "cafe", "12"]),
        ("é12", ["e12", "e", "12"]),
        ("3.14 1,000 2024-01-31", ["314", "3", "14", "1", "000", "20240131", "2024", "01", "31"]),
        ("½ ² ৴", ["1", "2", "2", "৴"]),
        ("0f3a9c1e5b7d", ["0f3a9c1e5b7d"]),
        ("咖啡机ABC怎么用", ["咖啡", "咖啡机", "abc", "怎么", "用"]),
        ("中a\u0000文", ["中", "a", "文"]),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("plain words", []),
        ("茶", ["茶"]),
        ("咖啡机", ["咖啡", "啡机"]),
        ("咖啡, 茶", ["咖啡", "茶"]),
        ("カタナ", ["カタ", "タナ"]),
        ("ｶﾀﾅ", ["カタ", "タナ"]),
        ("ครับ", ["คร", "รั", "ับ"]),
        ("A型", ["型"]),
        ("葛\U000e0100飾", ["葛饰"]),
    ],
)
def test_grams(text: str, found: list[str]) -> None:
    assert analyse(text).grams == found


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("頭髮護理與發展", "头发护理与发展"),
        ("軟體 ＡＰＩ １２", "软体 api 12"),
        ("Naïve Ünïcode", "naive unicode"),
        ("e\u0301te\u0301", "été"),
        ("２０２４年", "2024年"),
        ("soft\u00adware", "software"),
        ("ǅ", "ǆ"),
    ],
)
def test_what_looks_the_same_has_the_same_terms(left: str, right: str) -> None:
    assert analyse(left) == analyse(right)


@pytest.mark.parametrize(
    "other", ["AB-1204/x", "ab1204x", "AB.1204-X", "ab_1204", "AB:1204/X", "ａｂ－１２０４／ｘ"]
)
def test_a_code_is_found_by_another_punctuation_as_a_whole_or_by_its_parts(other: str) -> None:
    code = set(words("AB-1204/x"))
    assert {"ab", "1204"} <= code & set(words(other))
    assert "_" in other or "ab1204x" in words(other)


def test_terms_that_differ_stay_apart() -> None:
    assert set(words("C++")) - set(words("C")) == {"c++"}
    assert set(words("C#")) - set(words("C++")) == {"c#"}
    assert set(words("12-34")) != set(words("1-234"))
    assert analyse("头发").grams != analyse("发头").grams


def test_stems_meet() -> None:
    assert words("connect connected connecting connections") == ["connect"] * 4
    assert words("printers")[0] == words("printer")[0]


def test_distinct_terms_come_once_in_order() -> None:
    assert analyse("b a 茶 B a1").distinct == ("b", "a", "茶", "a1", "1")


def test_long_terms_are_cut() -> None:
    for text in ("a" * 300, "a" * 300 + "9", "a" * 300 + "++", "a-" * 200 + "9", "é" * 300, "9" * 300):
        assert max(map(len, words(text))) == MAX_TERM
    assert set(words("x" * 300)) == set(words("x" * 301))


# Properties

ANY = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("aZ09é中國カ\u0301\u200d'’.-_/+:@#& \n"),
    ),
    max_size=60,
)


@given(ANY)
def test_terms_have_no_white_space_and_an_end(text: str) -> None:
    terms = analyse(text)
    assert all(0 < len(term) <= MAX_TERM for term in terms.distinct)
    assert not any(character.isspace() for term in terms.distinct for character in term)
    assert set(terms.distinct) == {*terms.words, *terms.grams}


@given(st.characters(exclude_categories=["Cs"]))
@example("ß")
@example("İ")
@example("৴")
@example("〇")
def test_every_letter_and_digit_is_a_term(character: str) -> None:
    has_any = any(folded.isalnum() for folded in fold(character))
    assert bool(words(character)) >= has_any


@given(st.text(st.one_of(st.characters(categories=["L", "N"]), st.sampled_from("09中カж -/.+")), max_size=40))
def test_every_letter_and_digit_of_a_text_is_in_some_term(text: str) -> None:
    """But for those of Latin words, which are stemmed, and accents."""
    wanted = {
        one for one in unicodedata.normalize("NFKD", fold(text)) if one.isalnum() and not "a" <= one <= "z"
    }
    assert wanted <= set(unicodedata.normalize("NFKD", "".join(words(text))))


@given(ANY)
def test_folding_is_for_all_alike(text: str) -> None:
    assert analyse(text.upper()).grams == analyse(text.lower()).grams
    assert analyse(text) == analyse(text)


@given(st.text("aZ09 '.-_/+:@#&,", max_size=40))
def test_plain_text_has_the_same_terms_beside_other_scripts(text: str) -> None:
    """It goes another, faster way."""
    assert words(text + " 茶") == [*words(text), "茶"]


@given(ANY)
def test_the_first_line_counts_more(text: str) -> None:
    lead, whole, passage = analyse(text.split("\n", 1)[0]), analyse(text), analyse_passage(text)
    for kind in ("words", "grams"):
        expected = Counter(getattr(whole, kind))
        for term in getattr(lead, kind):
            expected[term] += LEAD_COUNTS - 1
        assert Counter(getattr(passage, kind)) == expected


def test_several_threads_stem_alike() -> None:
    """Each has words that no other has, so that none is remembered."""
    middles = ["".join(letters) for letters in itertools.product("bcdfg", "o", "kmp", "lrst", "o", "nr")]

    def of(first: str, ending: str) -> list[str]:
        return [f"{first}a{middle}ak{ending}" for middle in middles]

    firsts = "bcdfghjklmnprstvw"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda first: words(" ".join(of(first, "ings"))), firsts))
    assert found == [of(first, "") for first in firsts]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("what is AB-1204/x?", ["ab1204x"]),
        ("ＡＢ１２０４ 多少钱", ["ab1204"]),
        ("1.2.3 and 12:30", ["123", "1230"]),
        ("p53, B12, COVID-19, 1204, in 2026", []),
        ("没有代码", []),
        ("", []),
    ],
)
def test_codes(text: str, found: list[str]) -> None:
    assert codes(text) == found

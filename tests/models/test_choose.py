"""What a reference to the hub or a card stands for: which files, under which name, following what."""

import msgspec
import pytest

from localllm.errors import DownloadFailed, IntegrityError, LocalLLMError, ModelNotFound, NoRoom
from localllm.models.card import ModelCard, parse_card
from localllm.models.choose import Hub, choose, choose_again, wanted_files
from localllm.models.hub.repository import HubFile, HubRepository
from localllm.models.reference import HubReference, parse
from localllm.models.resolve import CardWanted, Pullable
from localllm.models.wanted import Wanted, WantedFile
from tests.models.cards import card_text, front_matter
from tests.models.hub_room.holdings import REPOSITORY, repository_of

PLENTY_BYTES = 1 << 40
COMMIT = "0" * 40
SPLIT = [f"big/tiny-BF16-0000{number}-of-00002.gguf" for number in (1, 2)]
QUANTS = ["tiny-Q4_K_M.gguf", "tiny-Q8_0.gguf", *SPLIT]


def hub_of(repository: HubRepository, index: bytes | None = None) -> Hub:
    """A hub that has this, and knows one index."""

    def read_file(file: WantedFile) -> bytes:
        assert index is not None, f"{file.filename} was read"
        return index

    return Hub(read_repository=lambda _name, _revision: repository, read_file=read_file)


def chosen(text: str, *paths: str, room_bytes: int = PLENTY_BYTES, index: bytes | None = None) -> Wanted:
    reference = parse(text)
    assert isinstance(reference, HubReference)
    return choose(reference, hub_of(repository_of(*paths), index), room_bytes)


def paths_of(wanted: Wanted) -> list[str]:
    return [getattr(file.sources[0], "filename", "") for file in wanted.files]


@pytest.mark.parametrize(
    ("rest", "tag", "paths"),
    [
        (":Q4_K_M", "Q4_K_M", QUANTS[:1]),
        (":q8_0", "Q8_0", QUANTS[1:2]),
        (":bf16", "BF16", SPLIT),
        ("/tiny-Q8_0.gguf", "Q8_0", QUANTS[1:2]),
        (f"/{SPLIT[0]}", "BF16", SPLIT),
        (f"/{SPLIT[1]}", "BF16", SPLIT),
        ("", "Q8_0", QUANTS[1:2]),
    ],
)
def test_what_is_named_is_taken(rest: str, tag: str, paths: list[str]) -> None:
    wanted = chosen(REPOSITORY + rest, *QUANTS, "README.md")
    assert (wanted.name, wanted.quant, wanted.format, wanted.license) == (f"{REPOSITORY}:{tag}", tag, "gguf", "mit")
    assert paths_of(wanted) == paths
    assert bool(wanted.reason) == (rest == "")
    assert wanted.signature is None


@pytest.mark.parametrize(
    ("rest", "follows"),
    [("", "main"), ("@next", "next"), (f"@{COMMIT}", ""), ("@0000000", ""), ("@000000", "000000"), ("@v1.0", "v1.0")],
)
def test_branches_are_followed_and_commits_stand_still(rest: str, follows: str) -> None:
    wanted = chosen(f"{REPOSITORY}{rest}:Q8_0", *QUANTS)
    assert wanted.follows == follows
    assert [getattr(file.sources[0], "revision", "") for file in wanted.files] == [COMMIT]


@pytest.mark.parametrize(
    ("rest", "paths", "error", "words"),
    [
        (":Q2_K", QUANTS, ModelNotFound, "has no Q2_K; there is BF16, Q8_0, Q4_K_M"),
        (":nonsense", QUANTS, ModelNotFound, "has no nonsense; there is BF16"),
        (":Q4_0", ["README.md"], ModelNotFound, "it has no GGUF files"),
        ("", ["README.md"], ModelNotFound, "neither GGUF files nor safetensors"),
        ("", ["pytorch_model.bin"], ModelNotFound, "neither GGUF files nor safetensors"),
        ("", ["model.safetensors"], ModelNotFound, "no config.json"),
        ("", ["a.gguf", "b.gguf"], ModelNotFound, "which one of .* There is a.gguf, b.gguf; name it: .*/a.gguf"),
        ("", ["a.pte", "x/b.pte"], ModelNotFound, "which one of .* There is a.pte, x/b.pte"),
        (":pte", ["a.pte", "x/b.pte", *QUANTS], ModelNotFound, "which one of .* There is a.pte, x/b.pte"),
        (":pte", QUANTS, ModelNotFound, "has no .pte file; there is BF16, Q8_0"),
        (":pte", ["../a.pte", ".a.pte"], ModelNotFound, "has no .pte file; it has no GGUF files"),
        ("/tiny-Q8_1.gguf", QUANTS, ModelNotFound, "has no file tiny-Q8_1.gguf; there is tiny-Q8_0.gguf"),
        ("/zzz.gguf", QUANTS, ModelNotFound, "has no file zzz.gguf$"),
        ("/model.bin", ["model.bin"], DownloadFailed, "can run code"),
        ("/x.py", ["x.py"], DownloadFailed, "code from a repository is never run"),
        ("/x.tar.gz", ["x.tar.gz"], DownloadFailed, "never unpacked"),
        ("/config.json", ["config.json"], DownloadFailed, "no model by itself"),
        (f"/{SPLIT[0]}", SPLIT[:1], ModelNotFound, "lacks parts of"),
        ("", SPLIT[:1], ModelNotFound, "neither GGUF"),
    ],
)
def test_a_miss_says_what_there_is(rest: str, paths: list[str], error: type[LocalLLMError], words: str) -> None:
    with pytest.raises(error, match=words):
        chosen(REPOSITORY + rest, *paths)


def test_nothing_that_fits_is_no_room() -> None:
    with pytest.raises(NoRoom, match="the smallest quantization"):
        chosen(REPOSITORY, *QUANTS, room_bytes=1000)


def test_a_lone_model_needs_no_quant_in_its_name() -> None:
    wanted = chosen(REPOSITORY, "folder/tiny.gguf", "README.md", "model.safetensors", "config.json")
    assert (wanted.name, wanted.quant, paths_of(wanted)) == (f"{REPOSITORY}:tiny", "", ["folder/tiny.gguf"])


def test_parts_of_a_second_split_of_one_quant_stay_together() -> None:
    other = [f"deeper/down/other-BF16-0000{number}-of-00002.gguf" for number in (1, 2)]
    assert paths_of(chosen(f"{REPOSITORY}/{other[1]}", *SPLIT, *other)) == other


@pytest.mark.parametrize(
    ("paths", "index", "weights"),
    [
        (["model.safetensors", "consolidated.safetensors", "model.safetensors.index.json"], None, [0]),
        (["a.safetensors", "b.safetensors", "x/c.safetensors"], None, [0, 1]),
        (
            ["b.safetensors", "a.safetensors", "c.safetensors", "model.safetensors.index.json"],
            b'{"weight_map": {"1": "b.safetensors", "2": "a.safetensors", "3": "a.safetensors"}}',
            [1, 0, 3],
        ),
    ],
)
def test_the_weights_of_a_checkpoint(paths: list[str], index: bytes | None, weights: list[int]) -> None:
    others = ["README.md", "config.json"]
    never = ["model.fp16.safetensors.index.json", "pytorch_model.bin", "model.sig", "x.py"]
    wanted = chosen(REPOSITORY, *paths, *others, *never, index=index)
    assert wanted.format == "safetensors"
    assert paths_of(wanted) == [*(paths[number] for number in weights), "README.md", "config.json"]
    assert wanted.signature is not None
    assert wanted.signature.filename == "model.sig"


def test_two_files_of_one_name_cannot_lie_in_one_folder() -> None:
    split = ["a/tiny-Q8_0-00001-of-00002.gguf", "a/tiny-Q8_0-00002-of-00002.gguf"]
    repository = repository_of("x-Q8_0.gguf")
    (file,) = repository.files
    twice = tuple(msgspec.structs.replace(file, path=path) for path in ("a/same.json", "b/same.json"))
    with pytest.raises(IntegrityError, match="have one name"):
        wanted_files(twice, repository)
    assert len(wanted_files(tuple(repository_of(*split).files), repository)) == 2


@pytest.mark.parametrize(
    ("format_", "path", "quant", "now", "expected"),
    [
        ("gguf", "tiny-Q8_0.gguf", "Q8_0", QUANTS, ["tiny-Q8_0.gguf"]),
        ("gguf", "old-Q8_0.gguf", "Q8_0", QUANTS, ["tiny-Q8_0.gguf"]),  # renamed
        ("gguf", "old-BF16-00001-of-00003.gguf", "BF16", QUANTS, SPLIT),
        ("pte", "a.pte", "", ["a.pte", "tokenizer.json", "config.json"], ["a.pte", "config.json", "tokenizer.json"]),
        (
            "safetensors",
            "old.safetensors",
            "",
            ["model.safetensors", "config.json"],
            ["model.safetensors", "config.json"],
        ),
    ],
)
def test_the_same_model_at_another_commit(
    format_: str, path: str, quant: str, now: list[str], expected: list[str]
) -> None:
    hub = hub_of(repository_of(*now))
    files = choose_again(format_, path, quant, repository_of(*now), hub.read_file)  # type: ignore[arg-type]
    assert [file.path for file in files] == expected


@pytest.mark.parametrize(("format_", "path", "quant"), [("gguf", "old.gguf", ""), ("pte", "old-Q8_0.pte", "Q8_0")])
def test_a_model_that_is_gone(format_: str, path: str, quant: str) -> None:
    repository = repository_of(*QUANTS)
    with pytest.raises(ModelNotFound, match=f"has no file {path}"):
        choose_again(format_, path, quant, repository, hub_of(repository).read_file)  # type: ignore[arg-type]


class TestCards:
    """Models that localllm knows."""

    @pytest.fixture
    def pinned(self) -> ModelCard:
        return parse_card(card_text(front_matter(b"GGUF")), "tiny.md")

    @pytest.fixture
    def offered(self) -> ModelCard:
        front = front_matter(b"GGUF")
        profile = front["localllm"]
        assert isinstance(profile, dict)
        del profile["artifacts"]
        profile["hub"] = {"repository": REPOSITORY, "pattern": "tiny-{quant}.gguf", "quants": ["Q4_K_M", "q8_0", "F16"]}
        profile["defaults"] = {"system": "Be brief."}
        return parse_card(card_text(front), "tiny.md")

    def of(self, pullable: Pullable, *paths: str, room_bytes: int = PLENTY_BYTES) -> Wanted:
        return choose(pullable, hub_of(repository_of(*paths)), room_bytes)

    @pytest.mark.parametrize(("quant", "name"), [(None, "tiny:1m"), ("Q4_0", "tiny:1m-q4_0")])
    def test_a_pinned_file_asks_nobody(self, pinned: ModelCard, quant: str | None, name: str) -> None:
        def refuse(*_: object) -> HubRepository:
            raise AssertionError("the hub was asked")

        hub = Hub(read_repository=refuse, read_file=hub_of(repository_of()).read_file)
        wanted = choose(CardWanted(card=pinned, quant=quant), hub, 0)
        assert (wanted.name, wanted.quant, wanted.follows, wanted.is_pinned) == (name, "Q4_0", "", True)
        assert len(wanted.files[0].sources) == 2

    def test_the_quant_that_fits(self, offered: ModelCard) -> None:
        wanted = self.of(CardWanted(card=offered, quant=None), "tiny-Q4_K_M.gguf", "tiny-q8_0.gguf")
        assert (wanted.name, wanted.quant, wanted.follows) == ("tiny:1m", "Q8_0", "main")
        assert wanted.reason
        assert (wanted.license, wanted.defaults) == (offered.license, offered.localllm.defaults)

    def test_the_quant_that_is_named_from_the_file_of_the_card(self, offered: ModelCard) -> None:
        wanted = self.of(CardWanted(card=offered, quant="Q8_0"), "a-Q8_0.gguf", "tiny-q8_0.gguf")
        assert (wanted.name, wanted.reason) == ("tiny:1m-q8_0", "")
        assert paths_of(wanted) == ["tiny-q8_0.gguf"]

    @pytest.mark.parametrize(
        ("quant", "words"),
        [("F16", "has no tiny-F16.gguf; there is Q4_K_M"), ("Q2_K", "is not known as Q2_K; its card has")],
    )
    def test_a_file_that_is_not_there(self, offered: ModelCard, quant: str, words: str) -> None:
        with pytest.raises(ModelNotFound, match=words):
            self.of(CardWanted(card=offered, quant=quant), "tiny-Q4_K_M.gguf")

    def test_no_room(self, offered: ModelCard) -> None:
        with pytest.raises(NoRoom):
            self.of(CardWanted(card=offered, quant=None), "tiny-Q4_K_M.gguf", room_bytes=0)


def test_an_empty_file_is_no_model() -> None:
    repository = repository_of("x-Q8_0.gguf")
    empty = HubFile(path="tiny.gguf", size_bytes=0, git_sha1="a" * 40)
    hub = hub_of(msgspec.structs.replace(repository, files=(empty,)))
    reference = parse(REPOSITORY)
    assert isinstance(reference, HubReference)
    with pytest.raises(ModelNotFound):
        choose(reference, hub, PLENTY_BYTES)

"""What a reference means, given what is stored, which cards there are, and what lies in the current folder."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from localllm.errors import IntegrityError, LoadFailed, LocalLLMError, ModelNotFound
from localllm.models import import_file
from localllm.models.candidate import candidate_of
from localllm.models.catalog import Catalog
from localllm.models.local import LocalModel
from localllm.models.manifest import Manifest
from localllm.models.names import ModelName, is_model_name
from localllm.models.reference import HubReference
from localllm.models.resolve import CardWanted, find, hub_tag, name_part, resolve, stored_name, tag_of
from localllm.models.storage.store import Store
from tests.models.cards import FILENAME, REPOSITORY, REVISION, make_card, stored_files, stored_model
from tests.models.test_reference import HOSTILE

CATALOG = Catalog([make_card(b"GGUF", name=name) for name in ("tiny:1m", "small:2m", "small:4m")])


def local(reference: str, store: Store) -> LocalModel:
    found = resolve(reference, store, CATALOG)
    assert isinstance(found, LocalModel)
    return found


def wanted(reference: str, store: Store) -> CardWanted:
    found = resolve(reference, store, CATALOG)
    assert isinstance(found, CardWanted)
    return found


def missed(reference: str, store: Store) -> str:
    """The words for what is not there, which are the same size for people and for clients."""
    with pytest.raises(ModelNotFound) as caught:
        resolve(reference, store, CATALOG)
    assert caught.value.param == "model"
    assert caught.value.message.isprintable()
    return caught.value.message


def set_alias(store: Store, alias: str, reference: str) -> None:
    with store.changing("write"):
        store.aliases.put(alias, reference)


def blob_of(manifest: Manifest, store: Store) -> Path:
    return store.path(manifest.files[0])


# Cards and names


@pytest.mark.parametrize(
    ("reference", "name"),
    [("tiny:1m", "tiny:1m"), ("tiny", "tiny:1m"), ("TINY:1M", "tiny:1m"), ("small:4m", "small:4m")],
)
def test_a_card_that_is_not_here(store: Store, reference: str, name: str) -> None:
    assert wanted(reference, store).name == name
    assert wanted(reference, store).quant is None


@pytest.mark.parametrize("reference", ["tiny:1m-q8_0", "tiny-q8_0", "tiny:Q8_0"])
def test_a_card_in_a_quant_of_its_own(store: Store, reference: str) -> None:
    assert (wanted(reference, store).name, wanted(reference, store).quant) == ("tiny:1m-q8_0", "Q8_0")


@pytest.mark.parametrize("reference", ["tiny:1m", "tiny", "TINY:1M", "tiny:1m-q4_0", "tiny:Q4_0"])
def test_a_stored_model(store: Store, reference: str) -> None:
    manifest = stored_model(store)
    found = local(reference, store)
    assert (found.id, found.engine, found.created) == ("tiny:1m", "llama_cpp", 1)
    assert found.path == str(blob_of(manifest, store))
    assert found.size_bytes == manifest.size_bytes
    assert stored_name(reference, store, CATALOG) == "tiny:1m"


def test_a_quant_is_not_taken_for_another(store: Store) -> None:
    stored_model(store)
    assert wanted("tiny:1m-q8_0", store).quant == "Q8_0"
    stored_model(store, "tiny:1m-q8_0", b"GGUF in eight bits", quant="Q8_0")
    assert local("tiny:q8_0", store).id == "tiny:1m-q8_0"
    assert local("tiny", store).id == "tiny:1m"


@pytest.mark.parametrize("reference", ["Mine:V1", "mine:v1", "MINE", "mine"])
def test_a_stored_model_needs_no_card_and_keeps_its_spelling(store: Store, reference: str) -> None:
    stored_model(store, "Mine:V1")
    assert local(reference, store).id == "Mine:V1"
    assert stored_name(reference, store, CATALOG) == "Mine:V1"


def test_of_several_in_a_family_one_must_be_named(store: Store) -> None:
    stored_model(store, "mine:v1")
    stored_model(store, "mine:v2", b"GGUF two")
    assert missed("mine", store) == "'mine' could be any of mine:v1, mine:v2; say which"
    assert missed("small", store) == "'small' could be any of small:2m, small:4m; say which"
    with pytest.raises(ModelNotFound, match="mine:v1, mine:v2"):
        stored_name("mine", store, CATALOG)


def test_what_was_stored_before_a_card_took_its_name_is_still_reached(store: Store) -> None:
    stored_model(store, "tiny:q8_0", b"GGUF of mine", quant="Q8_0")
    assert local("tiny:q8_0", store).id == "tiny:q8_0"
    assert stored_name("tiny:q8_0", store, CATALOG) == "tiny:q8_0"
    assert wanted("tiny:1m", store).name == "tiny:1m"


def test_a_card_whose_file_is_missing_is_pulled_again(store: Store) -> None:
    blob_of(stored_model(store), store).unlink()
    assert wanted("tiny", store).name == "tiny:1m"
    assert stored_name("tiny", store, CATALOG) == "tiny:1m"


def test_a_model_without_a_card_whose_file_is_missing_is_mended(store: Store) -> None:
    blob_of(stored_model(store, "mine:v1"), store).unlink()
    with pytest.raises(LoadFailed, match="localllm repair mine:v1"):
        resolve("mine", store, CATALOG)
    assert stored_name("mine", store, CATALOG) == "mine:v1"


def test_a_lost_model_of_the_same_name_as_a_card_is_not_exchanged_for_it(store: Store) -> None:
    blob_of(stored_model(store, "tiny:q8_0"), store).unlink()
    with pytest.raises(LoadFailed, match="localllm repair tiny:q8_0"):
        resolve("tiny:q8_0", store, CATALOG)


def test_a_damaged_manifest_is_said_and_can_still_be_named(store: Store) -> None:
    stored_model(store, "mine:v1")
    head = store.root / "manifests" / ModelName("mine:v1").folder / "head.json"
    head.write_bytes(b"{")
    with pytest.raises(IntegrityError, match="localllm rm mine:v1"):
        resolve("mine:v1", store, CATALOG)
    assert stored_name("mine:v1", store, CATALOG) == "mine:v1"


@pytest.mark.parametrize(
    ("reference", "word"),
    [
        ("tiny:2m", "did you mean tiny:1m"),
        ("smal", "small:2m?"),
        ("tiny 1m", "did you mean tiny:1m"),
        ("Mine:v", "did you mean Mine:V1"),
        ("code", "did you mean coder"),
        ("qqqqqqqqq", "localllm list --all"),
        ("", "localllm list --all"),
        ("-h", "no model is called '-h'"),
    ],
)
def test_an_unknown_name_is_told_the_nearest_ones(store: Store, reference: str, word: str) -> None:
    stored_model(store, "Mine:V1")
    set_alias(store, "coder", "tiny:1m")
    message = missed(reference, store)
    assert repr(reference) in message
    assert word in message


def test_removing_what_is_not_here_is_told_the_nearest_that_are(store: Store) -> None:
    stored_model(store)
    for reference, word in [
        ("tinny:1m", "did you mean tiny:1m"),
        ("small:2m", "see: localllm list"),
        ("./x.gguf", "see"),
    ]:
        with pytest.raises(ModelNotFound, match=word) as caught:
            stored_name(reference, store, CATALOG)
        assert repr(reference) in caught.value.message


def test_the_echo_engine(store: Store) -> None:
    assert (local("echo", store).engine, local("echo", store).path) == ("echo", "")
    assert (local("echo:50", store).id, local("echo:50", store).path) == ("echo:50", "50")
    with pytest.raises(ModelNotFound):
        stored_name("echo", store, CATALOG)


def test_a_file_in_the_current_folder_does_not_shadow_a_card(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").write_bytes(b"GGUF")
    assert wanted("tiny", store).name == "tiny:1m"
    assert local("./tiny", store).id == "tiny"


# Aliases


@pytest.mark.parametrize("target", ["tiny:1m", "tiny", f"{REPOSITORY}:Q8_0", "PATH", "echo"])
def test_an_alias_means_what_it_stands_for(store: Store, tmp_path: Path, target: str) -> None:
    stored_model(store)
    stored_model(store, f"{REPOSITORY}:Q8_0", b"GGUF eight", quant="Q8_0")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    target = target.replace("PATH", str(tmp_path / "x.gguf"))
    set_alias(store, "coder", target)
    assert resolve("Coder", store, CATALOG) == resolve(target, store, CATALOG)


def test_an_alias_stands_for_no_other_alias(store: Store) -> None:
    set_alias(store, "first", "second")
    set_alias(store, "second", "tiny:1m")
    assert wanted("second", store).name == "tiny:1m"
    assert "the alias 'first' leads nowhere: no model is called 'second'" in missed("first", store)


def test_an_alias_that_leads_nowhere_says_so(store: Store, tmp_path: Path) -> None:
    for target, word in [("gone:1m", "no model is called 'gone:1m'"), ("./gone.gguf", "no file"), ("a//b", "no model")]:
        set_alias(store, "coder", target)
        assert "the alias 'coder' leads nowhere: " in missed("coder", store)
        assert word in missed("coder", store)


def test_an_alias_reaches_the_stored_model_for_removal(store: Store) -> None:
    stored_model(store, f"{REPOSITORY}:Q4_0")
    set_alias(store, "coder", REPOSITORY)
    assert stored_name("coder", store, CATALOG) == f"{REPOSITORY}:Q4_0"


# The hub


@pytest.fixture
def pulled(store: Store) -> Manifest:
    """A model of the hub, from its main branch."""
    return stored_model(store, f"{REPOSITORY}:Q4_0", follows="main")


@pytest.mark.parametrize(
    "reference",
    [
        REPOSITORY,
        REPOSITORY.lower(),
        f"hf.co/{REPOSITORY}",
        f"{REPOSITORY}:q4_0",
        f"{REPOSITORY.upper()}:Q4_0",
        f"{REPOSITORY}@main",
        f"{REPOSITORY}@main:Q4_0",
        f"{REPOSITORY}@{REVISION}",
        f"{REPOSITORY}@{REVISION[:7]}",
        f"{REPOSITORY}/{FILENAME}",
        f"{REPOSITORY}:{FILENAME}",
        f"{REPOSITORY}@main/{FILENAME}",
        f"https://huggingface.co/{REPOSITORY}/resolve/main/{FILENAME}?download=true",
        f"https://huggingface.co/{REPOSITORY}/blob/{REVISION}/{FILENAME}",
        f"https://huggingface.co/{REPOSITORY}/tree/main",
    ],
)
def test_a_repository_that_is_here(store: Store, pulled: Manifest, reference: str) -> None:
    assert find(reference, store, CATALOG) == pulled
    assert stored_name(reference, store, CATALOG) == pulled.name


@pytest.mark.parametrize(
    "reference",
    [
        f"{REPOSITORY}:Q8_0",
        f"{REPOSITORY}@other",
        f"{REPOSITORY}@{REVISION[:6]}",  # shorter than git shows a commit: rather a branch
        f"{REPOSITORY}@{REVISION[:-1]}2",
        f"{REPOSITORY}@v1:Q4_0",
        f"{REPOSITORY}/other.Q4_0.gguf",
        f"{REPOSITORY}/deep/{FILENAME}",
        "some-org/Other-GGUF",
    ],
)
def test_a_part_of_a_repository_that_is_not_here(store: Store, pulled: Manifest, reference: str) -> None:
    assert isinstance(find(reference, store, CATALOG), HubReference)
    with pytest.raises(ModelNotFound):
        stored_name(reference, store, CATALOG)


@pytest.mark.parametrize("follows", ["v1.0", "refs/pr/1", "feature/new"])
def test_a_branch_or_tag_is_known_by_its_name(store: Store, follows: str) -> None:
    pulled = stored_model(store, f"{REPOSITORY}:Q4_0", follows=follows)
    assert find(f"{REPOSITORY}@{follows.replace('/', '%2F')}:Q4_0", store, CATALOG) == pulled
    assert find(REPOSITORY, store, CATALOG) == pulled
    assert isinstance(find(f"{REPOSITORY}@main", store, CATALOG), HubReference)


def test_of_several_quants_one_must_be_named(store: Store, pulled: Manifest) -> None:
    other = stored_model(store, f"{REPOSITORY}:Q8_0", b"GGUF eight", quant="Q8_0", follows="v2")
    assert missed(REPOSITORY, store) == (
        f"'{REPOSITORY}' could be any of {REPOSITORY}:Q4_0, {REPOSITORY}:Q8_0; say which"
    )
    assert find(f"{REPOSITORY}:Q8_0", store, CATALOG) == other
    assert find(f"{REPOSITORY}@v2", store, CATALOG) == other
    assert find(f"{REPOSITORY}@main", store, CATALOG) == pulled


def test_a_repository_whose_file_is_missing_is_pulled_again(store: Store, pulled: Manifest) -> None:
    blob_of(pulled, store).unlink()
    assert find(REPOSITORY, store, CATALOG) == HubReference(repository=REPOSITORY)
    assert stored_name(REPOSITORY, store, CATALOG) == pulled.name


def test_a_repository_with_a_damaged_manifest_can_be_named(store: Store, pulled: Manifest) -> None:
    (store.root / "manifests" / ModelName(pulled.name).folder / "head.json").write_bytes(b"{")
    assert stored_name(f"{REPOSITORY}:Q4_0", store, CATALOG).lower() == pulled.name.lower()


def test_the_parts_of_a_split_model_are_one(store: Store) -> None:
    names = [f"big-Q4_0-0000{number}-of-00002.gguf" for number in (1, 2)]
    parts = {name: name.encode() for name in names}
    manifest = stored_files(store, f"{REPOSITORY}:Q4_0", parts)
    origins = {file.filename for file in manifest.files}
    assert origins == set(names)
    found = local(f"{REPOSITORY}:{names[1]}", store)
    assert found.parts == tuple(str(store.path(file)) for file in manifest.files)
    assert found.path == found.parts[0]


def test_a_copy_of_another_program_is_found_under_the_name_of_its_repository(
    store: Store, tiny_model: Path, tmp_path: Path
) -> None:
    candidate = candidate_of(tiny_model, ModelName(f"{REPOSITORY}:latest"))
    linked = import_file.link(candidate, store, lambda *_: None)
    assert find(REPOSITORY, store, CATALOG) == linked
    assert find(f"{REPOSITORY}:latest", store, CATALOG) == linked
    assert isinstance(find(f"{REPOSITORY}@main", store, CATALOG), HubReference)


# Files used in place


@pytest.fixture
def used(tmp_path: Path, tiny_model: Path) -> Path:
    path = tmp_path / "mine.gguf"
    path.write_bytes(tiny_model.read_bytes())
    return path


@pytest.mark.parametrize("name", ["mine:v1", f"{REPOSITORY}:Q4_0"])
def test_a_file_that_is_used_in_place_and_vanished_is_not_replaced(store: Store, used: Path, name: str) -> None:
    import_file.link(candidate_of(used, ModelName(name)), store, lambda *_: None)
    assert local(name, store).path == str(used)
    used.unlink()
    for reference in (name, name.partition(":")[0]):
        with pytest.raises(LoadFailed, match=rf"used where it lies.*bring it back, .*localllm rm {name}"):
            resolve(reference, store, CATALOG)
        assert stored_name(reference, store, CATALOG) == name


# Tags


@pytest.mark.parametrize(
    ("path", "tag"),
    [
        ("tiny.Q4_0.gguf", "Q4_0"),
        ("Q4_K_M/x-00001-of-00002.gguf", "Q4_K_M"),
        ("model.gguf", "model"),
        ("deep/model.v1.gguf", "model.v1"),
        ("model-00002-of-00003.gguf", "model"),
        ("model.pte", "model"),
        ("my model (1).gguf", "my-model-1"),
        ("_x_.gguf", "x"),
        (".gguf", "model"),
        ("...gguf", "model"),
        ("größe.gguf", "gr-e"),
        ("模型.gguf", "model"),
        ("con.gguf", "model-con"),
        ("a+b.gguf", "a-b"),
        ("x" * 190 + ".gguf", "x" * 80),
        ("-".join("x" * 40) + "-.gguf", "-".join("x" * 40)),
        ("a\nb\0c.gguf", "a-b-c"),
        ("nogguf", "model"),
    ],
)
def test_a_tag_is_always_a_part_of_a_name(path: str, tag: str) -> None:
    assert tag_of(path) == tag
    assert is_model_name(f"{'o' * 47}/{'r' * 48}:{tag}")
    assert hub_tag(HubReference(repository=REPOSITORY, path=path)) == tag


@pytest.mark.parametrize(
    ("quant", "tag"),
    [(None, None), ("q4_k_m", "Q4_K_M"), ("fp16", "F16"), ("latest", "latest"), ("con", "model-con"), ("x.", "x")],
)
def test_the_tag_that_a_quant_gives(quant: str | None, tag: str | None) -> None:
    assert hub_tag(HubReference(repository=REPOSITORY, quant=quant)) == tag


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:8]))
def test_a_part_of_a_name_can_be_made_of_anything(text: str) -> None:
    assert is_model_name(f"{name_part(text)}:{name_part(text)}")


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: ascii(text[:8]))
@pytest.mark.parametrize("form", ["{}", "./{}", "~{}", "{}.gguf", "{}/{}", "tiny:{}", "a/{}", "a/b:{}", "a/b/{}.gguf"])
def test_hostile_texts_are_refused_in_one_line_or_could_be_pulled(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, hostile: str
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    text = form.format(hostile, hostile)
    for ask in (resolve, stored_name):
        found = outcome(partial(ask, text, store, CATALOG))
        if isinstance(found, HubReference):
            assert is_model_name(f"{found.repository}:{hub_tag(found) or 'x'}")
        else:
            assert isinstance(found, ModelNotFound | LoadFailed)
            assert found.message.isprintable()
            assert len(found.message) < 1000


def outcome(action: Callable[[], object]) -> object:
    """What it returns, or an error of ours."""
    try:
        return action()
    except LocalLLMError as error:
        return error

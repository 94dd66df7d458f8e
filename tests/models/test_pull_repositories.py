"""Models of several files: brought whole, renewed and mended by what changed alone, refused when signed wrongly."""

import importlib.util
from pathlib import Path

import pytest

from localllm.errors import DownloadFailed, IntegrityError, LoadFailed, LocalLLMError, ModelNotFound
from localllm.models.again import as_it_is_now, as_it_was
from localllm.models.manifest import Manifest
from localllm.models.progress import Progress
from localllm.models.pull import HERE, PullOptions, pull
from localllm.models.resolve import find
from localllm.models.storage.store import Store
from localllm.models.verify import verify
from tests.models.cards import stored_files, stored_model
from tests.models.hub import Hub
from tests.models.leftovers import assert_nothing_published
from tests.models.pte.programs import program
from tests.models.pulls import bring
from tests.models.repositories import (
    EXPORTED,
    NAME,
    NO_CARDS,
    bring_from,
    checkpoint,
    contents,
    real_hub,
    split_model,
    wanted_at,
)

pytestmark = pytest.mark.usefixtures("here")

FETCHED_CHECKPOINT = set(checkpoint()) - {
    "consolidated.safetensors",
    "pytorch_model.bin",
    "modeling_llama.py",
    "onnx/model.safetensors",
}


def fetched(hub: Hub) -> set[str]:
    """The digests or paths of the files whose bytes were asked for."""
    return {asked.path for asked in hub.gets()}


def update(store: Store, manifest: Manifest) -> Manifest:
    wanted = as_it_is_now(manifest, NO_CARDS, real_hub())
    assert wanted is not None
    return bring(store, wanted)


def test_a_split_model_comes_with_all_its_parts(hub: Hub, store: Store) -> None:
    parts = split_model()
    hub.commit(NAME, parts | {"other-Q8_0.gguf": b"GGUF", "README.md": b"#"})
    manifest = bring_from(store, f"{NAME}:f32")
    assert manifest.name == f"{NAME}:F32"
    assert [file.filename for file in manifest.weights] == sorted(parts)
    assert contents(store, manifest) == parts
    assert (manifest.license, manifest.follows, manifest.quant) == ("apache-2.0", "main", "F32")
    assert len(fetched(hub)) == 3


def test_a_split_model_comes_whole_whichever_part_is_named(hub: Hub, store: Store) -> None:
    hub.commit(NAME, split_model())
    manifest = bring_from(store, f"{NAME}/tiny-F32-00002-of-00003.gguf")
    assert contents(store, manifest) == split_model()


def test_parts_that_are_not_of_one_model_are_refused(hub: Hub, store: Store) -> None:
    name = "tiny-F32-00002-of-00003.gguf"
    hub.commit(NAME, split_model() | {name: split_model()["tiny-F32-00003-of-00003.gguf"]})
    with pytest.raises(LoadFailed, match="part 2 of 3 is not that part of this model"):
        bring_from(store, f"{NAME}:F32")
    assert_nothing_published(store)
    assert not list(store.root.glob("parts/*"))


def test_a_part_that_calls_itself_whole_is_refused(hub: Hub, store: Store) -> None:
    hub.commit(NAME, {"tiny-F32.gguf": split_model()["tiny-F32-00001-of-00003.gguf"]})
    with pytest.raises(LoadFailed, match="is 1 of the 3 parts of a model"):
        bring_from(store, f"{NAME}:F32")
    assert_nothing_published(store)


def test_progress_of_several_files_is_told_as_one(hub: Hub, store: Store) -> None:
    hub.commit(NAME, split_model())
    first = split_model()["tiny-F32-00001-of-00003.gguf"]
    stored_files(store, "other:1m", {"first.gguf": first})
    told: list[Progress] = []
    wanted = wanted_at(f"{NAME}:F32")
    bring(store, wanted, told.append)
    done = [progress.done_bytes for progress in told]
    assert {progress.total_bytes for progress in told} == {wanted.size_bytes}
    assert done == sorted(done)
    assert (done[0], done[-1]) == (len(first), wanted.size_bytes)


def test_a_checkpoint_comes_without_pickles_code_and_copies(hub: Hub, store: Store) -> None:
    files = checkpoint()
    hub.commit(NAME, files)
    manifest = bring_from(store, NAME)
    assert (manifest.name, manifest.format) == (f"{NAME}:safetensors", "safetensors")
    assert contents(store, manifest) == {name: files[name] for name in FETCHED_CHECKPOINT}
    assert [file.filename for file in manifest.weights] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert not [path for path in fetched(hub) if path.endswith((".bin", ".py"))]
    assert not list(store.root.glob("parts/*"))


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (b'{"weight_map": {"a": "pytorch_model.bin"}}', IntegrityError),
        (b'{"weight_map": {"a": "../../x.safetensors"}}', IntegrityError),
        (b'{"weight_map": {"a": "model-00003-of-00003.safetensors"}}', ModelNotFound),
        (b"<html>", IntegrityError),
    ],
)
def test_a_shard_index_that_names_strange_files_is_refused(
    hub: Hub, store: Store, index: bytes, error: type[LocalLLMError]
) -> None:
    hub.commit(NAME, checkpoint() | {"model.safetensors.index.json": index})
    with pytest.raises(error):
        bring_from(store, NAME)
    assert_nothing_published(store)
    assert fetched(hub) <= {asked.path for asked in hub.gets() if asked.path.endswith("index.json")}


def test_an_exported_program_comes_with_the_tokenizer_of_its_folder(hub: Hub, store: Store) -> None:
    hub.commit(NAME, EXPORTED)
    manifest = bring_from(store, NAME)
    assert (manifest.name, manifest.format) == (f"{NAME}:tiny", "pte")
    assert set(contents(store, manifest)) == {"tiny.pte", "tokenizer.json", "chat_template.jinja"}


def test_an_exported_program_is_found_by_its_format(hub: Hub, store: Store) -> None:
    """Also beside GGUF files, and again by the same words."""
    hub.commit(NAME, EXPORTED | split_model())
    manifest = bring_from(store, f"{NAME}:PTE")
    assert (manifest.name, manifest.format, manifest.files[0].filename) == (f"{NAME}:pte", "pte", "tiny.pte")
    assert find(f"{NAME}:pte", store, NO_CARDS) == manifest


@pytest.mark.parametrize("data", [b"\0\0\0\0ET12" + bytes(5000), program()[:-1], program(forward=None), b"<html>"])
def test_an_exported_program_that_is_none_is_not_kept(hub: Hub, store: Store, data: bytes) -> None:
    hub.commit(NAME, EXPORTED | {"mobile/tiny.pte": data})
    with pytest.raises(LoadFailed):
        bring_from(store, NAME)
    assert_nothing_published(store)
    assert not list(store.root.glob("parts/*.part"))


@pytest.mark.parametrize("format_", ["gguf", "safetensors"])
def test_an_update_fetches_what_changed_and_a_rollback_nothing(hub: Hub, store: Store, format_: str) -> None:
    """Of small files too, whose SHA-256 the hub does not tell."""
    if format_ == "gguf":
        old, new, count = split_model(), split_model(seed=1), 3
    else:
        old, new, count = checkpoint("1"), checkpoint("2"), 2
    hub.commit(NAME, old)
    first = bring_from(store, NAME)
    assert as_it_is_now(first, NO_CARDS, real_hub()) is None
    commit = hub.commit(NAME, new)
    hub.log.clear()
    second = update(store, first)
    changed = [path for path in fetched(hub) if not path.endswith("index.json")]
    assert len(changed) == count
    assert second.version != first.version
    assert second.source == f"Hugging Face repository {NAME}"
    assert {getattr(file.origin, "revision", "") for file in second.files} == {commit}
    assert as_it_is_now(second, NO_CARDS, real_hub()) is None
    hub.log.clear()
    assert store.rollback(first.name) == first
    assert bring_from(store, NAME) == second
    assert not [path for path in fetched(hub) if not path.endswith("index.json")]
    assert store.find(first.name) == second


def test_only_a_branch_is_followed(hub: Hub, store: Store) -> None:
    old = hub.commit(NAME, split_model())
    hub.commit(NAME, split_model(seed=1), branch="next")
    assert bring_from(store, f"{NAME}@next:F32").follows == "next"
    assert bring_from(store, f"{NAME}@{old}:F32").follows == ""
    assert bring_from(store, f"{NAME}@{old[:9]}:F32").follows == ""
    assert bring_from(store, NAME).follows == "main"


def test_the_same_files_from_elsewhere_are_known_to_be_of_there_from_then_on(hub: Hub, store: Store) -> None:
    hub.commit(NAME, split_model(), card={"license": "mit"})
    first = bring_from(store, NAME)
    newer = hub.commit(NAME, split_model() | {"README.md": b"# A word more"}, card={"license": "apache-2.0"})
    hub.log.clear()
    second = bring_from(store, f"{NAME}@{newer}:F32")
    assert fetched(hub) == set()
    assert (second.version, second.created) == (first.version, first.created)
    assert (second.follows, second.license) == ("", "apache-2.0")
    assert {getattr(file.origin, "revision", "") for file in second.files} == {newer}
    assert store.find(first.name) == second


def test_a_repair_fetches_what_is_broken_and_nothing_else(hub: Hub, store: Store) -> None:
    hub.commit(NAME, checkpoint())
    manifest = bring_from(store, NAME)
    broken = [file for file in manifest.files if file.filename in {"tokenizer.json", manifest.weights[1].filename}]
    for file in broken:
        path = store.path(file)
        path.chmod(0o600)
        path.write_bytes(b"x" * file.size_bytes)
    check = verify(manifest, store, lambda _done, _all: None)
    assert {file.filename for file in check.broken} == {file.filename for file in broken}
    hub.log.clear()
    mended = bring(store, as_it_was(manifest, NO_CARDS), distrust=[file.digest for file in broken])
    assert mended == manifest
    assert len(fetched(hub)) == 2
    assert not verify(manifest, store, lambda _done, _all: None).broken
    assert as_it_is_now(manifest, NO_CARDS, real_hub()) is None


def test_what_only_another_model_uses_is_hashed_before_it_is_used_by_one_more(hub: Hub, store: Store) -> None:
    parts = split_model()
    hub.commit(NAME, parts)
    other = stored_files(store, "other:1m", parts)
    spoilt = store.path(other.files[2])
    spoilt.chmod(0o600)
    spoilt.write_bytes(b"x" * other.files[2].size_bytes)
    manifest = bring_from(store, NAME)
    assert len(fetched(hub)) == 1
    assert contents(store, manifest) == parts
    assert manifest.source == f"{HERE}; Hugging Face repository {NAME}"
    assert not verify(other, store, lambda _done, _all: None).broken


HOSTILE = ["a.gguf/../../../x-Q4_0.gguf", "/etc/x-Q4_0.gguf", "..\\x-Q4_0.gguf", "C:x-Q4_0.gguf", "CON.gguf"]


@pytest.mark.parametrize("path", HOSTILE)
def test_names_that_lead_elsewhere_are_not_even_offered(hub: Hub, store: Store, tmp_path: Path, path: str) -> None:
    hub.commit(NAME, {path: split_model()["tiny-F32-00001-of-00003.gguf"]})
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ModelNotFound):
        bring_from(store, NAME)
    assert hub.gets() == []
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("fault", "value"),
    [
        ("body", b"x" * 1000),
        ("body", b"<html>log in</html>"),
        ("body", b"x" * 10_000_000),  # more than there should be
        ("sha256", "a" * 64),
        ("size", 5),
        ("is_login_page", True),
        ("commit", "b" * 40),
        ("get_status", 404),
    ],
)
def test_a_hub_that_lies_about_a_model_touches_no_other(hub: Hub, store: Store, fault: str, value: object) -> None:
    hub.commit(NAME, split_model())
    other = stored_model(store, "other:1m", b"GGUF of another")
    wanted = wanted_at(f"{NAME}:F32")
    setattr(hub.faults, fault, value)
    with pytest.raises(DownloadFailed) as caught:
        bring(store, wanted)
    assert "\n" not in caught.value.message
    assert store.survey() == ([other], [])
    assert [path.name for path in store.root.glob("blobs/*")] == [f"sha256-{other.files[0].sha256}"]
    hub.reset()
    hub.commit(NAME, split_model())
    assert contents(store, bring_from(store, f"{NAME}:F32")) == split_model()


@pytest.mark.parametrize("info", [b"<html>log in</html>", b"{}", b'{"siblings": [{"rfilename": "x.gguf"}]}'])
def test_a_hub_that_does_not_speak_sense_is_none(hub: Hub, store: Store, info: bytes) -> None:
    hub.commit(NAME, split_model())
    hub.faults.info = info
    with pytest.raises(DownloadFailed, match="is no Hugging Face hub"):
        bring_from(store, NAME)


def test_offline_what_is_not_here_is_an_error(hub: Hub, store: Store) -> None:
    hub.commit(NAME, split_model())
    wanted = wanted_at(NAME)
    hub.log.clear()
    with pytest.raises(DownloadFailed, match="offline"):
        bring(store, wanted, offline=True)
    with pytest.raises(DownloadFailed, match="offline"):
        real_hub(offline=True).read_repository(NAME, None)
    with pytest.raises(DownloadFailed, match="offline"):
        real_hub(offline=True).read_file(wanted.files[0])
    assert hub.log == []


class TestSignatures:
    """Signed by a key of the publisher's: the check is in `signing`, here is what a pull makes of it."""

    @pytest.fixture(autouse=True)
    def needs_model_signing(self) -> None:
        if importlib.util.find_spec("model_signing") is None:
            pytest.skip("model-signing is not installed")

    @pytest.fixture
    def signed(self, tmp_path: Path) -> dict[str, bytes]:
        """A repository whose files were signed, and the key for it at `tmp_path/publisher/key.pub`."""
        from tests.models.signing.publisher import Publisher

        files = checkpoint()
        return files | {"model.sig": Publisher(tmp_path / "publisher").sign(files)}

    def pull(self, store: Store, policy: str, key: Path) -> tuple[Manifest, list[str]]:
        warnings: list[str] = []
        options = PullOptions(signatures=policy, signing_key=key)  # type: ignore[arg-type]
        manifest = pull(wanted_at(NAME), store, options, lambda _: None, warnings.append)
        return manifest, warnings

    @pytest.fixture
    def key(self, tmp_path: Path, signed: dict[str, bytes]) -> Path:
        return tmp_path / "publisher" / "key.pub"

    @pytest.mark.parametrize("policy", ["require", "warn"])
    def test_a_signed_model_comes_and_its_signature_is_not_kept(
        self, hub: Hub, store: Store, signed: dict[str, bytes], key: Path, policy: str
    ) -> None:
        hub.commit(NAME, signed)
        manifest, warnings = self.pull(store, policy, key)
        assert warnings == []
        assert set(contents(store, manifest)) == FETCHED_CHECKPOINT
        assert not list(store.root.glob("parts/*"))

    def test_without_a_signature_nothing_is_fetched(self, hub: Hub, store: Store, key: Path) -> None:
        hub.commit(NAME, checkpoint())
        with pytest.raises(IntegrityError, match="is refused"):
            self.pull(store, "require", key)
        assert_nothing_published(store)
        assert not [path for path in fetched(hub) if not path.endswith("index.json")]

    def test_or_a_warning_is_given(self, hub: Hub, store: Store, key: Path) -> None:
        hub.commit(NAME, checkpoint())
        manifest, warnings = self.pull(store, "warn", key)
        assert len(warnings) == 1
        assert f"{NAME}:safetensors is not verified" in warnings[0]
        assert store.find(manifest.name) == manifest

    @pytest.mark.parametrize("policy", ["require", "warn"])
    @pytest.mark.parametrize("path", ["model-00002-of-00002.safetensors", "tokenizer.json"])
    def test_a_file_that_was_changed_is_refused(
        self, hub: Hub, store: Store, signed: dict[str, bytes], key: Path, policy: str, path: str
    ) -> None:
        """Weights before a byte of them is fetched: the hub tells their SHA-256; small files afterwards."""
        hub.commit(NAME, signed | {path: b"another one"})
        with pytest.raises(IntegrityError, match=f"{path}' is not the file that its publisher signed"):
            self.pull(store, policy, key)
        assert_nothing_published(store)
        assert not list(store.root.glob("parts/*"))
        has_weights = any("/cdn/" in asked for asked in fetched(hub))
        assert has_weights == (path == "tokenizer.json")

    def test_a_pinned_model_needs_none(self, hub: Hub, store: Store, key: Path) -> None:
        hub.commit(NAME, checkpoint())
        manifest = bring_from(store, NAME)
        store.path(manifest.files[0]).unlink()
        options = PullOptions(signatures="require", signing_key=key)
        assert pull(as_it_was(manifest, NO_CARDS), store, options, lambda _: None, pytest.fail) == manifest

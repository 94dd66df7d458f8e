"""A real model, from a checkpoint to text: its weights and vocabulary come out unchanged, and so does what it says.

The checkpoint is made from the starter model's GGUF (`starter.py`), the step runs in its process as in the command,
and torch reads the checkpoint that the GGUF file was made of.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.config import Settings
from localllm.models.local import LocalModel
from localllm.quantize.process.workshop import run_step
from localllm.quantize.steps import Convert, Converted, Progress
from localllm.runtime.local import LocalService
from localllm.types import ChatRequest, Message, SamplingChoice, TextDelta, TextRequest
from tests.convert.families.native_scores import native_scores
from tests.convert.starter import dequantized, field, in_halves, source_name, write_starter_checkpoint
from tests.serving import running_service

pytestmark = [pytest.mark.slow, pytest.mark.real_model, pytest.mark.timeout(600)]

TENSORS = 272
MOST_PEAK_BYTES = 256 * 2**20
NEW_TOKENS, LEAST_NEW_TOKENS = 32, 24
CONTEXT = 256

CHATS = (
    "Explain how bread is made.",
    "What is the capital of France, and what is it known for?",
    "Write a short poem about the sea.",
    "List five animals that live in the forest.",
    "Why is the sky blue?",
    "Tell me a story about a dragon who is afraid of fire.",
    "How do I sort a list of numbers in Python?",
    "Give me three reasons to learn a second language.",
    "Describe your favourite season in a few sentences.",
    "What happened in 1969 on the 20th of July?",
)
TEXTS = (
    "The river carried small boats down to the",
    "Once upon a time, in a village between two mountains,",
    "def fibonacci(n):\n    ",
    "The history of the bicycle begins in the 19th century, when",
    "In 1492, Columbus",
    "Water boils at 100 degrees Celsius because",
    "Dear Sir or Madam,\n\nI am writing to",
    "# Recipe: pancakes\n\nIngredients:\n\n-",
    "The mitochondria is",
    "Zwölf Boxkämpfer jagen Viktor quer über den",
)

Bits = NDArray[np.uint16 | np.uint32]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For more than a gigabyte, which pytest would keep."""
    path = tmp_path_factory.mktemp("starter")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def checkpoint(starter_model: LocalModel, folder: Path) -> Path:
    """In F32."""
    return write_starter_checkpoint(Path(starter_model.path), folder / "F32")


@pytest.fixture(scope="module")
def short_checkpoint(starter_model: LocalModel, folder: Path) -> Path:
    """In BF16, as most are."""
    return write_starter_checkpoint(Path(starter_model.path), folder / "BF16", "BF16")


@pytest.fixture(scope="module")
def converted(checkpoint: Path) -> tuple[Path, Converted]:
    """The GGUF file of the one in F32, and what the step said."""
    return convert(checkpoint)


def convert(checkpoint: Path) -> tuple[Path, Converted]:
    target = checkpoint.with_suffix(".gguf")
    files = {path.name: str(path) for path in checkpoint.iterdir()}
    return target, run_step(Convert(files=files, target=str(target), name="Starter"), Converted, ignore)


def ignore(_progress: Progress) -> None:
    """Nobody looks."""


def stored_bits(checkpoint: Path) -> dict[str, Bits]:
    """Its tensors as unsigned integers, by another way than the converter's."""
    path = checkpoint / "model.safetensors"
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    raw = np.memmap(path, np.uint8, "r", 8 + size)
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            kind = np.uint32 if entry["dtype"] == "F32" else np.uint16
            found[name] = raw[start:end].view(kind).reshape(entry["shape"])
    return found


def test_every_weight_is_the_checkpoints_to_the_bit(checkpoint: Path, converted: tuple[Path, Converted]) -> None:
    check_weights(checkpoint, *converted, "F32")


def test_every_weight_in_sixteen_bits_is_the_checkpoints_to_the_bit(short_checkpoint: Path) -> None:
    check_weights(short_checkpoint, *convert(short_checkpoint), "BF16")


def check_weights(checkpoint: Path, target: Path, result: Converted, type_: str) -> None:
    """Matrices are as they were, vectors in float32."""
    expected = stored_bits(checkpoint)
    tensors = gguf.GGUFReader(target).tensors
    assert (result.type, result.tensors, result.size_bytes) == (type_, TENSORS, target.stat().st_size)
    assert {source_name(tensor.name) for tensor in tensors} == expected.keys()
    assert len(tensors) == TENSORS
    differing = []
    for tensor in tensors:
        there = expected[source_name(tensor.name)]
        assert tensor.tensor_type.name == ("F32" if there.ndim == 1 else type_)
        if there.ndim == 1 and type_ == "BF16":
            there = there.astype(np.uint32) << np.uint32(16)
        found = np.ascontiguousarray(tensor.data).view(there.dtype).reshape(there.shape)
        if not np.array_equal(in_halves(tensor.name, found), there):
            differing.append(tensor.name)
    assert differing == []


def test_every_weight_is_the_original_files_to_the_bit(
    converted: tuple[Path, Converted], starter_model: LocalModel
) -> None:
    """There and back: the pairing of rows as llama.cpp's own converter made it."""
    before = {tensor.name: tensor for tensor in gguf.GGUFReader(starter_model.path).tensors}
    after = {tensor.name: tensor for tensor in gguf.GGUFReader(converted[0]).tensors}
    assert before.keys() == after.keys()
    assert [name for name in before if not np.array_equal(dequantized(before[name]), after[name].data)] == []


def test_the_metadata_and_the_vocabulary_are_the_original_files(
    converted: tuple[Path, Converted], starter_model: LocalModel
) -> None:
    before, after = gguf.GGUFReader(starter_model.path), gguf.GGUFReader(converted[0])
    keys = [key for key in before.fields if key.startswith(("llama.", "tokenizer.")) or key == "general.architecture"]
    assert len(keys) > 20
    # The original says both of what llama.cpp does unsaid: the size of the vocabulary, and no space before a text.
    keys = [key for key in keys if key not in {"llama.vocab_size", "tokenizer.ggml.add_space_prefix"}]
    assert [key for key in keys if key not in after.fields or field(after, key) != field(before, key)] == []


def test_converting_takes_little_memory(converted: tuple[Path, Converted]) -> None:
    """The weights are 513 MiB, the largest tensor 108. It took 105, with Python."""
    assert converted[1].peak_memory_bytes < MOST_PEAK_BYTES


class Torch:
    """The checkpoint in transformers, in float32."""

    def __init__(self, checkpoint: Path) -> None:
        torch = pytest.importorskip("torch", reason="torch is not installed")
        transformers = pytest.importorskip("transformers", reason="transformers is not installed")
        torch.set_num_threads(1)
        self._torch = torch
        # Not AutoTokenizer: transformers 5 cuts as GPT-2 does, for the name of the class, whatever tokenizer.json says
        self.tokenizer: Any = transformers.PreTrainedTokenizerFast.from_pretrained(checkpoint)
        self._model: Any = transformers.LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()

    def ids(self, prompt: str) -> list[int]:
        return [int(token) for token in self.tokenizer(prompt)["input_ids"]]

    def chat_prompt(self, question: str) -> str:
        messages = [{"role": "user", "content": question}]
        return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))

    def answer(self, ids: list[int]) -> list[int]:
        """The likeliest tokens one after the other."""
        given = self._torch.tensor([ids])
        with self._torch.no_grad():
            made = self._model.generate(
                given,
                attention_mask=self._torch.ones_like(given),
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                eos_token_id=[0, 2],  # both end a text in llama.cpp
                pad_token_id=2,
            )
        return [int(token) for token in made[0, len(ids) :]]

    def text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class Said(Mapping[str, tuple[list[int], list[int]]]):
    """What torch answers: the ids of prompt and answer by prompt."""

    def __init__(self, torch: Torch, prompts: list[str]) -> None:
        self.torch = torch
        self._ids = {prompt: torch.ids(prompt) for prompt in prompts}
        self._answers = {prompt: torch.answer(ids) for prompt, ids in self._ids.items()}

    def __getitem__(self, prompt: str) -> tuple[list[int], list[int]]:
        return self._ids[prompt], self._answers[prompt]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


@pytest.fixture(scope="module")
def said(checkpoint: Path) -> Said:
    torch = Torch(checkpoint)
    said = Said(torch, [*map(torch.chat_prompt, CHATS), *TEXTS])
    assert min(len(answer) for _, answer in said.values()) >= LEAST_NEW_TOKENS
    assert len({tuple(answer) for _, answer in said.values()}) == len(CHATS) + len(TEXTS)
    return said


@pytest.mark.anyio
async def test_greedy_text_is_that_of_transformers(said: Said, converted: tuple[Path, Converted]) -> None:
    """By the whole road that requests take: service, template, tokenizer, worker, sampling.

    Without flash attention, which adds up in another order. KV is float16, as always; nothing was near enough for it
    to matter: the logits of the closest two tokens were 0.004 apart.
    """
    greedy = SamplingChoice(temperature=0.0, max_tokens=NEW_TOKENS)
    settings = Settings(flash_attention=False, context=CONTEXT, threads=2, parallel=1)
    requests: dict[str, ChatRequest | TextRequest] = {
        said.torch.chat_prompt(question): ChatRequest(messages=(Message("user", question),), sampling=greedy)
        for question in CHATS
    }
    requests |= {text: TextRequest(prompt=text, sampling=greedy) for text in TEXTS}
    async with running_service(str(converted[0]), settings=settings) as service:
        found = {prompt: await answer_of(service, request) for prompt, request in requests.items()}
    assert found == {prompt: said.torch.text(answer) for prompt, (_, answer) in said.items()}


async def answer_of(service: LocalService, request: ChatRequest | TextRequest) -> str:
    events = service.chat(request) if isinstance(request, ChatRequest) else service.complete(request)
    return "".join([event.text async for event in events if isinstance(event, TextDelta)])


def test_token_for_token_the_likeliest_is_that_of_transformers(said: Said, converted: tuple[Path, Converted]) -> None:
    """With KV in float32, and after the very tokens that torch chose."""
    for ids, answer in said.values():
        scores = native_scores(converted[0], [*ids, *answer[:-1]], CONTEXT)[len(ids) - 1 :]
        two = np.sort(scores, axis=1)[:, -2:]
        print(f"{len(answer)} tokens, the closest two {np.diff(two).min():.4f} apart")
        assert scores.argmax(axis=1).tolist() == answer

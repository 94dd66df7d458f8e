"""Making a model again from its card, and whether what comes out is the same."""

from pathlib import Path

import msgspec
from msgspec import Struct

from localllm.errors import IntegrityError, InvalidRequest
from localllm.models.storage.blobs import hash_file
from localllm.quantize.calibration.texts import Text, both_texts, calibration_text
from localllm.quantize.making import MadeFile, Named, Wish
from localllm.quantize.material import Material
from localllm.quantize.mlc import MlcWish
from localllm.quantize.programs import ProgramWish
from localllm.quantize.provenance.card import Made
from localllm.quantize.provenance.recipe import Calibration, Tools, differences

_PART = ", "  # before what tells of a part of a text that was cut


class Repeat(Struct, frozen=True, kw_only=True):
    """A recipe that is followed once more."""

    made: Made

    def check_source(self, material: Material) -> None:
        """Raises IntegrityError where the source is not, to the byte, the one that the card names."""
        for filename, facts in self.made.source.files.items():
            found = material.digests.get(filename)
            if found == facts.sha256:
                continue
            state = "is not there" if found is None else f"has another SHA-256, {found}"
            raise IntegrityError(
                f"{filename} of {material.reference} {state}, so this is not what the card's model was made from; "
                "name where that is now: localllm quantize SOURCE --from-card CARD"
            )

    def wish(self, calibrate: str | None) -> Wish:
        """What the recipe wants. `calibrate` is where the text or the matrix is now; None: where it was.

        Raises InvalidRequest where the text is not, to the letter, the one that the card names.
        """
        recipe = self.made.recipe
        calibration = recipe.calibration
        return Wish(
            overrides=recipe.overrides,
            output_type=recipe.output_type,
            embedding_type=recipe.embedding_type,
            is_pure=recipe.is_pure,
            prune_layers=recipe.prune_layers,
            allow_requantize=recipe.allow_requantize,
            calibration=_text(calibration, calibrate) if calibration is not None else None,
            calibration_chunks=calibration.chunks if calibration is not None else 1,
            calibration_threads=calibration.threads if calibration is not None else 1,
            importance=_matrix(recipe.importance_sha256, calibrate) if recipe.importance_sha256 else None,
            named=Named(name=recipe.name, metadata=recipe.metadata) if recipe.converted_type else None,
        )

    @property
    def suffix(self) -> str:
        """Of the file that holds the weights."""
        return f".{self.made.recipe.format}"

    @property
    def program(self) -> ProgramWish | MlcWish | None:
        """What the recipe wants of a program or a model of MLC; None: it is of a GGUF file."""
        choices, wanted = self.made.recipe.mlc, self.made.recipe.program
        if choices is not None:
            return MlcWish(context_tokens=choices.context_tokens, device=choices.device)
        if wanted is None:
            return None
        return ProgramWish(context_tokens=wanted.context_tokens, delegate=wanted.delegate)

    def differences(self, tools: Tools) -> list[str]:
        """What of the tools is not as it was then, in words."""
        return differences(self.made.tools, tools)

    def is_same(self, made: MadeFile) -> bool:
        """Whether the model is, to the byte, the one that the card tells of."""
        if self.made.recipe.mlc is not None:
            found = {made.path.name: made.path, **made.beside}
            return all(_is(facts.sha256, found.get(name)) for name, facts in self.made.outcome.files.items())
        wanted = {facts.sha256 for name, facts in self.made.outcome.files.items() if name.endswith(self.suffix)}
        return str(hash_file(made.path, lambda _: None)) in wanted


def _is(sha256: str, path: Path | None) -> bool:
    return path is not None and str(hash_file(path, lambda _: None)) == sha256


def _text(calibration: Calibration, calibrate: str | None) -> Text:
    choice = calibrate or calibration.text.partition(_PART)[0]
    found = next((text for text in _texts(choice) if text.sha256 == calibration.text_sha256), None)
    if found is None:
        raise InvalidRequest(
            f"{choice!r} is not the text that this model was calibrated with, whose SHA-256 is "
            f"{calibration.text_sha256}; name its file with --calibrate",
            param="calibrate",
        )
    return msgspec.structs.replace(found, name=calibration.text)  # which the files tell, whatever it is called now


def _texts(choice: str) -> list[Text]:
    """The whole text, and the part of it that remains to calibrate with where it is evaluated on as well."""
    try:
        found = [calibration_text(choice), both_texts(choice, choice)[0]]
    except InvalidRequest:  # it is not here, under that name at least
        return []
    return [text for text in found if text is not None]


def _matrix(sha256: str, calibrate: str | None) -> Path:
    path = Path(calibrate or "").expanduser().absolute()
    if not path.is_file() or str(hash_file(path, lambda _: None)) != sha256:
        raise InvalidRequest(
            f"this model was made with an importance matrix of the SHA-256 {sha256}; name its file with --calibrate",
            param="calibrate",
        )
    return path

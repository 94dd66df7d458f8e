"""Settings: file, then environment, then options; mistakes are named with their place."""

import os
from pathlib import Path

import pytest

from localllm.config import config_path, download_environment, load_settings, worker_environment
from localllm.errors import ConfigError


@pytest.fixture
def file(clean_environment: Path) -> Path:
    return clean_environment / "config.toml"


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings({})
    assert (settings.model, settings.host, settings.port) == ("smollm2:135m", "127.0.0.1", 11500)


def test_the_environment_beats_the_file_and_an_option_beats_both(file: Path) -> None:
    file.write_text("port = 1\nmodel = 'from-file'\nparallel = 3")
    env = {"LOCALLLM_CONFIG": str(file), "LOCALLLM_PORT": "2", "LOCALLLM_OFFLINE": "1"}
    settings = load_settings(env, port=None, model="from-option")
    assert (settings.port, settings.model, settings.parallel, settings.offline) == (2, "from-option", 3, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", "prot"),
        ("port = 70000", "port"),
        ("port = 'a'", "port"),
        ("context = 0", "context"),
        ("port = = 1", "not valid TOML"),
        ("\xff", "cannot read"),
    ],
)
def test_a_mistake_in_the_file_is_named(file: Path, text: str, words: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=words) as raised:
        load_settings({"LOCALLLM_CONFIG": str(file)})
    assert str(file) in raised.value.message


@pytest.mark.parametrize(("name", "value"), [("PORT", "many"), ("CONTEXT", "-1"), ("FLASH_ATTENTION", "perhaps")])
def test_a_mistake_in_the_environment_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"LOCALLLM_{name}"):
        load_settings({f"LOCALLLM_{name}": value, "LOCALLLM_CONFIG": os.devnull})


def test_the_home_and_the_config_file_may_be_anywhere() -> None:
    assert load_settings({"LOCALLLM_HOME": "~/models"}).home_path == Path.home() / "models"
    assert load_settings({}).home_path.name == "localllm"
    assert config_path({"LOCALLLM_CONFIG": "~/my.toml"}) == Path.home() / "my.toml"
    assert config_path({}).name == "config.toml"


def test_a_worker_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "LOCALLLM_API_KEY", "OPENAI_API_KEY", "DB_PASSWORD", "MY_SECRET"):
        monkeypatch.setenv(name, "hush")
    monkeypatch.setenv("LANG", "C")
    environment = worker_environment()
    assert "hush" not in environment.values()
    assert environment["LANG"] == "C"
    assert environment["GGML_NO_BACKTRACE"] == "1"


def test_a_downloader_keeps_its_files_together(tmp_path: Path) -> None:
    assert {download_environment(tmp_path)[name] for name in ("TMPDIR", "TEMP", "TMP")} == {str(tmp_path)}

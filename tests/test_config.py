from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, Secret, check_serving, load, split_bind

PUBLIC = {"OFFHOOK_PUBLIC_URL": "https://gw.example.net"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "offhook.toml"


def problems(file: Path | None, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refused:
        load(file, environ)
    assert str(refused.value) == "\n".join(refused.value.problems)
    return refused.value.problems


def test_nothing_set_is_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert load(None, {"PATH": "/bin", "OPENAI_API_KEY": ""}) == Config()


def test_the_file_is_found_by_its_usual_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("offhook.toml").write_text('[agent]\nvoice = "cedar"\n')

    assert load(None, {}).agent.voice == "cedar"


def test_the_environment_wins_over_the_file_and_the_longer_name_over_the_common_one(
    file: Path,
) -> None:
    file.write_text('[openai]\napi_key = "one"\n[agent]\nmodel = "m"\n[calls]\nmax_call_s = 60\n')
    environ = {"OPENAI_API_KEY": "two", "OFFHOOK_AGENT_VOICE": "sage", "OFFHOOK_CONFIG": str(file)}
    config = load(None, environ)

    assert config.openai.api_key == Secret("two")
    assert (config.agent.model, config.agent.voice) == ("m", "sage")
    assert config.calls.max_call_s == 60.0
    assert load(None, environ | {"OFFHOOK_OPENAI_API_KEY": "3"}).openai.api_key == Secret("3")


def test_every_setting_has_its_names_in_the_environment() -> None:
    environ = {
        "OFFHOOK_BIND": "127.0.0.1:0",
        **PUBLIC,
        "TWILIO_ACCOUNT_SID": "AC1",
        "TWILIO_AUTH_TOKEN": "t",
        "TWILIO_API_KEY": "SK1",
        "TWILIO_API_SECRET": "s",
        "TWILIO_API_URL": "http://127.0.0.1:1",
        "OPENAI_REALTIME_URL": "ws://localhost:9/v1/realtime",
        "OPENAI_BASE_URL": "http://[::1]:9/v1",
        "OFFHOOK_CALLS_MAX_CONCURRENT": "5",
        "OFFHOOK_CALLS_DIRECTORY": "/var/calls",
        "OFFHOOK_AGENT_GREETING": "Hi",
    }
    config = load(None, environ)

    assert config.server.bind == "127.0.0.1:0"
    assert config.server.public_url == "https://gw.example.net"
    assert config.twilio.auth_token == Secret("t")
    assert config.twilio.api_secret == Secret("s")
    assert config.openai.base_url == "http://[::1]:9/v1"
    assert config.calls.max_concurrent == 5
    assert config.calls.directory == Path("/var/calls")


def test_every_mistake_is_named_with_its_place_and_the_nearest_right_one(file: Path) -> None:
    file.write_text(
        '[agent]\nvoise = "marin"\n[sever]\nbind = "x"\n[calls]\nmax_concurrent = "many"\n'
        'directory = 7\n[twilio]\nauth_token = 5\n'
    )  # fmt: skip

    assert problems(file, OFFHOOK_PUBLIC_ULR="x", OFFHOOK_CALLS_MAX_CALL_S="long") == (
        f"agent.voise in {file} is unknown; did you mean voice?",
        f"[sever] in {file} is unknown; did you mean server?",
        "OFFHOOK_PUBLIC_ULR in the environment is unknown; did you mean OFFHOOK_PUBLIC_URL?",
        f"calls.max_concurrent in {file} must be a whole number, not text",
        f"calls.directory in {file} must be text in quotes, not the number 7",
        f"twilio.auth_token in {file} must be text in quotes, not the number 5",
        "OFFHOOK_CALLS_MAX_CALL_S must be a number, not 'long'",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("agent = 1", "agent in {} must be a section: [agent]"),
        ("zzz = 1", "the key zzz in {} is unknown; there is agent, calls, openai, server, twilio"),
        ('[server]\nbind = "8080"', "server.bind in {} must be host:port, as 127.0.0.1:8080, not"),
        ('[server]\nbind = "a:99999"', "server.bind in {} must end in a port of 0 to 65535, not"),
        ('[server]\nbind = "::1:80"', "server.bind in {} must be host:port"),
        ("[calls]\nmax_concurrent = 0", "calls.max_concurrent in {} must be more than 0"),
        ("[calls]\nmax_concurrent = true", "must be a whole number, not true"),
        ("[calls]\nmax_concurrent = 1.5", "must be a whole number, not the number 1.5"),
        ("[calls]\nmax_call_s = nan", "calls.max_call_s in {} must be more than 0"),
        ("[calls]\nmax_call_s = 2026-01-01", "must be a number, not a date or time"),
        ("[agent", "{} is not TOML: "),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(file: Path, text: str, problem: str) -> None:
    file.write_text(text)

    (found,) = problems(file)
    assert problem.format(file) in found


def test_a_file_that_was_asked_for_must_be_there_and_be_text(file: Path) -> None:
    assert problems(file) == (f"{file} does not exist",)
    file.write_bytes(b"\xff\xfe")
    assert problems(file) == (f"{file} is not UTF-8 text",)
    assert problems(file.parent) == (f"{file.parent} cannot be read: Is a directory",)


@pytest.mark.parametrize(
    ("name", "url", "problem"),
    [
        ("OFFHOOK_PUBLIC_URL", "http://gw.example.net", "must begin with https://"),
        ("OFFHOOK_PUBLIC_URL", "gw.example.net", "must look like https://host"),
        ("OFFHOOK_PUBLIC_URL", "https://", "must look like https://host"),
        ("OFFHOOK_PUBLIC_URL", "https://a:b@gw.example.net", "must not contain a user"),
        ("OFFHOOK_PUBLIC_URL", "https://gw.example.net?x=1", "must end before its query"),
        ("OFFHOOK_PUBLIC_URL", "https://[gw", "is not a URL"),
        ("OPENAI_REALTIME_URL", "ws://api.openai.com", "ws:// is for loopback"),
        ("OPENAI_REALTIME_URL", "https://api.openai.com", "must begin with wss://"),
        ("TWILIO_API_URL", "http://api.twilio.com", "must begin with https://"),
    ],
)
def test_an_address_that_cannot_be_is_refused_by_name(name: str, url: str, problem: str) -> None:
    (found,) = problems(None, **{name: url})
    assert found.startswith(name)
    assert problem in found


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"TWILIO_API_KEY": "SK1", "TWILIO_API_SECRET": "s"}, "needs twilio.account_sid"),
        ({"OFFHOOK_CALLS_MAX_CALL_S": "3601"}, "at most 3600"),
        ({"OFFHOOK_CALLS_MAX_CALL_S": "0"}, "more than 0"),
    ],
    ids=["key-without-account", "longer-than-a-session", "no-time"],
)
def test_settings_that_cannot_work_together_are_refused(
    environ: dict[str, str], problem: str
) -> None:
    (found,) = problems(None, **environ)
    assert problem in found


def test_half_an_api_key_is_refused() -> None:
    assert problems(None, TWILIO_API_KEY="SK1") == (
        "TWILIO_API_KEY and twilio.api_secret go together: set both or neither",
    )


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"OFFHOOK_BIND": "0.0.0.0:8080"}, id="unsigned-and-open"),
        pytest.param({"OFFHOOK_BIND": "gw.example.net:80"}, id="unsigned-and-perhaps-open"),
        pytest.param({"TWILIO_AUTH_TOKEN": "t"}, id="signed-over-an-unknown-address"),
        pytest.param(PUBLIC, id="unsigned-behind-a-tunnel"),
    ],
)
def test_what_could_not_tell_twilio_from_others_does_not_serve(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        check_serving(load(None, environ))
    assert "TWILIO_AUTH_TOKEN" in str(refused.value)


@pytest.mark.parametrize(
    "environ",
    [
        {"OFFHOOK_BIND": "[::1]:8080"},
        {"OFFHOOK_BIND": "localhost:8080"},
        {"OFFHOOK_BIND": "0.0.0.0:8080", "TWILIO_AUTH_TOKEN": "t", **PUBLIC},
    ],
)
def test_loopback_without_signatures_and_the_world_with_them_serve(
    environ: dict[str, str],
) -> None:
    check_serving(load(None, environ))


def test_a_secret_shows_itself_nowhere_and_is_quoted_in_no_refusal() -> None:
    config = load(None, {"OPENAI_API_KEY": "sk-canary"})

    assert "canary" not in f"{config!r} {config.openai.api_key} {config}"
    assert config.openai.api_key is not None
    assert config.openai.api_key.reveal() == "sk-canary"
    assert "canary" not in problems(None, OPENAI_API_KEY="sk canary")[0]


def test_an_ipv6_bind_loses_its_brackets() -> None:
    assert split_bind("[::1]:80") == ("::1", 80)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeSessionCreateRequest

from gateway.configuration.config import (
    AgentSettings,
    Config,
    ConfigError,
    Secret,
    agent_settings,
    auth_headers,
    check_serving,
    load,
    split_bind,
)
from gateway.configuration.models import MODELS
from gateway.configuration.rules import RULES
from gateway.configuration.settings import KEYS

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
        f"calls.max_concurrent in {file} must be a whole number, not the text 'many'",
        f'calls.directory in {file} must be text in quotes, as "7", not the number 7',
        f"twilio.auth_token in {file} must be text in quotes, not a number",
        "OFFHOOK_CALLS_MAX_CALL_S must be a number, not 'long'",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("agent = 1", "agent in {} must be a section: [agent]"),
        (
            "zzz = 1",
            "the key zzz in {} is unknown; there is agent, agents, calendar, calls,",
        ),
        ('[server]\nbind = "8080"', "server.bind in {} must be host:port, as 127.0.0.1:8080, not"),
        ('[server]\nbind = "a:99999"', "must end in a port of 0 to 65535, as a:8080, not"),
        ('[server]\nbind = "::1:80"', "server.bind in {} must be host:port"),
        ("[calls]\nmax_concurrent = 0", "calls.max_concurrent in {} must be 1 to 100000"),
        ("[calls]\nmax_concurrent = true", "must be a whole number, not true"),
        ("[calls]\nmax_concurrent = 1.5", "must be a whole number, as 2, not the number 1.5"),
        ("[calls]\nmax_call_s = nan", "calls.max_call_s in {} must be 1 to 14400, not nan"),
        ("[calls]\nmax_call_s = 2026-01-01", "must be a number, not the date or time 2026"),
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
        ("OFFHOOK_PUBLIC_URL", "gw.example.net", "must look like https://gw.example.net"),
        ("OFFHOOK_PUBLIC_URL", "https://", "must look like https://host"),
        ("OFFHOOK_PUBLIC_URL", "https://a:b@gw.example.net", "must not contain a user"),
        ("OFFHOOK_PUBLIC_URL", "https://gw.example.net?x=1", "must end before its query"),
        ("OFFHOOK_PUBLIC_URL", "https://[gw", "is not a URL"),
        ("OPENAI_REALTIME_URL", "ws://api.openai.com", "ws:// is for loopback"),
        ("OPENAI_REALTIME_URL", "tcp://api.openai.com", "must begin with wss://"),
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
        ({"OFFHOOK_CALLS_MAX_CALL_S": "14401"}, "must be 1 to 14400, not 14401.0"),
        ({"OFFHOOK_CALLS_MAX_CALL_S": "0"}, "the nearest is 1"),
    ],
    ids=["key-without-account", "longer-than-the-carrier-allows", "no-time"],
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


def test_the_ecosystems_names_are_read_and_ours_win_over_them() -> None:
    environ = {
        "OPENAI_API_MODEL": "gpt-realtime-mini",
        "OPENAI_VOICE": "alloy",
        "OPENAI_INSTRUCTIONS": "You answer.",
        "OPENAI_WELCOME_MSG": "Hi.",
        "OPENAI_TEMPERATURE": "0.8",
        "OPENAI_MAX_TOKENS": "inf",
        "OPENAI_TURN_DETECT_TYPE": "server_vad",
        "OPENAI_TURN_DETECT_SILENCE_MS": "200",
        "OPENAI_TURN_DETECT_THRESHOLD": "0.6",
        "OPENAI_TURN_DETECT_PREFIX_MS": "200",
        "OPENAI_TRANSFER_TO": "sip:desk@example.net",
        "OPENAI_TRANSFER_BY": "+4930123456",
        "OPENAI_DISABLE": "true",
        "OPENAI_REALTIME_API_URL": "wss://eu.api.openai.com/v1/realtime",
    }
    config = load(None, environ)

    assert config.agent == AgentSettings(
        enabled=False,
        model="gpt-realtime-mini",
        voice="alloy",
        instructions="You answer.",
        greeting="Hi.",
        temperature=0.8,
        silence_duration_ms=200,
        threshold=0.6,
        prefix_padding_ms=200,
        transfer_to="sip:desk@example.net",
        transfer_by="+4930123456",
    )
    assert config.openai.realtime_url == "wss://eu.api.openai.com/v1/realtime"
    assert [remark.partition(",")[0] for remark in config.remarks()] == ["agent.temperature is 0.8"]
    better = {"OPENAI_REALTIME_MODEL": "gpt-realtime", "OPENAI_REALTIME_VOICE": "ash"}
    agent = load(None, environ | better | {"OFFHOOK_AGENT_VOICE": "sage"}).agent
    assert (agent.model, agent.voice) == ("gpt-realtime", "sage")


def test_an_agent_inherits_what_was_not_written_for_it_but_no_numbers(file: Path) -> None:
    file.write_text(
        '[agent]\nnumbers = ["+491"]\nvoice = "sage"\nlanguage = "de"\n'
        '[agents.sales]\nnumbers = ["+492*"]\nvoice = "ash"\n'
    )
    environ = {
        "OFFHOOK_AGENT_SPEED": "1.25",
        "OFFHOOK_AGENTS_SALES_LANGUAGE": "fr",
        "OFFHOOK_AGENTS_NIGHT_SHIFT_NUMBERS": "+493, +494*",
        "OFFHOOK_AGENTS_NIGHT_SHIFT_KEYWORDS": '["Acme, Inc.", "ISDN"]',
    }
    config = load(file, environ)
    sales, night = config.agents["sales"], config.agents["night_shift"]

    assert (sales.voice, sales.speed, sales.language) == ("ash", 1.25, "fr")
    assert (night.voice, night.speed, night.language) == ("sage", 1.25, "de")
    assert night.numbers == ("+493", "+494*")
    assert night.keywords == ("Acme, Inc.", "ISDN")
    assert sales.numbers == ("+492*",)


def test_inherited_settings_that_an_agent_does_not_need_are_no_mistake(file: Path) -> None:
    file.write_text(
        '[agent]\nturn_detection = "semantic_vad"\neagerness = "high"\nlanguage = "de"\n'
        '[agents.a]\nnumbers = ["+491"]\nturn_detection = "none"\ntranscription = "off"\n'
    )

    assert load(file, {}).agents["a"].eagerness == "high"


def test_a_mistake_that_is_inherited_is_told_once(file: Path) -> None:
    file.write_text(
        '[agent]\non_failure = "transfer"\n[agents.a]\nnumbers = ["+491"]\n'
        '[agents.b]\nnumbers = ["+492"]\n'
    )

    (problem,) = problems(file)
    assert problem.startswith(f"agent.on_failure in {file} ")


def test_files_are_found_from_where_the_configuration_is(file: Path) -> None:
    folder = file.parent / "acme"
    folder.mkdir()
    (folder / "prompt.txt").write_text("You answer for Acme.\n")
    (folder / "offhook.toml").write_text('[agent]\ninstructions_file = "prompt.txt"\n')
    config = load(folder / "offhook.toml", {})

    assert config.agent.instructions == "You answer for Acme."
    assert config.files == (folder / "offhook.toml", folder / "prompt.txt")


def test_instructions_written_for_an_agent_replace_those_of_an_inherited_file(file: Path) -> None:
    (file.parent / "prompt.txt").write_text("Of the file.")
    file.write_text(
        '[agent]\ninstructions_file = "prompt.txt"\n'
        '[agents.a]\nnumbers = ["+491"]\ninstructions = "Mine."\n'
    )

    assert load(file, {}).agents["a"].instructions == "Mine."
    assert load(file, {"OPENAI_INSTRUCTIONS": "Of the shell."}).agent.instructions == (
        "Of the shell."
    )


def test_none_takes_away_what_would_be_inherited(file: Path) -> None:
    file.write_text(
        '[agent]\nmax_silence_s = 5\ntransfer_to = "+491"\nreasoning_effort = "low"\n'
        '[agents.a]\nnumbers = ["+492"]\nmax_silence_s = "none"\ntransfer_to = ""\n'
        'reasoning_effort = "none"\nmodel = "gpt-realtime"\nmax_output_tokens = inf\n'
    )
    agent = load(file, {}).agents["a"]

    assert (agent.max_silence_s, agent.transfer_to, agent.reasoning_effort) == (None, None, None)
    assert agent.max_output_tokens == "inf"


def test_a_function_of_the_host_can_be_the_tool_choice() -> None:
    environ = {"OFFHOOK_AGENT_TOOL_CHOICE": "look_up"}

    assert load(None, environ, functions=["look_up"]).agent.tool_choice == "look_up"
    assert "did you mean hangup?" in problems(None, OFFHOOK_AGENT_TOOL_CHOICE="hang_up")[0]


def test_azure_is_recognised_by_its_host_and_shown_its_own_header() -> None:
    url = "https://acme.openai.azure.com/openai/v1/realtime?model=front-desk"
    settings = load(None, {"OPENAI_REALTIME_URL": url, "OPENAI_API_KEY": "k"}).openai

    assert settings.realtime_url == url.replace("https://", "wss://")
    assert auth_headers(settings, settings.realtime_url) == {"api-key": "k"}
    assert auth_headers(settings, "wss://api.openai.com") == {"authorization": "Bearer k"}
    forced = attrs.evolve(settings, auth="bearer")
    assert auth_headers(forced, settings.realtime_url) == {"authorization": "Bearer k"}
    # Recognisers there are deployments, too, and named by their owner.
    load(None, {"OPENAI_REALTIME_URL": url, "OFFHOOK_AGENT_TRANSCRIPTION": "ears"})


def test_settings_of_an_agent_can_be_read_by_themselves() -> None:
    base = AgentSettings(voice="sage")

    assert agent_settings({"speed": 1.5}, base) == attrs.evolve(base, speed=1.5)
    with pytest.raises(ConfigError) as refused:
        agent_settings({"sped": 1.5, "voice": "marine"}, place="my.yaml: agent")
    assert refused.value.problems[0] == "my.yaml: agent.sped is unknown; did you mean speed?"
    assert "did you mean marin?" in refused.value.problems[1]


def test_every_mistake_is_told_at_once(file: Path) -> None:
    file.write_text(
        '[agent]\nspeed = 2\nvoice = "marine"\nlanguage = "deu"\nthreshold = -1\n'
        '[agents.a]\nnumbers = ["0301"]\n[calls]\nmax_concurrent = 0\n'
    )

    assert len(problems(file, OFFHOOK_BIND="x", OPENAI_MAX_TOKENS="0")) == 8


def test_an_agent_that_no_number_leads_to_is_a_mistake_unless_it_is_disabled(file: Path) -> None:
    file.write_text("[agents.a]\nnumbers = []\n[agents.b]\nenabled = false\n")

    (problem,) = problems(file, OFFHOOK_AGENTS_C_VOICE="")
    assert problem.startswith(f"[agents.a] in {file} has no agents.a.numbers")
    (problem,) = problems(
        None, OFFHOOK_AGENTS_SALSE_VOICE="ash", OFFHOOK_AGENTS_SALES_NUMBERS="+491"
    )
    assert "did you mean sales?" in problem


def test_a_home_that_is_not_there_is_refused(file: Path) -> None:
    file.write_text('[agent]\ninstructions_file = "~nobody-at-all/x"\n')

    assert "nobody's home is '~nobody-at-all/x'" in problems(file)[0]


def test_keys_that_only_look_like_an_agents_are_refused(file: Path) -> None:
    file.write_text('[agents]\nvoice = "sage"\n')

    assert problems(file) == (
        f"agents.voice in {file} must stand in [agent] or in a section [agents.NAME]: agent.voice",
    )


def test_every_known_model_and_voice_of_the_official_client_is_known() -> None:
    """What it knows and we do not would be called unknown by the doctor."""
    model = RealtimeSessionCreateRequest.model_fields["model"].annotation
    named = {name for part in get_args(model) for name in get_args(part)}

    assert {name for name in named if "realtime" in name} <= MODELS.keys()


def test_every_number_has_its_bounds() -> None:
    numbers = {
        (section, key)
        for section, keys in KEYS.items()
        for key, kind in keys.items()
        if {int, float} & {kind, *get_args(kind)}
    }

    assert len(numbers) > 12
    assert numbers <= RULES.keys()


VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.sampled_from([10**400, -(10**400), 10**309]),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(
            ["inf", "none", "", "1e999", "nan", "+49", "sip:@", "http://[", "a@b", "*"]
        ),
        st.dates(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)


def told(read: Callable[[], object]) -> tuple[str, ...]:
    """Every mistake; none when it was taken."""
    try:
        read()
    except ConfigError as error:
        return error.problems or ("refused without a reason",)
    return ()


@given(st.sampled_from(sorted(KEYS["agent"])), VALUES)
def test_any_value_at_all_is_taken_or_refused_by_name(key: str, value: object) -> None:
    for problem in told(lambda: agent_settings({key: value})):
        assert problem.startswith("agent.")


@given(
    st.sampled_from(
        [f"OFFHOOK_{section}_{key}".upper() for section in KEYS for key in KEYS[section]]
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
def test_any_text_in_the_environment_is_taken_or_refused_by_name(name: str, text: str) -> None:
    _, section, key = name.lower().split("_", 2)
    for problem in told(lambda: load(None, {name: text})):
        assert problem.startswith((name, f"{section}.{key}", f"{section}.", "twilio."))


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_refused(text: str) -> None:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "offhook.toml"
        file.write_bytes(text.encode(errors="replace"))
        assert all(str(file) in problem for problem in told(lambda: load(file, {})))


def test_a_name_that_two_agents_have_a_claim_to_is_refused_and_both_are_named(
    tmp_path: Path,
) -> None:
    file = tmp_path / "offhook.toml"
    file.write_text(
        '[agents.sales]\nnumbers = ["+491"]\n[agents.sales_fallback]\nnumbers = ["+492"]\n'
    )
    (problem,) = problems(file, OFFHOOK_AGENTS_SALES_FALLBACK_MODEL="gpt-realtime-2.1-mini")

    assert problem.startswith("OFFHOOK_AGENTS_SALES_FALLBACK_MODEL")
    assert "agents.sales.fallback_model" in problem
    assert "agents.sales_fallback.model" in problem


@pytest.mark.parametrize(
    "url",
    [
        "http://models.example/v1?api-key=hush",
        "models.example/v1?api-key=hush",
        "wss://models.example/v1?api-key=hush#top",
        "wss://models.example /v1?api-key=hush",
    ],
)
def test_the_key_in_an_addresss_query_is_not_said_again(url: str) -> None:
    (problem,) = problems(None, OPENAI_REALTIME_URL=url)

    assert problem.startswith("OPENAI_REALTIME_URL")
    assert "hush" not in problem


@pytest.mark.parametrize(
    ("language", "meant"), [("german", "de"), ("Spanish", "es"), ("en-US", "en"), ("DE", "de")]
)
def test_a_language_by_another_name_is_known(language: str, meant: str) -> None:
    (problem,) = problems(None, OFFHOOK_AGENT_LANGUAGE=language)

    assert f"did you mean {meant}?" in problem


@pytest.mark.parametrize("name", ["day", "data", "Date", "callers"])
def test_what_is_nearly_woven_in_is_remarked_on(name: str) -> None:
    (remark,) = load(None, {"OFFHOOK_AGENT_INSTRUCTIONS": f"It is {{{name}}}."}).remarks()

    assert f"holds {{{name}}}" in remark

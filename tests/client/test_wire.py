"""Keys, projects and environment variables: what is sent, and where, over a real socket (for W&B with TLS)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import pytest
from kernels import Kernel
from service import GONE, Answer, Script, Service, Wandb, chunk, completion, refused

from wandb_inference_magic.client import stream
from wandb_inference_magic.errors import InferenceError
from wandb_inference_magic.session import current_session

pytestmark = pytest.mark.sdk

KEY = "wandb_v1_0123456789abcdefghij"
CHAT = "%load_ext wandb_inference_magic\n%wbchat --once hi"


def chat_with(start_kernel: Callable[..., Kernel], **variables: str) -> Kernel:
    kernel = start_kernel(**variables)
    run = kernel.run(CHAT)
    assert run.ok, run.text
    return kernel


@pytest.mark.short
def test_the_wandb_key_is_sent_to_wandb(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    chat_with(start_kernel, WANDB_API_KEY=KEY, **wandb.environment)
    assert set(wandb.connected_to) <= {wandb.API, wandb.FEED}, "the feed is fetched after the reply, without a key"
    assert wandb.api.last.headers["authorization"] == f"Bearer {KEY}"
    assert wandb.api.last.path == "/v1/chat/completions"
    assert wandb.api.last.body["model"] == "openai/gpt-oss-20b"
    assert "openai-project" not in wandb.api.last.headers


def test_the_cost_of_a_reply_is_known(start_api: Callable[..., ModuleType], wandb: Wandb) -> None:
    reply = start_api(WANDB_API_KEY=KEY, **wandb.environment).chat("hi")
    # 12 input tokens at 0.03 and 3 output tokens at 0.13 USD per million, according to the snapshot of 2026-10-07.
    assert reply.cost == pytest.approx((12 * 0.03 + 3 * 0.13) / 1e6)


def test_the_wandb_key_is_not_sent_to_another_endpoint(
    start_api: Callable[..., ModuleType], service: Service, environment: dict[str, str]
) -> None:
    home = Path(environment["HOME"])
    (home / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    (home / ".netrc").chmod(0o600)
    variables = {"WANDB_API_KEY": KEY, "COREWEAVE_API_KEY": KEY, "OPENAI_API_KEY": "sk-openai"}
    variables |= {"WANDB_ENTITY": "my-team", "WANDB_PROJECT": "secret-project"}
    start_api(**service.environment, **variables).chat("hi")
    assert "authorization" not in service.last.headers
    assert KEY not in str(service.last)
    assert "secret-project" not in str(service.last)


def test_the_key_of_an_endpoint_is_sent_to_it(start_api: Callable[..., ModuleType], service: Service) -> None:
    start_api(**service.environment, WANDB_INFERENCE_API_KEY="its-own", WANDB_API_KEY=KEY).chat("hi")
    assert service.last.headers["authorization"] == "Bearer its-own"


@pytest.mark.short
def test_openai_environment_variables_are_not_used(start_kernel: Callable[..., Kernel], wandb: Wandb) -> None:
    openai_variables = {
        "OPENAI_API_KEY": "sk-openai-1",
        "OPENAI_ORG_ID": "org-openai-2",
        "OPENAI_PROJECT_ID": "proj-openai-3",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/openai-4",
        "OPENAI_ADMIN_KEY": "sk-openai-5",
        "OPENAI_CUSTOM_HEADERS": "X-Secret: openai-6 é\nAuthorization: Bearer openai-7",
    }
    kernel = chat_with(start_kernel, WANDB_API_KEY=KEY, **openai_variables, **wandb.environment)
    kernel.run("%wbmodels")
    # Also with copies of the client that a user makes: the SDK reads the environment again for each copy.
    kernel.run("from wandb_inference_magic import client\nclient().with_options(timeout=5).models.list()")
    assert len(wandb.api.received) == 3
    for request in wandb.api.received:
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert "openai-" not in " ".join(request.headers.values())
        assert not {"openai-organization", "openai-project", "x-secret"} & set(request.headers)


@pytest.mark.parametrize(
    "variables",
    [
        {"WANDB_INFERENCE_PROJECT": "my-team/my.project_1"},
        {"WANDB_ENTITY": "my-team", "WANDB_PROJECT": "my.project_1"},
    ],
    ids=["own", "both"],
)
def test_the_project_is_sent(start_api: Callable[..., ModuleType], wandb: Wandb, variables: dict[str, str]) -> None:
    start_api(WANDB_API_KEY=KEY, **variables, **wandb.environment).chat("hi")
    assert wandb.api.last.headers["openai-project"] == "my-team/my.project_1"


def test_a_malformed_project_is_refused_before_anything_is_sent(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    api = start_api(WANDB_API_KEY=KEY, WANDB_INFERENCE_PROJECT="just-a-team", **wandb.environment)
    with pytest.raises(InferenceError) as caught:
        api.chat("hi")
    assert "WANDB_INFERENCE_PROJECT" in str(caught.value)
    assert "team/project" in str(caught.value)
    assert wandb.connected_to == []


def test_requests_name_this_package_to_the_service(api: ModuleType, service: Service) -> None:
    service.then(completion("Good."), completion("Good."))
    api.chat("hi")
    api.client().chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert {one.headers["user-agent"] for one in service.received} == {f"wandb-inference-magic/{api.__version__}"}


def test_a_copy_of_the_package_without_its_metadata_sends_requests_too(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a worker of Spark, in a frozen program, in a course's repository: only the package's folder is there."""

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    service.always = completion("Good.")
    assert api.chat("hi").text == "Good."
    api.client().chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert {one.headers["user-agent"] for one in service.received} == {"wandb-inference-magic"}


def test_a_recorded_reply_is_not_compressed_whatever_the_user_asks_for(
    api: ModuleType, service: Service, tmp_path: Path
) -> None:
    current_session().settings.set(cassette=str(tmp_path / "talk.jsonl"), cassette_mode="record")
    service.always = completion("Good.")
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    api.client().chat.completions.create(**asked, extra_headers={"Accept-Encoding": "gzip"})
    assert service.last.headers["accept-encoding"] == "identity"


def test_a_key_that_the_users_code_gives_is_sent(start_api: Callable[..., ModuleType], service: Service) -> None:
    api = start_api(**service.environment, WANDB_INFERENCE_API_KEY="its-own")
    service.always = completion("Good.")
    chats = api.client().chat.completions
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    api.client().with_options(api_key="another").chat.completions.create(**asked)
    chats.create(**asked, extra_headers={"Authorization": "Bearer mine"})
    chats.create(**asked)
    keys = [one.headers["authorization"] for one in service.chats]
    assert keys == ["Bearer another", "Bearer mine", "Bearer its-own"]


@pytest.mark.short
def test_one_client_is_shared_and_rebuilt_only_when_its_settings_change(kernel: Kernel, service: Service) -> None:
    kernel.run("from wandb_inference_magic import client, chat\nfirst = client()")
    kernel.run("%wbchat hi\n%config WandbInference.temperature = 0.5\n%wbconfig --model test/model-b")
    assert kernel.value("client() is first") is True
    kernel.run("%wbconfig --timeout 33")
    # The first one may still be in use.
    assert kernel.value("(client() is first, first.is_closed(), client().timeout.read)") == (False, False, 33.0)
    kernel.run("%wbconfig --project a/b")
    kernel.run("r = chat('from Python', max_tokens=5, top_k=3)")
    assert service.last.headers["openai-project"] == "a/b"
    assert service.last.body["max_tokens"] == 5
    assert service.last.body["top_k"] == 3
    assert service.last.body["model"] == "test/model-b"


def test_a_client_that_one_thread_closes_stays_open_for_the_others(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    api = start_api(**service.environment)
    kept = api.client()
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    with api.client() as mine, mine.with_options(timeout=5) as copied:
        mine.chat.completions.create(**asked)
        copied.chat.completions.create(**asked)
    kept.chat.completions.create(**asked)
    assert api.client() is kept
    assert len(service.chats) == 3


INVALID_CALLS = {
    "chat('real', messages=[{'role': 'user', 'content': 'other'}])": "messages is not set",
    "chat('real', api_key='sk-real')": "%wbconfig --key",
    "chat('real', timeout=5)": "%wbconfig --timeout",
    "chat('real', n=2)": "n is not set",
    "chat('real', response_model=int)": "response_model is not set",
    "chat('real', extra_body={'top_k': 3})": "top_k=20",
    "chat('real', extra_headers={'X': '1'})": "client().with_options",
    "chat('real', models=['a/b'])": "Give `model`",
    "map_prompts(['a'], '{{ text }}', stream=False)": "Only a chat",
    "map_prompts(['a'], '{{ text }}', api_key='sk-real')": "%wbconfig --key",
    "evaluate(['a'], '{{ text }}', truth='text', models=['test/x'], model='test/y')": "Give `models`",
}


@pytest.mark.parametrize("call", INVALID_CALLS)
def test_an_argument_that_is_not_a_parameter_is_refused(api: ModuleType, service: Service, call: str) -> None:
    names = {name: getattr(api, name) for name in ("chat", "evaluate", "map_prompts")}
    with pytest.raises(InferenceError) as caught:
        eval(call, names)
    assert INVALID_CALLS[call] in str(caught.value)
    assert "sk-real" not in str(caught.value)
    assert service.received == []


def test_options_of_the_magics_are_arguments_in_python(api: ModuleType, service: Service) -> None:
    service.then(completion("no JSON"))
    with pytest.raises(InferenceError, match="does not fit"):
        api.chat("hi", schema="ok bool", repair=False, stream=False)
    assert len(service.chats) == 1
    assert "repair" not in service.last.body
    api.evaluate([{"q": "a", "y": "b"}], "{{ q }}", truth="y", models=["test/x"], think="low", cache=False)
    assert service.last.body["reasoning_effort"] == "low"
    assert "think" not in service.last.body


def test_a_key_file_is_used(start_kernel: Callable[..., Kernel], wandb: Wandb, environment: dict[str, str]) -> None:
    netrc = Path(environment["HOME"]) / ".netrc"
    netrc.write_text(f"machine api.forge.coreweave.com\n  login user\n  password {KEY}\n")
    netrc.chmod(0o600)
    kernel = chat_with(start_kernel, **wandb.environment)
    assert wandb.api.last.headers["authorization"] == f"Bearer {KEY}"
    shown = kernel.run("%wbconfig").text
    assert "~/.netrc (api.forge.coreweave.com)" in shown
    assert KEY not in shown


def test_a_redirect_is_not_followed(start_api: Callable[..., ModuleType], service: Service, wandb: Wandb) -> None:
    wandb.api.then(lambda answer: answer.json({}, 307, Location=f"{service.url}/chat/completions"))
    with pytest.raises(InferenceError, match="redirected") as refused_by:
        start_api(WANDB_API_KEY=KEY, **wandb.environment).chat("hi")
    assert service.received == []
    # W&B's own address is right.
    assert "sign in to its network" in refused_by.value.remedy
    assert "--endpoint" not in refused_by.value.remedy


@pytest.mark.parametrize(
    ("status", "begins"),
    [
        *((status, b"<html><head><title>Hotel: sign in</title></head>") for status in (200, 302, 403, 511)),
        (200, b'<META HTTP-EQUIV="REFRESH" CONTENT="0;url=https://portal.example">'),
        (200, b"\n<script>top.location='https://portal.example'</script>"),
    ],
)
def test_a_sign_in_page_of_the_network_ends_a_map(
    start_api: Callable[..., ModuleType], wandb: Wandb, status: int, begins: bytes
) -> None:
    def sign_in(answer: Answer) -> None:
        answer.start(status, "text/html", Location="https://portal.example/login")
        answer.raw(begins + b"<body>Welcome</body></html>")
        answer.end()

    wandb.api.always = sign_in
    with pytest.raises(InferenceError, match=r"sign-in page") as failure:
        start_api(WANDB_API_KEY=KEY, **wandb.environment).map_prompts(["a", "b", "c"], "{{ text }}")
    assert failure.value.cause == "network"


def test_a_401_names_the_source_of_the_key_and_the_project_and_a_402_the_billing_page(
    start_api: Callable[..., ModuleType], wandb: Wandb
) -> None:
    api = start_api(WANDB_API_KEY=KEY, WANDB_INFERENCE_PROJECT="my-team/my-project", **wandb.environment)
    wandb.api.then(refused(401, "Authentication failed"), refused(402, "You exceeded your current quota"))
    with pytest.raises(InferenceError) as caught:
        api.chat("hi")
    for expected in ("The key came from: WANDB_API_KEY.", "my-team/my-project", "forge.coreweave.com/settings"):
        assert expected in str(caught.value)
    with pytest.raises(InferenceError, match=r"forge\.coreweave\.com/subscriptions"):
        api.chat("hi")
    wandb.api.then(refused(404, "The requested resource was not found"))
    with pytest.raises(InferenceError, match="Did you mean openai/gpt-oss-20b"):
        api.chat("hi", model="openai/gpt-oss-20")


def call_with_client(api: ModuleType, url: str) -> None:
    """Send a chat to this address with the user's own client."""
    client = api.client().with_options(base_url=url, max_retries=0)
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])


def test_cookies_of_a_service_are_not_sent_back(start_api: Callable[..., ModuleType], service: Service) -> None:
    def with_cookie(one: Answer) -> None:
        message = {"role": "assistant", "content": "Hello."}
        one.json({"choices": [{"finish_reason": "stop", "message": message}]}, set_cookie="user=J\u00fcrgen; Path=/")

    api = start_api(**service.environment)
    service.always = with_cookie
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    for _ in range(2):
        assert api.chat("hi").text == "Hello."
        assert api.client().chat.completions.create(**asked).choices[0].message.content == "Hello."
    assert not [one for one in service.chats if "cookie" in one.headers]


def test_a_prompt_with_the_key_of_another_service_is_not_sent(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    own = "the-key-of-this-endpoint"
    api = start_api(**service.environment, WANDB_INFERENCE_API_KEY=own, WANDB_API_KEY=KEY)
    with pytest.raises(InferenceError, match=r"of another service in it.* value of WANDB_API_KEY") as raised:
        api.chat(f"What is wrong? WANDB_API_KEY={KEY}")
    assert KEY not in str(raised.value)
    asked = {"model": "m", "messages": [{"role": "user", "content": KEY}]}
    with pytest.raises(InferenceError, match="Nothing was sent"):
        api.client().with_options(max_retries=0).chat.completions.create(**asked)
    assert service.chats == []
    assert current_session().usage.total().calls == 0
    # Its own key tells the endpoint nothing new, and a row without a key is sent.
    answers = api.map_prompts([{"a": KEY}, {"a": own}], "{{ a }}")
    assert answers["reply"].isna().tolist() == [True, False]
    assert "Nothing was sent" in answers["reply_error"][0]
    assert len(service.chats) == 1


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "azure_client_secret", "A_TOKEN_2"]
)
def test_a_prompt_with_a_secret_of_the_environment_is_not_sent(
    start_api: Callable[..., ModuleType], wandb: Wandb, name: str
) -> None:
    secret = "hf_abcdefghijklmnopqrstuv"
    # A public key, a short secret and the endpoint's own key are sent.
    others = {"GPG_KEY": "E3FF2839C048B25C084DEBE9B26995E310250568", "MY_TOKEN": "of-19-characters-ab", "W_TOKEN": KEY}
    # So are a path, an address and what stands for a secret.
    others |= {"P_TOKEN": "/var/run/secrets/kubernetes.io/token", "U_TOKEN": "https://h.example/of/the/token"}
    others |= {"B_API_KEY": "your_openai_api_key_here"}
    variables = {**wandb.environment, "WANDB_API_KEY": KEY, name: f'{secret} "\u00e9\n', **others}
    api = start_api(**variables)
    for prompt in (str(dict(os.environ)), json.dumps(dict(os.environ)), os.environ[name]):
        with pytest.raises(InferenceError, match=f"holds the value of {name}") as raised:
            api.chat(prompt)
        assert secret not in str(raised.value)
    assert wandb.api.chats == []
    for value in others.values():
        api.chat(f"What is {value}?")
    assert len(wandb.api.chats) == len(others)


def test_the_key_is_not_sent_to_another_port_of_the_host(
    start_api: Callable[..., ModuleType], service: Service
) -> None:
    variables = {"WANDB_INFERENCE_BASE_URL": service.url, "WANDB_INFERENCE_API_KEY": KEY, "WANDB_INFERENCE_MODEL": "m"}
    with Service().running() as other:
        other.always = completion("Hello.")
        api = start_api(**variables)
        api.chat("hi")
        call_with_client(api, other.url)
        assert KEY not in str(other.last)
    service.always = completion("Hello.")
    call_with_client(api, service.url)
    assert service.last.headers["authorization"] == f"Bearer {KEY}"


def test_the_key_is_not_sent_unencrypted(start_api: Callable[..., ModuleType], service: Service, wandb: Wandb) -> None:
    service.always = completion("Hello.")
    proxy = service.url.removesuffix("/v1")
    api = start_api(WANDB_API_KEY=KEY, HTTP_PROXY=proxy, **wandb.environment)
    api.chat("hi")
    call_with_client(api, f"http://{wandb.API}/v1")
    assert service.last.headers["host"] == wandb.API
    assert KEY not in str(service.last)
    call_with_client(api, f"https://{wandb.API}:443/v1")
    assert wandb.api.last.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("host", ["bücher.example", "xn--bcher-kva.example", "BÜCHER.example"])
def test_an_internationalized_host_receives_its_key(
    start_api: Callable[..., ModuleType], service: Service, host: str
) -> None:
    variables = {
        "WANDB_INFERENCE_API_KEY": KEY,
        "WANDB_INFERENCE_MODEL": "m",
        "HTTP_PROXY": service.url.removesuffix("/v1"),
    }
    start_api(WANDB_INFERENCE_BASE_URL=f"http://{host}/v1", **variables).chat("hi")
    assert service.last.headers["host"] == "xn--bcher-kva.example"
    assert service.last.headers["authorization"] == f"Bearer {KEY}"


def kept_alive(left: Event, *chunks: dict[str, Any]) -> Script:
    """A script: these chunks, and then keep-alives alone. `left` is set when the client has closed the connection."""

    def answer(one: Answer) -> None:
        one.start()
        for each in chunks:
            one.event(each)
        try:
            for _ in range(400):
                one.raw(b": ping\n\n")
                left.wait(0.05)
        except GONE:
            left.set()
            raise

    return answer


def test_keep_alives_do_not_keep_a_finished_reply_open(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway sends them for as long as the connection is open, and no end of the stream."""
    monkeypatch.setattr(stream, "SECONDS_AFTER_FINISH", 0.3)
    left = Event()
    service.then(kept_alive(left, chunk({"content": "Full answer."}), chunk({}, "stop")))
    assert api.chat("hi").text == "Full answer."
    assert left.wait(60), "the connection was closed, not read to its end"


def test_a_stream_of_keep_alives_alone_ends_after_several_timeouts(
    api: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each renews the time-out of the HTTP library."""
    monkeypatch.setattr(stream, "TIMEOUTS_OF_SILENCE", 0.3)
    current_session().settings.set(timeout=1, max_retries=0)
    left = Event()
    service.then(kept_alive(left, chunk({"content": "Half"})))
    with pytest.raises(InferenceError, match="sent nothing in time") as raised:
        api.chat("hi")
    assert raised.value.partial.text == "Half"
    assert left.wait(60)

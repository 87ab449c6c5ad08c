"""What the server gives out besides the page: its API, its health, no files, and one clear word when it is busy."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from vip_demo import bundled_adapter, inspect
from vip_demo.app import BUSY, WAITING
from vip_demo.guard import LARGEST_BODY
from vip_demo.upload import LARGEST_FILE
from vip_train import load_adapter

SOUP = "I tried it twice, and each time the soup was awful."
POWER = "How high is the power bill, we asked, and were shown."


@pytest.fixture(scope="module")
def client(served: str) -> Client:
    return Client(served, verbose=False)


def ask(client: Client, endpoint: str, **given: object) -> Any:
    return client.predict(api_name=f"/{endpoint}", **given)


def test_says_that_it_is_there(served: str) -> None:
    assert httpx.get(f"{served}/health").json() == {"status": "ok"}


def test_names_and_describes_its_endpoints(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/adapters", "/inspect", "/compare", "/what_if", "/effects", "/code", "/data_set"}
    assert [parameter["parameter_name"] for parameter in named["/inspect"]["parameters"]] == ["adapter", "text", "how", "seed"]


def test_lists_the_adapters(client: Client) -> None:
    listed = {adapter["name"]: adapter for adapter in ask(client, "adapters")}
    assert list(listed) == ["bundled", "a/adapter", "b/adapter", "c"]
    assert (listed["bundled"]["method"], listed["bundled"]["codes"], listed["b/adapter"]["codes"]) == ("vip", 12, 0)
    assert "format_version" in listed["c"]["problem"]


def test_inspects_as_the_layer_below(client: Client) -> None:
    found = ask(client, "inspect", adapter="bundled", text=SOUP, how="expected", seed=0)
    expected = inspect(load_adapter(bundled_adapter()), [SOUP])[0]
    assert (found["answer"], tuple(found["codes"]), tuple(found["words"])) == (expected.answer, expected.code_U, expected.words)
    assert found["probability"] == pytest.approx(expected.probability, abs=1e-4)
    for row, weight_U in zip(found["weights"], expected.weight_PU.tolist(), strict=True):
        assert row == pytest.approx(weight_U, abs=1e-4)
    assert found["problem"] == ""


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"text": ""}, "no text yet"),
        ({"text": "x" * 20_001}, "at most 20,000"),
        ({"adapter": "/etc"}, "There is no adapter '/etc' here."),
        ({"seed": -3, "how": "sample"}, "The seed must be from 0"),
        ({"how": "best"}, "how='best'"),
        ({"seed": "x"}, "seed='x' must be a whole number"),
        ({"seed": True}, "must be a whole number"),
        ({"text": 5}, "text must be text, int was found"),
        ({"adapter": ["bundled"]}, "adapter must be text, list was found"),
    ],
)
def test_one_wrong_question_spoils_no_other(client: Client, given: dict[str, object], problem: str) -> None:
    question = {"adapter": "bundled", "text": SOUP, "how": "expected", "seed": 0}
    jobs = [client.submit(api_name="/inspect", **asked) for asked in (question, {**question, **given}, question)]
    first, wrong, last = (job.result(timeout=60) for job in jobs)
    assert first["problem"] == last["problem"] == ""
    assert problem in wrong["problem"]


@pytest.mark.parametrize(
    ("endpoint", "given", "problem"),
    [
        ("compare", {"first": SOUP, "second": ""}, "The second input: There is no text yet"),
        ("compare", {"first": 3, "second": SOUP}, "text must be text, int was found"),
        ("what_if", {"text": SOUP, "codes": []}, "one is needed"),
        ("what_if", {"text": SOUP, "codes": "12"}, "codes must be a list"),
        ("what_if", {"text": SOUP, "codes": [True]}, "codes=True must be a whole number"),
        ("what_if", {"text": SOUP, "codes": [99]}, "There is no code 99: this codebook has 0 to 11"),
        ("what_if", {"text": SOUP, "codes": [1], "force": "no"}, "force='no' must be true or false"),
        ("effects", {"text": SOUP, "adapter": "b<c"}, "There is no adapter 'b<c' here."),
        ("code", {"code": "3"}, "code='3' must be a whole number"),
        ("code", {"code": 99}, "There is no code 99"),
        ("data_set", {"rows": "abc"}, "rows must be a list"),
        ("data_set", {"rows": ["a"]}, r"rows[0] must be an object, str was found"),
        ("data_set", {"rows": [{"source": None}]}, "rows[0].source must be text, NoneType was found"),
        ("data_set", {"rows": [{"source": "x"}] * 2_001}, "there are 2,001, at most 2,000"),
    ],
)
def test_a_wrong_argument_is_a_sentence(client: Client, endpoint: str, given: dict[str, object], problem: str) -> None:
    with pytest.raises(AppError) as caught:
        ask(client, endpoint, **{"adapter": "bundled", **given})
    assert problem in str(caught.value)


def test_compares(client: Client) -> None:
    found = ask(client, "compare", adapter="bundled", first=SOUP, second=POWER)
    assert 0.5 < found["code_distance"] <= 1
    assert (found["first"]["answer"], found["second"]["problem"]) == ("no", "")


def test_switches_codes(client: Client) -> None:
    code = ask(client, "inspect", adapter="bundled", text=SOUP, how="expected", seed=0)["codes"][0]
    found = ask(client, "what_if", adapter="bundled", text=SOUP, codes=[code])
    assert found["codes_off"] == [code]
    assert code not in found["after"]["codes"]
    assert found["distance"] > 0.2
    each = ask(client, "effects", adapter="bundled", text=SOUP)
    assert each[0]["codes_off"] == [code]
    assert each[0]["distance"] == pytest.approx(found["distance"], abs=1e-4)
    assert ask(client, "what_if", adapter="bundled", text=SOUP, codes=[code], force=True)["after"]["codes"] == [code]


def test_tells_of_a_code_and_of_data(client: Client) -> None:
    whole = ask(client, "data_set", adapter="bundled", rows=[])
    assert (whole["texts"], whole["built_in"]) == (300, True)
    code = whole["codes"][0]["code"]
    found = ask(client, "code", adapter="bundled", code=code)
    assert found["share"] == pytest.approx(whole["codes"][0]["share"])
    assert found["nearest_words"]
    own = ask(client, "data_set", adapter="bundled", rows=[{"source": SOUP, "target": "no"}, {"source": ""}])
    assert (own["texts"], own["accuracy"], len(own["skipped"])) == (1, 1.0, 1)
    assert (own["label_bits"], own["domain_bits"]) == (0.0, None), "one label tells nothing, no domain cannot be asked"


def test_serves_no_file_of_the_machine(served: str) -> None:
    for path in ("/etc/passwd", str(bundled_adapter() / "adapter_config.json"), "pyproject.toml", "../../etc/passwd"):
        for form in (f"/gradio_api/file={path}", f"/file={path}", f"/gradio_api/file/{path}"):
            answer = httpx.get(served + form)
            assert answer.status_code in (403, 404), (form, answer.status_code)
    assert httpx.get(f"{served}/gradio_api/proxy=https://example.com/").status_code >= 400


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x", " HTTPS://example.com/x"])
def test_no_request_has_it_fetch_an_address(served: str, address: str) -> None:
    text = {"path": address, "meta": {"_type": "gradio.FileData"}}
    for body in ({"data": ["bundled", text, "expected", 0]}, {"data": [["bundled", [{"a": text}]]]}):
        answer = httpx.post(f"{served}/gradio_api/call/inspect", json=body)
        assert (answer.status_code, answer.json()) == (
            400,
            {"detail": "Files are uploaded here and not fetched from an address."},
        )


def test_a_request_that_is_too_large_is_not_read(served: str) -> None:
    content = b'{"data": ["' + b"x" * LARGEST_BODY + b'"]}'
    for sent in (content, iter([content[: len(content) // 2], content[len(content) // 2 :]])):
        answer = httpx.post(f"{served}/gradio_api/call/inspect", content=sent, headers={"content-type": "application/json"})
        assert answer.status_code == 413


def test_a_file_that_is_too_large_is_not_taken(served: str) -> None:
    answer = httpx.post(f"{served}/gradio_api/upload", files={"files": ("a.csv", b"x" * (LARGEST_FILE + 1))}, timeout=60)
    assert answer.status_code == 413


HELD = """
import signal, sys, threading
from pathlib import Path
from vip_demo.app import build_app, launch
from vip_demo.service import Service

gate, inspect = threading.Event(), Service.inspect

def held(self, questions):
    print("going", flush=True)
    assert gate.wait(240)
    return inspect(self, questions)

def broken(self, name, **_):
    raise ValueError("a secret of the machine")

Service.inspect, Service.survey = held, broken
signal.signal(signal.SIGUSR1, lambda *_: gate.set())
page = build_app({"vip": Path(sys.argv[1])})
print(launch(page, host="127.0.0.1", port=int(sys.argv[2])), flush=True)
page.block_thread()
"""


@pytest.fixture
def held(vip: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A page whose model waits for a signal, and which cannot look through data."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-u", "-c", HELD, str(vip), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process:
        assert process.stdout is not None
        try:
            said = next(line for line in process.stdout if "Warning" not in line)
            assert said.startswith("http://127.0.0.1:")
            yield said.strip().rstrip("/"), process
        finally:
            process.kill()


def test_says_that_it_is_busy_when_the_queue_is_full(held: tuple[str, subprocess.Popen[str]]) -> None:
    address, process = held
    assert process.stdout is not None
    with httpx.Client(base_url=address, timeout=60) as http:

        def post() -> httpx.Response:
            return http.post("/gradio_api/call/inspect", json={"data": ["vip", "red dog", "expected", 0]})

        first = post()
        assert first.status_code == 200
        assert "going\n" in process.stdout
        waiting = [post() for _ in range(WAITING)]
        assert {answer.status_code for answer in waiting} == {200}
        refused = post()
        assert (refused.status_code, refused.json()) == (503, {"detail": BUSY})
        assert refused.headers["retry-after"] == "2"
        process.send_signal(signal.SIGUSR1)
        for answer in (first, *waiting):
            events = http.get(f"/gradio_api/call/inspect/{answer.json()['event_id']}").text
            assert "event: complete" in events
        assert post().status_code == 200


def test_what_nobody_foresaw_is_logged_and_not_told(held: tuple[str, subprocess.Popen[str]]) -> None:
    address, process = held
    assert process.stdout is not None
    with pytest.raises(AppError, match="the operator finds it in the log"):
        Client(address, verbose=False).predict("vip", [], api_name="/data_set")
    assert "ValueError: a secret of the machine\n" in process.stdout

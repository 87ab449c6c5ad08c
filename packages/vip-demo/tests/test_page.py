"""The page in a real browser: what a person sees, and that it asks no other machine for anything."""

import json
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from vip_train import TASKS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")]
expect = playwright.expect
expect.set_options(timeout=60_000)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no other host can be reached
]
TEXT = "The guest Anna arrives on Monday, takes the red room and brings a dog."
MARKUP = "<img src=nowhere onerror=alert(1)>"
START_LIMIT = 300  # seconds; most of it is importing torch and gradio


@pytest.fixture(scope="module")
def served(make_adapter: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the page, served by the command itself in a process of its own."""
    root = tmp_path_factory.mktemp("runs")
    make_adapter("vip", folder=root / "a" / "adapter", tokens=10)
    make_adapter("pt", folder=root / "b" / "adapter")
    (root / "c").mkdir()
    (root / "c" / "adapter_config.json").write_text(json.dumps({"format_version": MARKUP}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-u", "-m", "vip_demo", "--adapters", str(root), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=lambda: [lines.put(line) for line in chain(process.stdout or (), [None])])
    reader.start()
    try:
        address = f"http://127.0.0.1:{port}"
        said = lines.get(timeout=START_LIMIT)
        while said is not None and address not in said:
            said = lines.get(timeout=START_LIMIT)
        assert said is not None, "the command ended before it served the page"
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)
        reader.join(timeout=30)
        if process.stdout:
            process.stdout.close()


@pytest.fixture(scope="module")
def context() -> Iterator["playwright.BrowserContext"]:
    """One for all tests, so that the page's scripts are read once."""
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_context(viewport={"width": 1280, "height": 1100})
        browser.close()


@pytest.fixture
def page(context: "playwright.BrowserContext", served: str) -> Iterator["playwright.Page"]:
    """An open page. Asking another host for anything fails the test, as does an error in the page."""
    asked: set[str | None] = set()
    faults: list[str] = []
    opened = context.new_page()
    opened.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
    opened.on("websocket", lambda socket: asked.add(urlsplit(socket.url).hostname))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    opened.goto(served)
    yield opened
    opened.close()
    assert asked == {"127.0.0.1"}
    assert faults == []


def predict(page: "playwright.Page", text: str = TEXT) -> None:
    # The first example fills the box when the page has loaded; typing before that would be overwritten.
    expect(page.locator("#input textarea")).not_to_have_value("")
    page.locator("#input textarea").fill(text)
    page.locator("#predict").click()


def choose(page: "playwright.Page", adapter: str) -> None:
    expect(page.locator("#input textarea")).not_to_have_value("")
    page.get_by_role("combobox", name="Adapter").click()
    page.get_by_role("option", name=adapter, exact=True).click()
    expect(page.get_by_role("combobox", name="Adapter")).to_have_value(adapter)


def screenshot(page: "playwright.Page", tmp_path: Path, name: str) -> None:
    folder = Path(os.environ.get("VIP_SCREENSHOT_DIR", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def test_shows_answer_and_heat_map(page: "playwright.Page", tmp_path: Path) -> None:
    predict(page)
    expect(page.locator("#answer textarea")).to_have_value(re.compile("|".join(TASKS["notes"].answers)))
    expect(page.locator("#probability")).to_contain_text("%")
    expect(page.locator("#summary")).to_contain_text(re.compile(r"Code perplexity \d+\.\d of at most 60"))

    cells = page.locator("#heat-map .heatmaplayer image")
    expect(cells).to_be_visible()
    box = cells.bounding_box()
    assert box is not None
    assert box["width"] > 600
    assert box["height"] > 200
    for title in ("code, the most used first", "prompt token", "weight"):
        expect(page.locator("#heat-map").get_by_text(title, exact=True)).to_be_visible()
    expect(page.locator("#heat-map .textpoint").first).to_have_text(re.compile(r"^\.\d\d$"))
    screenshot(page, tmp_path, "page")


def test_axis_labels_are_whole_and_apart(page: "playwright.Page") -> None:
    predict(page)
    drawing = page.locator("#heat-map .main-svg").first
    expect(page.locator("#heat-map .xtick")).to_have_count(40)
    expect(page.locator("#heat-map .ytick")).to_have_count(10)
    outer = drawing.bounding_box()
    assert outer is not None
    for axis, start, size in (("x", "x", "width"), ("y", "y", "height")):
        boxes = [label.bounding_box() for label in page.locator(f"#heat-map .{axis}tick text").all()]
        boxes.sort(key=lambda box: box[start])
        for box in boxes:
            assert box["x"] >= outer["x"]
            assert box["y"] + box["height"] <= outer["y"] + outer["height"]
        for box, following in pairwise(boxes):
            assert box[start] + box[size] <= following[start] + 1  # pixel, for rounding


@pytest.mark.parametrize(("theme", "dark_text"), [("light", True), ("dark", False)])
def test_axis_text_is_legible_in_both_themes(
    page: "playwright.Page", served: str, theme: str, dark_text: bool, tmp_path: Path
) -> None:
    page.goto(f"{served}/?__theme={theme}")
    predict(page)
    title = page.locator("#heat-map").get_by_text("prompt token", exact=True)
    expect(title).to_be_visible()
    fill = title.evaluate("element => getComputedStyle(element).fill")
    brightness = sum(map(int, re.findall(r"\d+", fill)[:3])) / 3
    assert (brightness < 110) if dark_text else (brightness > 180), fill
    screenshot(page, tmp_path, theme)


def test_argmax_draws_one_code_per_token(page: "playwright.Page") -> None:
    predict(page)
    expect(page.locator("#summary")).to_contain_text("Selection: expected")
    page.get_by_label("argmax").check()
    expect(page.locator("#summary")).to_contain_text("Selection: argmax")
    expect(page.locator("#heat-map .textpoint")).to_have_text(["1.00"] * 10)


def test_seed_is_offered_for_sampling_alone(page: "playwright.Page") -> None:
    seed = page.get_by_label("Seed of the draws")
    expect(seed).to_be_hidden()
    page.get_by_label("sample").check()
    expect(seed).to_be_visible()


def test_an_example_fills_the_box_and_runs(page: "playwright.Page") -> None:
    example = page.locator("#examples label").nth(1)
    expect(example).to_have_text(re.compile(r"\. \(\w+\)$"))
    text = example.inner_text().rpartition(" (")[0].strip()
    for _ in range(2):
        page.locator("#input textarea").fill("something else")
        example.click()
        expect(page.locator("#input textarea")).to_have_value(text)
    expect(page.locator("#heat-map .heatmaplayer image")).to_be_visible()


def test_says_that_pt_has_no_codebook(page: "playwright.Page") -> None:
    choose(page, "b/adapter")
    predict(page)
    expect(page.locator("#summary")).to_contain_text("This adapter has no codebook to show")
    expect(page.locator("#heat-map .heatmaplayer image")).to_have_count(0)


def test_markup_is_shown_and_not_obeyed(page: "playwright.Page") -> None:
    predict(page, MARKUP)
    expect(page.locator("#heat-map .heatmaplayer image")).to_be_visible()
    choose(page, "c")
    expect(page.get_by_text(MARKUP)).to_be_visible()
    assert page.locator("img[src=nowhere]").count() == 0


@pytest.mark.parametrize(("text", "sentence"), [(" ", "There is no text yet"), ("dog " * 70, "The text has 71 tokens")])
def test_a_bad_text_gets_a_sentence(page: "playwright.Page", text: str, sentence: str, tmp_path: Path) -> None:
    predict(page)
    expect(page.locator("#heat-map .heatmaplayer image")).to_be_visible()
    predict(page, text)
    expect(page.get_by_text(sentence)).to_be_visible()
    expect(page.locator("#heat-map .heatmaplayer image")).to_have_count(0)
    expect(page.locator("#answer textarea")).to_have_value("")
    screenshot(page, tmp_path, "refused")

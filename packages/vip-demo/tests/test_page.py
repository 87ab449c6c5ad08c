"""The page in a real browser: what a person sees, and that it asks no other machine for anything."""

import os
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

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


@pytest.fixture
def phone(page: "playwright.Page") -> "playwright.Page":
    """The same page on a phone."""
    page.set_viewport_size({"width": 390, "height": 844})
    return page


def filled(page: "playwright.Page") -> None:
    """Waits for the first example: it fills the box when the page has loaded, and typing before would be overwritten."""
    expect(page.locator("#input textarea")).not_to_have_value("")


def predict(page: "playwright.Page", text: str = TEXT) -> None:
    filled(page)
    page.locator("#input textarea").fill(text)
    page.locator("#predict").click()


def choose(page: "playwright.Page", adapter: str) -> None:
    filled(page)
    page.get_by_role("combobox", name="Adapter").click()
    page.get_by_role("option", name=adapter, exact=True).click()
    expect(page.get_by_role("combobox", name="Adapter")).to_have_value(adapter)


def open_tab(page: "playwright.Page", name: str) -> None:
    filled(page)
    page.get_by_role("tab", name=name, exact=True).click()


def drawn(page: "playwright.Page", plot: str) -> "playwright.Locator":
    """Waits for a picture."""
    picture = page.locator(f"#{plot} .main-svg").first
    expect(picture).to_be_visible()
    return picture


def screenshot(page: "playwright.Page", tmp_path: Path, name: str) -> None:
    folder = Path(os.environ.get("VIP_SCREENSHOT_DIR", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def test_opens_with_an_example_answered_and_drawn(page: "playwright.Page", tmp_path: Path) -> None:
    expect(page.locator("#answer textarea")).to_have_value(re.compile("yes|no|true|false"))
    expect(page.locator("#probability")).to_contain_text("%")
    expect(page.locator("#summary")).to_contain_text(re.compile(r"Code perplexity \d+\.\d of at most 12"))
    cells = page.locator("#heat-map .heatmaplayer image")
    expect(cells).to_be_visible()
    box = cells.bounding_box()
    assert box is not None
    assert box["width"] > 600
    for title in ("code, the most used first", "prompt token", "weight"):
        expect(page.locator("#heat-map").get_by_text(title, exact=True)).to_be_visible()
    expect(page.locator("#heat-map .textpoint").first).to_have_text(re.compile(r"^(\.\d\d|1\.00)$"))
    expect(page.locator("#words .word")).to_have_count(len(page.locator("#input textarea").input_value().split()))
    screenshot(page, tmp_path, "one-input")


@pytest.mark.parametrize("width", [1280, 390])
def test_axis_labels_are_whole_and_apart(page: "playwright.Page", width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1100})
    choose(page, "a/adapter")
    predict(page)
    expect(page.locator("#summary")).to_contain_text("of at most 60")
    expect(page.locator("#heat-map .ytick")).to_have_count(40)
    expect(page.locator("#heat-map .xtick")).to_have_count(10)
    outer = boxes(page, ".main-svg")[0]
    for axis, start, end in (("x", "left", "right"), ("y", "top", "bottom")):
        labels = sorted(boxes(page, f".{axis}tick text"), key=lambda box: box[start])
        for label in labels:
            assert label["left"] >= outer["left"]
            assert label["bottom"] <= outer["bottom"]
        for label, following in pairwise(labels):
            assert label[end] <= following[start] + 1  # pixel, for rounding
    numbers = boxes(page, ".textpoint text")
    assert numbers
    for place, number in enumerate(numbers):
        for other in numbers[place + 1 :]:
            apart = number["right"] <= other["left"] + 1 or other["right"] <= number["left"] + 1
            assert apart or abs(number["top"] - other["top"]) > 8, "two numbers lie on top of each other"


def boxes(page: "playwright.Page", selector: str) -> list[dict[str, float]]:
    """Of all such parts of the heat map at one moment: it may be drawn again at any time."""
    found: list[dict[str, float]] = page.evaluate(
        "selector => [...document.querySelectorAll(selector)].map(each => each.getBoundingClientRect().toJSON())",
        f"#heat-map {selector}",
    )
    return found


@pytest.mark.parametrize(("theme", "dark_text"), [("light", True), ("dark", False)])
def test_text_of_pictures_is_legible_in_both_themes(
    page: "playwright.Page", served: str, theme: str, dark_text: bool, tmp_path: Path
) -> None:
    page.goto(f"{served}/?__theme={theme}")
    title = page.locator("#heat-map").get_by_text("prompt token", exact=True)
    expect(title).to_be_visible()
    open_tab(page, "Compare")
    page.locator("#compare-both").click()
    drawn(page, "compare-plot")
    for text in (title, page.locator("#compare-plot .legendtext").first, page.locator("#compare-plot .xtick text").first):
        fill = text.evaluate("element => getComputedStyle(element).fill")
        brightness = sum(map(int, re.findall(r"\d+", fill)[:3])) / 3
        assert (brightness < 110) if dark_text else (brightness > 180), fill
    screenshot(page, tmp_path, theme)


def test_argmax_draws_one_code_per_token(page: "playwright.Page") -> None:
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
        expect(page.locator("#words .word")).to_have_count(len(text.split()))


def test_words_can_be_seen_as_one_token_reads_them(page: "playwright.Page") -> None:
    expect(page.locator("#words")).to_contain_text("Read most")
    before = page.locator("#words").inner_html()
    page.get_by_role("combobox", name="Prompt token").click()
    page.get_by_role("option", name="3", exact=True).click()
    expect(page.locator("#words .word").first).to_be_visible()
    page.wait_for_function("before => document.querySelector('#words').innerHTML != before", arg=before)


def test_two_inputs_are_compared(page: "playwright.Page", tmp_path: Path) -> None:
    open_tab(page, "Compare")
    expect(page.locator("#second textarea")).not_to_have_value("")
    page.locator("#compare-both").click()
    expect(page.locator("#compared")).to_contain_text(re.compile(r"Distance of the codes 0\.[1-9]|Distance of the codes 1"))
    drawn(page, "compare-plot")
    screenshot(page, tmp_path, "compare")
    page.locator("#second textarea").fill(page.locator("#input textarea").input_value())
    page.locator("#compare-both").click()
    expect(page.locator("#compared")).to_contain_text("Distance of the codes 0.00")
    expect(page.locator("#compared")).to_contain_text("The prompt is the same for both.")
    page.locator("#second textarea").fill(" ")
    page.locator("#compare-both").click()
    expect(page.get_by_text("There is no text yet").first).to_be_visible()


def test_switching_the_most_used_code_off_moves_the_answer(page: "playwright.Page", tmp_path: Path) -> None:
    open_tab(page, "What if")
    page.locator("#effects").click()
    told = page.locator("#effect")
    expect(told).to_contain_text(re.compile(r"the most used: [2-9]\d\.\d% of the probability moves"))
    drawn(page, "effects-plot")
    drawn(page, "what-if-plot")
    screenshot(page, tmp_path, "what-if")
    page.get_by_label("force one code").check()
    page.locator("#again").click()
    expect(told).to_contain_text(re.compile(r"With code \d+ alone: .*of the probability moves"))
    page.locator("#codes").get_by_role("button", name=re.compile("Remove|Clear")).last.click()
    page.locator("#again").click()
    expect(page.get_by_text("Choose a code first")).to_be_visible()


def test_another_text_leaves_no_answer_of_the_one_before(page: "playwright.Page") -> None:
    open_tab(page, "What if")
    page.locator("#effects").click()
    expect(page.locator("#effect")).to_contain_text("of the probability moves")
    predict(page, "The soup was cold.")
    expect(page.locator("#effect")).not_to_contain_text("of the probability moves")
    expect(page.locator("#what-if-plot .main-svg")).to_have_count(0)


def test_a_code_is_described(page: "playwright.Page", tmp_path: Path) -> None:
    open_tab(page, "A code")
    told = page.locator("#code-told")
    expect(told).to_contain_text(re.compile(r"Code \d+ holds \d+\.\d% of all weight over 300 texts"))
    expect(told).to_contain_text("Nearest words by cosine")
    for plot in ("code-labels", "code-domains", "code-trace"):
        drawn(page, plot)
    expect(page.locator("#takers")).to_contain_text("recipes")
    screenshot(page, tmp_path, "code")
    before = told.inner_text()
    page.get_by_role("combobox", name="Code").click()
    page.get_by_role("option").nth(2).click()
    expect(told).not_to_have_text(before)


def test_the_codebook_is_mapped(page: "playwright.Page", tmp_path: Path) -> None:
    open_tab(page, "Codebook map")
    expect(page.locator("#map-told")).to_contain_text("12 codes; over 300 texts")
    drawn(page, "map-plot")
    expect(page.locator("#map-plot .legendtext").first).to_have_text(re.compile("yes|no|true|false"))
    screenshot(page, tmp_path, "map")
    page.get_by_label("domain").check()
    expect(page.locator("#map-plot .legendtext").first).to_have_text(re.compile("appointments|home|news"))


def test_a_data_set_is_looked_through_and_taken_away(page: "playwright.Page", tmp_path: Path) -> None:
    open_tab(page, "Data set")
    page.locator("#survey").click()
    told = page.locator("#data-told")
    expect(told).to_contain_text(re.compile(r"300 texts, \d+\.\d% of them answered right"))
    drawn(page, "data-plot")
    expect(page.locator("#use")).to_contain_text("label: yes")
    screenshot(page, tmp_path, "data-set")
    with page.expect_download() as downloading:
        page.locator("#download").click()
    content = Path(downloading.value.path()).read_text()
    assert content.startswith("code,share,label: false,")
    assert content.count("\n") == 13

    own = tmp_path / "own.csv"
    own.write_text(f"source,target,domain\nThe soup was awful.,no,recipes\n{MARKUP},no,{MARKUP}\n")
    page.locator("#upload input[type=file]").set_input_files(own)
    expect(told).to_contain_text("2 texts")
    expect(page.locator("#use")).to_contain_text(MARKUP)
    open_tab(page, "A code")
    expect(page.locator("#code-told")).to_contain_text("over 2 texts")
    expect(page.locator("#takers")).to_contain_text(MARKUP)
    assert page.locator("img[src=nowhere]").count() == 0


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [("bad.csv", "text\nx\n", "bad.csv:1: column 'source' is missing"), ("bad.jsonl", "{\n", "bad.jsonl:1:")],
)
def test_a_bad_upload_gets_a_sentence(page: "playwright.Page", tmp_path: Path, name: str, content: str, sentence: str) -> None:
    open_tab(page, "Data set")
    page.locator("#survey").click()
    expect(page.locator("#use")).to_contain_text("label: yes")
    (tmp_path / name).write_text(content)
    page.locator("#upload input[type=file]").set_input_files(tmp_path / name)
    expect(page.get_by_text(sentence)).to_be_visible()
    expect(page.locator("#use")).to_be_hidden()
    expect(page.locator("#data-told")).not_to_contain_text("texts")


def test_says_what_a_fixed_prompt_lacks(page: "playwright.Page", tmp_path: Path) -> None:
    choose(page, "b/adapter")
    expect(page.locator("#summary")).to_contain_text("This adapter has no codebook to show")
    expect(page.locator("#heat-map .heatmaplayer image")).to_have_count(0)
    expect(page.locator("#words")).to_contain_text("does not look at the text")
    open_tab(page, "Compare")
    page.locator("#compare-both").click()
    expect(page.locator("#compared")).to_contain_text("The prompt is the same for both.")
    open_tab(page, "What if")
    page.locator("#effects").click()
    expect(page.get_by_text("There are no codes to switch")).to_be_visible()
    for tab, told in (("A code", "code-told"), ("Codebook map", "map-told")):
        open_tab(page, tab)
        expect(page.locator(f"#{told}")).to_contain_text("This adapter has no codebook")
    screenshot(page, tmp_path, "pt")


def test_another_adapter_takes_nothing_over(page: "playwright.Page") -> None:
    open_tab(page, "A code")
    expect(page.locator("#code-told")).to_contain_text("holds")
    choose(page, "a/adapter")
    expect(page.locator("#code-told")).not_to_contain_text("holds")
    open_tab(page, "Codebook map")
    expect(page.locator("#map-told")).to_contain_text("60 codes")


def test_markup_is_shown_and_not_obeyed(page: "playwright.Page") -> None:
    predict(page, f"{MARKUP} ${{alert(1)}} {{{{x}}}}")
    expect(page.locator("#words")).to_contain_text(f"{MARKUP} ${{alert(1)}} {{{{x}}}}")
    choose(page, "c")
    expect(page.get_by_test_id("toast-text")).to_contain_text(MARKUP)
    expect(page.locator("#words .word")).to_have_count(0)
    assert page.locator("img[src=nowhere]").count() == 0


@pytest.mark.parametrize(("text", "sentence"), [(" ", "There is no text yet"), ("dog " * 480, "this adapter reads 480")])
def test_a_bad_text_gets_a_sentence(page: "playwright.Page", text: str, sentence: str, tmp_path: Path) -> None:
    expect(page.locator("#heat-map .heatmaplayer image")).to_be_visible()
    predict(page, text)
    expect(page.locator("#problem")).to_contain_text(sentence)
    expect(page.locator("#heat-map .heatmaplayer image")).to_have_count(0)
    expect(page.locator("#answer textarea")).to_have_value("")
    screenshot(page, tmp_path, "refused")


def test_a_phone_shows_all_views_without_scrolling_sideways(phone: "playwright.Page", tmp_path: Path) -> None:
    expect(phone.locator("#heat-map .heatmaplayer image")).to_be_visible()
    for name in ("Compare", "What if", "A code", "Codebook map", "Data set"):
        tab = phone.get_by_role("tab", name=name, exact=True)
        if not tab.count():
            phone.get_by_label("More tabs").click()
            tab = phone.locator(".overflow-dropdown").get_by_role("button", name=name, exact=True)
        tab.click()
        expect(phone.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    expect(phone.locator("#survey")).to_be_visible()
    screenshot(phone, tmp_path, "phone")


def test_the_keyboard_reaches_text_button_and_tabs(page: "playwright.Page") -> None:
    filled(page)
    page.locator("#input textarea").focus()
    reached: list[str] = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText || document.activeElement.type || ''").strip())
        if reached[-1] == "Compare":
            break
    assert "Predict" in reached
    assert reached[-1] == "Compare", reached
    page.keyboard.press("Enter")
    expect(page.locator("#compare-both")).to_be_visible()


def test_every_field_has_a_label(page: "playwright.Page") -> None:
    filled(page)
    for name in ("One input", "Compare", "What if", "A code", "Codebook map", "Data set"):
        open_tab(page, name)
        unnamed = page.evaluate(
            """[...document.querySelectorAll('input, textarea, button, [role=tab]')].filter(element =>
                element.checkVisibility() && !element.closest('[aria-hidden=true]') && element.type != 'file' &&
                !(element.labels && element.labels.length) && !element.innerText.trim() && !element.ariaLabel &&
                !element.title && !element.getAttribute('aria-labelledby')).map(element => element.outerHTML.slice(0, 200))"""
        )
        assert unnamed == [], name

"""Takes the pictures of docs/demo.md with the machine's own Chromium, into the folder that is named: `nox -s screenshots`."""

import io
import shutil
import socket
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from vip_demo import build_app, bundled_adapter
from vip_demo.app import launch

WIDTHS = (1280, 390)
THEMES = ("light", "dark")
FLAGS = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
VIEWS = {
    # View: button to press, and pictures to wait for.
    "One input": ("", ["heat-map"]),
    "Compare": ("compare-both", ["compare-plot"]),
    "What if": ("effects", ["effects-plot", "what-if-plot"]),
    "A code": ("", ["code-labels", "code-domains", "code-trace"]),
    "Codebook map": ("", ["map-plot"]),
    "Data set": ("survey", ["data-plot"]),
}


def open_tab(page: Page, name: str) -> None:
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.count():
        page.get_by_label("More tabs").click()
        tab = page.locator(".overflow-dropdown").get_by_role("button", name=name, exact=True)
    tab.click()


def take(page: Page, folder: Path, theme: str, width: int) -> None:
    for name, (button, pictures) in VIEWS.items():
        open_tab(page, name)
        if button:
            page.locator(f"#{button}").click()
        for picture in pictures:
            expect(page.locator(f"#{picture} .main-svg").first).to_be_visible()
        page.mouse.move(0, 0)
        # Nothing waits for an answer any more, and Plotly has drawn what it will draw.
        expect(page.locator(".progress-text")).to_have_count(0)
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        path = folder / f"{name.lower().replace(' ', '-')}-{theme}-{width}.webp"
        Image.open(io.BytesIO(page.screenshot(full_page=True))).save(path, quality=80, method=6)
        print(f"{path}  {path.stat().st_size / 1024:.0f} KiB")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = build_app({"bundled": bundled_adapter()})
    address = launch(app, host="127.0.0.1", port=port)
    expect.set_options(timeout=60_000)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for theme in THEMES:
            for width in WIDTHS:
                page = browser.new_page(viewport={"width": width, "height": 900})
                page.goto(f"{address}?__theme={theme}")
                expect(page.locator("#heat-map .main-svg").first).to_be_visible()
                take(page, folder, theme, width)
                page.close()
        browser.close()
    app.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

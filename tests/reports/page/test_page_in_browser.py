"""The pages in a browser: no error, nothing loaded, no broken image, no sideways scrolling, on a desk and a phone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.reported import a_run, evaluate, with_examples, with_shards

from capivara_cli.commands.report import Options, report
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.reports.pictures import THUMBNAIL, picture
from capivara_cli.reports.samples_page import PageSection, View, html_page
from capivara_cli.reports.search_page import FoundImage, SearchSection, search_page
from capivara_cli.shards.sample import Caption

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
COLORS = {
    "light": ("rgb(246, 244, 239)", "rgb(29, 27, 24)"),
    "dark": ("rgb(23, 22, 20)", "rgb(236, 232, 225)"),
}
"""Of the ground, and of a name in a chart."""
LOOK = """
const root = document.documentElement, images = [...document.images], charts = [...document.querySelectorAll('svg')];
const name = document.querySelector('svg text[style*="--ink"]');
return {
  wide: root.scrollWidth - innerWidth,
  width: innerWidth,
  images: images.length,
  broken: images.filter(each => !each.complete || each.naturalWidth == 0).length,
  charts: charts.length,
  flat: charts.filter(each => each.getBoundingClientRect().height < 20).length,
  ground: getComputedStyle(document.body).backgroundColor,
  ink: name ? getComputedStyle(name).fill : getComputedStyle(document.body).color,
  sizes: [...document.querySelectorAll('.grid .card > img')].map(each => each.getBoundingClientRect().width),
  columns: new Set([...document.querySelectorAll('.grid .card')].map(each => each.getBoundingClientRect().x)).size,
}"""
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER) and not os.environ.get("CI"),
    reason="chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report with all sections, of two seeds and a variant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("report"))
        runs = [a_run(Path("runs/pt-seed0")), a_run(Path("runs/pt-seed1"), seed=1), a_run(Path("runs/other"), lr=0.1)]
        evaluate(runs, (60.0, 64.0, 70.0))
        with_examples(runs[0])
        with_shards(runs[0])
        made = report.run([str(run) for run in runs], Options(), Env(Settings(), "report"))
        assert len(made["sections"]) == 11
        return Path(made["report"]).resolve().as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window and without a network of its own; its console and network are logged."""
    from selenium import webdriver

    assert BROWSER and DRIVER, "chromium and chromedriver are needed where CI is set"
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def seen(browser: Any, page: str, width: int, scheme: str) -> dict[str, Any]:
    """What the page looks like, with everything unfolded. Asserts that it is sound at this width."""
    height = 900 if width > 600 else 844
    view = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)  # what came before is not about this page
    browser.get(page)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    found: dict[str, Any] = browser.execute_script(LOOK)
    assert found["width"] == width and found["wide"] <= 0
    assert found["broken"] == 0 and found["flat"] == 0
    assert (found["ground"], found["ink"]) == COLORS[scheme]
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert page in asked and {address.partition(":")[0] for address in asked} <= {"file", "data"}
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_is_sound(browser: Any, page: str, width: int, scheme: str) -> None:
    found = seen(browser, page, width, scheme)
    assert found["images"] > 10 and found["charts"] == 10


TEXTS = [Caption("a red ball " * 20, "en", "alt"), Caption("लाल गेंद", "hi", "who"), Caption("x" * 300, "ar", "who")]


@pytest.mark.parametrize(("width", "scheme", "columns"), [(1280, "dark", 6), (390, "light", 2)])
def test_search_results_are_a_grid_of_large_images(
    browser: Any, tmp_path: Path, width: int, scheme: str, columns: int
) -> None:
    shapes = [(40, 40), (900, 90), (90, 900)]
    images = [picture(Image.new("RGB", shapes[rank % 3], "red"), THUMBNAIL) for rank in range(40)]
    found = [FoundImage(rank, 0.5, "k" * 90, f"{'s' * 90}.tar", TEXTS, each) for rank, each in enumerate(images, 1)]
    found.append(FoundImage(41, 0.1, "bad", "s.tar", [], None, "image cannot be decoded"))
    sections = [SearchSection(f"{number} {'um cão ' * 9}", "pt", "capivara " * 30, found) for number in (1, 2)]
    file = tmp_path / "page.html"
    file.write_text(search_page(sections, searched=1000, model="toy"), "utf-8")
    shown = seen(browser, file.as_uri(), width, scheme)
    assert shown["images"] == 80 and shown["columns"] == columns
    assert min(shown["sizes"]) > 130  # also a small image


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_samples_fit_the_screen(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    image = picture(Image.new("RGB", (900, 90), "red"), THUMBNAIL)
    views = [View("k" * 90, "900 × 90, jpg 2 kB", TEXTS, image), View("bad", "", [], None, "image cannot be decoded")]
    file = tmp_path / "page.html"
    file.write_text(html_page([PageSection("s" * 200, ["translate --to pt " * 20], views)]), "utf-8")
    assert seen(browser, file.as_uri(), width, scheme)["images"] == 1

"""The report in a browser: no error, nothing loaded, no broken image, no sideways scrolling, on a desk and a phone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.reported import a_run, evaluate, with_examples, with_shards

from capivara_cli.commands.report import Options, report
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings

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
return {
  wide: root.scrollWidth - innerWidth,
  width: innerWidth,
  images: images.length,
  broken: images.filter(each => !each.complete || each.naturalWidth == 0).length,
  charts: charts.length,
  flat: charts.filter(each => each.getBoundingClientRect().height < 20).length,
  ground: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.querySelector('svg text[style*="--ink"]')).fill,
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_page_is_sound(browser: Any, page: str, width: int, height: int, scheme: str) -> None:
    view = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)  # what came before is not about this page
    browser.get(page)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    seen = browser.execute_script(LOOK)
    assert seen["width"] == width and seen["wide"] <= 0
    assert seen["images"] > 10 and seen["broken"] == 0 and seen["charts"] == 10 and seen["flat"] == 0
    assert (seen["ground"], seen["ink"]) == COLORS[scheme]
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert page in asked and {address.partition(":")[0] for address in asked} <= {"file", "data"}

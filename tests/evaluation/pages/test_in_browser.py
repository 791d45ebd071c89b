"""The page of ``iml report`` in Chromium: filters by mouse and keyboard, on a desktop and on a telephone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from support.compared_results import EVIL, LEVELS, WRITING, make_results, renamed

from iml_jax.evaluation.pages import compare_page
from iml_jax.evaluation.pages.compare import ComparedEvaluation, compare

pytest.importorskip("aiohttp")
from support.browser import Page, opened

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluations, of which the first two tasks have the same answers."""
    first, second = make_results(1, 0.4), make_results(1, 0.4, prefix="eos")
    other = make_results(2, 0.8)
    same = {task.name for task in first.tasks[:2]}
    second = type(second)(
        second.metadata,
        (*second.tasks[:2], *other.tasks[2:]),
        tuple(
            p
            for p in (*first.predictions, *other.predictions)
            if (p.task in same) == (p in first.predictions)
        ),
    )
    # The name of one task, as of a foreign file, tries to break the page, too.
    first, second = (renamed(one, first.tasks[5].name, f"b:task5{EVIL}:zero_shot") for one in (first, second))
    found = compare(
        [
            ComparedEvaluation("A", f"run {EVIL}", "a.json", first),
            ComparedEvaluation("B", "run, step 2", "b.json", second),
        ]
    )
    return compare_page.write_page(tmp_path_factory.mktemp("page") / "page.html", found, per_task=4)


async def _filters(page: Page) -> None:
    rows, categories = "#tasks tr.row", "#tasks tr.category"
    every, groups = await page.seen(rows), await page.seen(categories)
    assert every == 6
    assert await page.value("document.querySelectorAll('img, script').length") == 1  # its own script only
    # Only where they differ: by CSS, through a click on the box and one on its label.
    await page.click("#only")
    assert await page.seen(rows) == 4
    await page.click("label[for=only]")
    assert await page.seen(rows) == every
    # Levels and categories by the keyboard, then both together, then back.
    for level in LEVELS:
        await page.choose("#level", level)
        assert await page.seen(rows) == 2
        assert await page.seen(f"{rows}[data-level={level}]") == 2
    await page.choose("#level", "")
    assert (await page.seen(rows), await page.seen(categories)) == (every, groups)
    await page.choose("#category", WRITING)
    assert await page.seen(rows) == 2
    assert await page.seen(categories) < groups
    await page.choose("#level", LEVELS[0])
    assert await page.seen(rows) == len(
        await page.value(
            f"[...document.querySelectorAll('{rows}[data-level={LEVELS[0]}]')]"
            f".filter(e => e.dataset.category.startsWith('Writing')).map(e => e.dataset.task)"
        )
    )
    await page.choose("#level", "")
    await page.choose("#category", "")
    # A part of a task's name, in other letters.
    await page.type("#task", "TASK4")
    assert await page.seen(rows) == 1
    assert await page.seen("#answers [data-task]") == await page.seen("#answers [data-task*=task4]") > 0
    await page.value("document.querySelector('#task').select()")
    await page.type("#task", "nothing like it")
    assert await page.seen(rows) == await page.seen("#answers [data-task]") == 0


async def _narrow(page: Page, picture: Path) -> None:
    await page.width(400)
    wide = await page.value("document.documentElement.scrollWidth")
    assert wide <= 400, f"the page scrolls sideways: {wide} px"
    # What is wider than the window scrolls within itself.
    outside = await page.value(
        "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > 401"
        " && !e.closest('.scroll') && !e.closest('svg')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []
    await page.screenshot(picture)
    assert picture.stat().st_size > 10_000


async def _whole(file: Path, picture: Path) -> None:
    async with opened(CHROMIUM, file) as page:
        await page.width(1200)
        await _filters(page)
        await page.value("document.querySelector('#task').select()")
        await page.type("#task", "task")
        assert await page.seen("#tasks tr.row") == 6
        await _narrow(page, picture)
        assert page.complaints == []


def test_filters_and_narrow_window(page_file: Path, tmp_path: Path) -> None:
    asyncio.run(_whole(page_file, tmp_path / "narrow.png"))

"""A report in a real browser, from disk: `page` sees to it that nothing is asked for from elsewhere, and no error is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpucnn.cli.main import main
from tests.cli.test_changed_folder import write_noise

NAMES = ("<img src=x onerror=alert(1)>", "a 'quoted' \"name\"", "third")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that answers nearly all images of three classes with one of them."""
    place = tmp_path_factory.mktemp("report")
    write_noise(place / "photos", 20, names=NAMES)
    words = f"--data folder --data-dir {place}/photos --model simplecnn --image-size 16 --epochs 1 --device cpu --quiet"
    assert main(["train", *words.split(), "--report", "--out", str(place / "run")]) == 0
    return place / "run" / "report.html"


@pytest.fixture
def opened(page: Any, report: Path) -> Any:
    page.goto(report.as_uri())
    return page


def counts(page: Any) -> list[tuple[str, str, int]]:
    """Label, answer and number of the cells of the confusion matrix that have one."""
    script = """() => [...document.querySelectorAll(".confusion td button")].map((button) => {
        const row = button.closest("tr");
        const head = document.querySelector(".confusion thead tr").cells[button.parentElement.cellIndex];
        return [row.cells[0].textContent, head.textContent, Number(button.textContent)];
    })"""
    return [tuple(one) for one in page.evaluate(script)]


def test_a_cell_shows_its_images(opened: Any) -> None:
    for place, (label, answer, number) in enumerate(counts(opened)):
        opened.locator(".confusion td button").nth(place).click()
        heading = opened.locator("#cell h3").inner_text()
        what = "1 image" if number == 1 else f"{number} images"
        assert heading == f"{what} of {label}, answered {'right' if label == answer else answer}"
        assert opened.locator("#cell li").count() == number
        assert opened.locator("#cell li .small").all_inner_texts()
        lit = """() => [...document.querySelectorAll("#cell li .pair canvas:first-child")].map((canvas) =>
            canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value, at) => at % 4 < 3 && value))"""
        opened.wait_for_function(f"() => ({lit})().every(Boolean)")
    assert opened.title().startswith("simplecnn on photos: ")


def test_it_goes_by_keyboard(opened: Any) -> None:
    first, *_, last = counts(opened)
    opened.locator(".confusion td button").first.focus()
    opened.keyboard.press("Enter")
    assert opened.locator("#cell h3").inner_text().startswith(f"{first[2]} image")
    opened.keyboard.press("Escape")
    assert not opened.locator("#cell").is_visible()
    focused = "() => [document.activeElement.textContent, document.activeElement.closest('tr').rowIndex]"
    assert opened.evaluate(focused) == [str(first[2]), 1]
    opened.keyboard.press("ArrowDown")
    assert opened.evaluate(focused)[1] > 1
    assert opened.locator(".confusion td button[tabindex='0']").count() == 1, "Tab stops once"
    assert last


def test_a_column_sorts_the_classes(opened: Any) -> None:
    shares = "() => [...document.querySelectorAll('.sortable tbody tr')].map((row) => Number(row.cells[2].querySelector('data').value))"
    before = opened.evaluate(shares)
    opened.get_by_role("button", name="recall").click()
    assert opened.evaluate(shares) == sorted(before, reverse=True)
    opened.get_by_role("button", name="recall").click()
    assert opened.evaluate(shares) == sorted(before)
    names = "() => [...document.querySelectorAll('.sortable tbody th')].map((cell) => cell.textContent)"
    opened.get_by_role("button", name="class", exact=True).click()
    assert sorted(opened.evaluate(names)) == sorted(NAMES)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_every_light_and_in_a_narrow_window(opened: Any, scheme: str) -> None:
    opened.emulate_media(color_scheme=scheme)
    paper = opened.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(27, 27, 27)"}[scheme]
    opened.set_viewport_size({"width": 360, "height": 740})
    opened.locator(".confusion td button").first.click()
    assert opened.evaluate("() => document.documentElement.scrollWidth") <= 360
    contrast = """() => {
        const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
            .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
            .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
        const paper = light(getComputedStyle(document.body).backgroundColor);
        return ["body", ".lead", ".small", ".answer", "nav a"].map((name) => {
            const ink = light(getComputedStyle(document.querySelector(name)).color);
            return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        });
    }"""
    assert min(opened.evaluate(contrast)) >= 4.5
    shown = "() => [...document.images].map((image) => image.complete && image.naturalWidth > 0)"
    assert all(opened.evaluate(shown))


def test_names_are_text(opened: Any) -> None:
    assert opened.evaluate("() => [...document.querySelectorAll('.sortable tbody th')].map((cell) => cell.textContent)")
    assert opened.locator("img[src='x']").count() == 0
    data = json.loads(opened.locator("#data").inner_text())
    assert sorted(data["names"]) == sorted(NAMES)


def test_the_chosen_number_looks_other_than_the_one_pointed_at(opened: Any) -> None:
    chosen, other = (opened.locator(".confusion td button").nth(place) for place in (0, 1))
    chosen.click()
    other.hover()
    pointed_at = "(button) => getComputedStyle(button).boxShadow !== 'none'"  # a busy browser sees it later
    opened.wait_for_function(pointed_at, arg=other.element_handle())
    looks = [one.evaluate("(button) => getComputedStyle(button).boxShadow") for one in (chosen, other)]
    assert "none" not in looks
    assert looks[0] != looks[1]


def test_long_names_are_clipped_and_whole_where_the_pointer_rests(opened: Any) -> None:
    long = "a name of 120 letters ".ljust(120, "x")
    opened.evaluate(
        "(long) => document.querySelectorAll('.card .clipped').forEach((one) => { one.textContent = long; })", long
    )
    caption = opened.locator(".card.wrong p").first
    lines = "(p) => p.getBoundingClientRect().height / parseFloat(getComputedStyle(p).lineHeight)"
    assert caption.evaluate(lines) < 5
    opened.locator(".confusion td button").first.click()
    (label, *_) = counts(opened)[0]
    assert opened.locator("#cell h3 .clipped").first.get_attribute("title") == label


def test_on_paper_nothing_is_cut_off(opened: Any) -> None:
    opened.set_viewport_size({"width": 703, "height": 1000})  # of A4 within its margins
    opened.emulate_media(media="print")
    wide = """() => [...document.querySelectorAll("pre, .picture")].filter((one) => one.scrollWidth > one.clientWidth + 1)
        .map((one) => one.textContent)"""
    assert opened.evaluate(wide) == []
    assert opened.evaluate("() => getComputedStyle(document.querySelector('tfoot')).display") == "table-row-group"

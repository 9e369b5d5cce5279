"""What the other tests of this folder rely on: the harness sees points, and cannot miss a stray request or an error."""

from support.waits import LONG

from paretokit.cli.browser import LabPage


def test_a_request_to_another_host_is_refused_and_recorded(launched):
    page = LabPage(launched, "", patience=LONG)
    page.page.goto("about:blank")
    page.page.evaluate("() => fetch('http://example.invalid/x').catch(() => null)")
    assert page.strays == ["http://example.invalid/x"]
    page.close()


def test_errors_of_the_page_are_recorded(launched):
    page = LabPage(launched, "", patience=LONG)
    page.page.goto("about:blank")
    page.page.evaluate("() => console.error('planted')")
    page.page.evaluate("() => { setTimeout(() => { throw new Error('thrown'); }, 0); }")
    while len(page.faults) < 2:
        page.page.wait_for_timeout(20)  # playwright hears the page meanwhile
    assert page.faults[0] == "planted"
    assert "thrown" in page.faults[1]
    page.close()

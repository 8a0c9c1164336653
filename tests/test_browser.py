"""The browser of the page tests notices what a page must not do; else they could not fail."""

from pathlib import Path

from browser import opened

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>x</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'">
<meta name="viewport" content="width=device-width"></head><body>
<p style="color: red">x</p><script>console.log("x")</script>
<img src="data:,x" alt=""><hr width="900">
<table><tr><td>1</td><td>2</td></tr><tr><td>1</td><td>2</td></tr></table>
<div role="img"></div></body></html>"""


def test_what_the_policy_refuses_is_a_complaint_and_a_wide_page_is_wide(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(PAGE)
    other = tmp_path / "other.html"
    other.write_text('<!DOCTYPE html><title>x</title><img src="other.png" alt="x">')
    with opened(tmp_path / "profile") as browser:
        view = browser.look(path, 390)
        assert len(view.complaints) == 3, "the style, the script and the image"
        assert view.scroll_width > 390
        assert view.broken_images == 1
        assert "image" in view.unnamed
        view = browser.look(other, 390)
        assert view.requests == [path.as_uri() for path in (other, tmp_path / "other.png")]

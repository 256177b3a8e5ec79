import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.publish.dqm_strings import in_ascii


@pytest.mark.parametrize(
    ("text", "ascii_text"),
    [
        ("6.5 σ", "6.5 sigma"),
        ("Δχ²", "Deltachi^2"),
        ("LS 1–10 — all", "LS 1-10 - all"),
        ("and so on…", "and so on..."),
        ("10⁻³ m²", "10^-3 m^2"),
        ("−1 ± 0.5 µs × 2", "-1 +- 0.5 mus x 2"),
        ("“Zürich’s”", '"Zurich\'s"'),
        ("a ≤ b ≥ c ≈ √2", "a at most b at least c ~ sqrt2"),
        ("LS 1 → 5", "LS 1 to 5"),
        ("plain <text>: 100 %", "plain <text>: 100 %"),
        ("雪", "?"),
    ],
)
def test_what_ascii_lacks_is_spelled_out(text: str, ascii_text: str) -> None:
    assert in_ascii(text) == ascii_text


@given(st.text())
def test_everything_becomes_ascii(text: str) -> None:
    assert in_ascii(text).isascii()


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_stays_as_it_is(text: str) -> None:
    assert in_ascii(text) == text

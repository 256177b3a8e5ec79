import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcal_root_ad.publish.elements import (
    QualityResult,
    QualityStatus,
    Scalar,
    complaint,
    in_ascii,
    quality_text,
    scalar_text,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12, "<x>i=12</x>"),
        (0.1, "<x>f=0.10000000000000001</x>"),
        (-1.0, "<x>f=-1</x>"),
        ("two\n lines", "<x>s=two lines</x>"),
        ("<b> 3 µ–σ…", "<x>s=(b) 3 mu-sigma...</x>"),
    ],
)
def test_scalars_are_written_as_cmssw_writes_them(value, text):
    assert scalar_text(Scalar("Hcal/HcalADClient/EventInfo/x", value)) == text


def test_quality_result_is_written_as_cmssw_writes_it():
    result = QualityResult("A/B/HB", "Test", QualityStatus.WARNING, 0.5, "Algo", "1 of 2: <why>")
    assert quality_text(result) == "<HB.Test>qr=st:200:0.5:Algo:1 of 2: (why)</HB.Test>"
    assert complaint(quality_text(result), {"HB"}) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("CMSSW_13_0_0", "is not one of"),
        ("<a>i=1</b>", "is not one of"),
        ("<a>x=1</a>", "is not one of"),
        ("<a>i=1.5</a>", "should hold an integer"),
        ("<a>f=nan</a>", "finite number"),
        ("<a>f=one</a>", "finite number"),
        ("<a>s=b<c</a>", "holds < or >"),
        ("<a.b>s=c</a.b>", "has a '.' in its name, which the GUIs take for the name of a quality test"),
        ("<HB>e=2</HB>", "should hold 1"),
        ("<HB>t=-1</HB>", "should hold a number"),
        ("<HE>e=1</HE>", "not in the same folder"),
        ("<HB.Q>qr=st.100.fine</HB.Q>", "is not a quality result"),
        ("<HB>qr=st:100:1:A:m</HB>", "is not a quality result"),
        ("<HB.Q>qr=st:101:1:A:m</HB.Q>", "unknown status 101"),
        ("<HB.Q>qr=st:100:nan:A:m</HB.Q>", "not a finite number"),
        ("<HB.Q>qr=st:100:inf:A:m</HB.Q>", "not a finite number"),
        ("<HE.Q>qr=st:100:1:A:m</HE.Q>", "not in the same folder"),
        ("<HB.Q>qr=st:100:1:A:a<b</HB.Q>", "holds < or >"),
    ],
)
def test_what_a_gui_would_stumble_over_is_named(text, sentence):
    assert sentence in complaint(text, {"HB"})


@pytest.mark.parametrize("text", ["<a>i=-1</a>", "<a>f=1e-300</a>", "<a>s=</a>", "<HB>e=1</HB>", "<HB>t=7</HB>"])
def test_legal_texts_pass(text):
    assert complaint(text, {"HB"}) is None


@given(st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_no_scalar_that_we_write_is_refused(value):
    assert complaint(scalar_text(Scalar("A/name", value)), set()) is None


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(QualityStatus))
def test_no_quality_result_that_we_write_is_refused(message, number, status):
    assert complaint(quality_text(QualityResult("A/HB", "Test", status, number, "Algo", message)), {"HB"}) is None


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

"""Calls with checked settings, functions by name, and the error messages of both."""

import pytest

from vaejax.core.registry import call, make, near_names


def area(width, height, *, unit="m", scale=1.0):
    return width, height, unit, scale


def anything(first, **rest):
    return first, rest


KNOWN = {"area": area, "anything": anything}


def test_near_names_lists_the_known_and_suggests_the_nearest():
    text = near_names("encodr", ["decoder", "encoder", "codebook"])
    assert text == (
        "'encodr' (known: codebook, decoder, encoder); did you mean 'encoder' or 'decoder'?"
    )
    assert near_names("xyz", ["encoder"]) == "'xyz' (known: encoder)"
    assert near_names("xyz", []) == "'xyz' (known: none)"


def test_call_passes_positional_and_named_arguments():
    assert call(area, "it", 1, height=2, unit="km") == (1, 2, "km", 1.0)
    assert call(anything, "it", 1, whatever=3) == (1, {"whatever": 3})


def test_call_reports_unknown_and_missing_settings():
    with pytest.raises(ValueError, match=r"^it has no setting 'heigth' .*did you mean 'height'"):
        call(area, "it", 1, heigth=2)
    with pytest.raises(ValueError, match=r"^it lacks the settings \['width', 'height'\]"):
        call(area, "it", unit="km")
    with pytest.raises(ValueError, match=r"lacks the settings \['first'\]"):
        call(anything, "it", other=1)


def test_call_refuses_a_setting_that_is_passed_by_position():
    with pytest.raises(ValueError, match="no setting 'width'"):
        call(area, "it", 1, width=2, height=3)


def test_make_takes_a_name_or_a_kind_with_arguments():
    assert make(KNOWN, "area", "shape", 1, 2) == (1, 2, "m", 1.0)
    assert make(KNOWN, {"kind": "area", "scale": 3.0}, "shape", 1, 2) == (1, 2, "m", 3.0)


def test_make_does_not_modify_the_settings():
    setting = {"kind": "area", "scale": 3.0}
    make(KNOWN, setting, "shape", 1, 2)
    assert setting == {"kind": "area", "scale": 3.0}


def test_make_reports_unknown_kinds_and_settings():
    with pytest.raises(ValueError, match=r"^unknown shape 'aera' .*did you mean 'area'"):
        make(KNOWN, "aera", "shape")
    with pytest.raises(ValueError, match=r"^unknown shape 'None'"):
        make(KNOWN, {"scale": 3.0}, "shape")
    with pytest.raises(ValueError, match=r"^shape 'area' has no setting 'scalee'.*'scale'"):
        make(KNOWN, {"kind": "area", "scalee": 3.0}, "shape", 1, 2)

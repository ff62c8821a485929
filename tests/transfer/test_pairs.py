"""What may be searched and judged on."""

import dataclasses

import pytest

from aigi_core.errors import AigiError
from aigi_core.transfer.pairs import d_eval, parse_pairs
from tests.transfer.factory import make_domains


def test_d_eval_is_everything_else_and_never_overlaps() -> None:
    domains = make_domains(4)
    assert d_eval(domains, ["g1", "g0"]) == ("g2", "g3")
    assert d_eval(domains, ["g1", "g0"], ["g3"]) == ("g3",)
    with pytest.raises(AigiError, match="'g1' is in D_search and in D_eval.*leave it out"):
        d_eval(domains, ["g1", "g0"], ["g3", "g1"])
    with pytest.raises(AigiError, match="'g1' twice"):
        d_eval(domains, ["g1", "g1"])
    with pytest.raises(AigiError, match="No generator is left.*g0 and g1.*third"):
        d_eval(make_domains(2), ["g0", "g1"])
    with pytest.raises(AigiError, match="no generator 'g7'"):
        d_eval(domains, ["g1", "g7"])


def test_pairs_are_parsed_once_each_in_the_order_of_the_generators() -> None:
    domains = make_domains(4)  # in order g0, g2, g1, g3
    assert len(parse_pairs("all", domains)) == 6
    assert parse_pairs("g1:g0, g2:g3,g0:g1", domains) == (("g0", "g1"), ("g2", "g3"))
    for text, message in {
        "g0:g9": "'g0:g9' is not a pair",
        "g0": "'g0' is not a pair",
        "g0:g0": "twice",
        "": "No pair",
    }.items():
        with pytest.raises(AigiError, match=message):
            parse_pairs(text, domains)
    with pytest.raises(AigiError, match="a third"):
        parse_pairs("all", make_domains(2))


def test_names_may_hold_the_separators() -> None:
    domains = make_domains(3)
    strange = {"g0": "a:b", "g1": "a", "g2": "b,a:b"}
    renamed = dataclasses.replace(
        domains,
        family_of={strange[name]: family for name, family in domains.family_of.items()},
    )
    assert parse_pairs("a:b:a", renamed) == (("a:b", "a"),)
    assert parse_pairs("a:b,a:b,a:a:b", renamed) == (("b,a:b", "a"), ("a:b", "a"))

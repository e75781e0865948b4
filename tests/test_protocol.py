"""The options that say how a picture is looked at, and the places of tiles."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scl_core.errors import UserError
from scl_core.protocol import WHOLE, Protocol, read_protocol, tile_starts


def test_the_default_is_one_look_and_has_no_name():
    assert read_protocol({}) == WHOLE and WHOLE.file_name == ""
    assert WHOLE.words("90x120") == "whole picture, input 90x120, scored at the mask's own size"


def test_options_become_a_protocol_with_words_and_a_name():
    protocol = read_protocol({"scales": "0.5, 1,2", "flip": "true", "tile": "896", "overlap": "0.25"})
    assert protocol == Protocol((0.5, 1.0, 2.0), True, 896, 0.25)
    assert protocol.words("own size") == (
        "tiles 896 overlap 0.25, scales 0.5 1 2, flip, logits averaged, input own size, scored at the mask's own size"
    )
    assert protocol.file_name == "tile896_25_x0p5_1_2_flip"


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"scales": "1,,2"}, "--scales '' is not a number"),
        ({"scales": "1,1"}, "give each scale once"),
        ({"scales": "0,1"}, "larger than 0"),
        ({"scales": "nan"}, "--scales 'nan' is not a number"),
        ({"scales": "9"}, "from 0 to 8"),
        ({"tile": "12"}, "--tile '12' is not a number from 16"),
        ({"tile": "64.5"}, "not a whole number"),
        ({"tile": "inf"}, "--tile 'inf'"),
        ({"tile": "64", "overlap": "1"}, "--overlap '1' is not a number from 0 to 0.9"),
        ({"overlap": "0.5"}, "give --tile"),
    ],
)
def test_what_cannot_be_is_refused_with_the_option(own, message):
    with pytest.raises(UserError, match=message):
        read_protocol(own)


@given(st.integers(1, 300), st.integers(16, 100), st.floats(0, 0.9))
def test_tiles_cover_a_side_and_never_leave_it(extent, tile, overlap):
    starts = tile_starts(extent, tile, overlap)
    length = min(tile, extent)
    assert starts == sorted(set(starts)) and starts[0] == 0 and starts[-1] + length == extent
    assert all(after - before <= max(1, round(tile * (1 - overlap))) for before, after in pairwise(starts))

"""Masks in a review: equal content has equal names, and no byte changes unseen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_normative.errors import ReviewError
from napari_normative.review.masks import decode_mask, encode_mask, mask_in_box


@given(hnp.arrays(bool, st.tuples(*[st.integers(1, 9)] * 3)))
def test_a_mask_comes_back_and_its_digest_is_of_its_content(mask):
    digest, data = encode_mask(mask)
    assert np.array_equal(decode_mask(data, digest), mask)
    assert encode_mask(mask.copy(order="F"))[0] == digest
    other = mask.copy()
    other[0, 0, 0] ^= True
    assert encode_mask(other)[0] != digest


def test_only_the_box_around_a_mask_is_kept():
    mask = np.zeros((200, 200, 200), dtype=bool)
    mask[10:13, 20:22, 30] = True
    _, data = encode_mask(mask)
    assert len(data) < 100
    inside, box = mask_in_box(data)
    assert inside.shape == (3, 2, 1)
    assert box == (slice(10, 13), slice(20, 22), slice(30, 31))


def test_equal_masks_on_other_grids_differ():
    assert encode_mask(np.ones((2, 2, 2), bool))[0] != encode_mask(np.ones((2, 2, 3), bool))[0]


def test_every_flipped_bit_is_noticed():
    mask = np.random.default_rng(0).random((6, 7, 8)) > 0.5
    digest, data = encode_mask(mask)
    for byte in range(len(data)):
        damaged = bytearray(data)
        damaged[byte] ^= 1 << (byte % 8)
        try:
            back = decode_mask(bytes(damaged), digest)
        except ReviewError as error:
            assert error.code == "REV-004"
        else:  # zlib leaves some bits without meaning
            assert np.array_equal(back, mask)


@pytest.mark.parametrize("data", [b"", b"NNM1", b"x" * 60])
def test_other_bytes_are_refused(data):
    with pytest.raises(ReviewError, match="REV-004"):
        decode_mask(data)

import pickle

import pytest

from ppcls_light.errors import DataError, UserError, WeightsError
from ppcls_light.weights import read_weights


def test_a_message_is_one_line_and_steers_no_terminal():
    error = UserError("a\nb\r\x1b[2J\x9b\u2028\x00 c\u00e9")
    assert str(error) == "a\\nb\\r\\x1b[2J\\x9b\\u2028\\x00 c\u00e9"
    assert str(error).isprintable()


def test_details_are_lines_of_their_own():
    error = pickle.loads(pickle.dumps(DataError("list.txt: 2 of 3 lines are wrong", "1: a\nb", "2: c")))
    assert str(error).split("\n") == ["list.txt: 2 of 3 lines are wrong", "  1: a\\nb", "  2: c"]
    assert type(error) is DataError


def test_a_name_of_two_lines_in_a_weights_file(tmp_path):
    path = tmp_path / "model.pdparams"
    path.write_bytes(b"\x80\x04\x8c\x05numpy\x8c\x05ev\nil\x93.")
    with pytest.raises(WeightsError, match=r"ev\\nil"):
        read_weights(path)

"""tools/benchmarks/train_table.py: training speed of CSV files beside PyTorch's."""

import runpy

import pytest

from ppcls_light.errors import DataError

HEADER = (
    "model,batch,pixels,instructions,operators,threads,samples/s,slowest round,fastest round,"
    "times as installed,times PyTorch,least,greatest,rounds,runs,environment"
)
OURS = "T0,{batch},224,{isa},own,2,{rate},20,40,,{ratio},1.1,1.3,3,2,A machine"
PEER = "T0,{batch},224,{isa},PyTorch,2,{rate},20,30,,1.00,1.00,1.00,3,2,A machine"


@pytest.fixture
def tool(root, tmp_path):
    """A function that makes the table of these lines of a CSV file."""
    found = runpy.run_path(str(root / "tools/benchmarks/train_table.py"))

    def make(*lines):
        path = tmp_path / "train.csv"
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        return found["table"](found["read_rows"]([path], found["_READERS"], "train.py", "environment"))

    return make


def test_a_cell_is_both_rates_and_their_quotient(tool):
    lines = [
        OURS.format(batch=64, isa="avx2", rate=39.04, ratio=1.21),
        PEER.format(batch=64, isa="avx2", rate=32.1),
        OURS.format(batch=64, isa="native", rate=1234.5, ratio=1.5),
        PEER.format(batch=64, isa="native", rate=823),
        OURS.format(batch=16, isa="avx2", rate=20, ratio=2),
        PEER.format(batch=16, isa="avx2", rate=10),
        OURS.format(batch=8, isa="avx2", rate=20, ratio=""),  # measured without PyTorch
    ]
    assert tool(*lines).splitlines() == [
        "| network | pixels | batch 16, AVX2 | batch 64, all instructions | batch 64, AVX2 |",
        "|---|---|---|---|---|",
        "| T0 | 224 | 20 / 10, 2.00x (1.10-1.30) | 1234 / 823, 1.50x (1.10-1.30) | "
        "39 / 32.1, 1.21x (1.10-1.30) |",
        "",
        "slowest round / fastest: 1.75 in the median, 2.00 at most; A machine; 2 threads, 3 interleaved rounds",
    ]


def test_files_that_have_no_peer_or_are_of_another_tool(tool):
    with pytest.raises(DataError, match=r"no row has PyTorch's beside it; give --torch-python"):
        tool(OURS.format(batch=8, isa="avx2", rate=20, ratio=""))
    with pytest.raises(DataError, match=r"row 1: 'samples/s' is 'fast'"):
        tool(OURS.format(batch=8, isa="avx2", rate="fast", ratio=""))
    with pytest.raises(DataError, match=r"is no CSV of tools/benchmarks/train\.py; make one with its --csv"):
        tool()

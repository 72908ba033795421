import numpy as np
import pytest

from ppcls_light.data.classes import ClassNames
from ppcls_light.data.tags import read_tag_list
from ppcls_light.errors import DataError

NAMES = ClassNames(("hat", "long sleeve", "shoe"), "names.txt")


@pytest.fixture
def read(tmp_path):
    """A function that writes a list and reads it; a.jpg and "b c.jpg" are there."""
    for name in ("a.jpg", "b c.jpg"):
        (tmp_path / name).touch()

    def write_and_read(text, names=None, file="list.txt", class_num=3, **options):
        path = tmp_path / file
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_tag_list(path, tmp_path, class_num, names, **options)

    return write_and_read


def refusal(read, *arguments, **options):
    with pytest.raises(DataError) as error:
        read(*arguments, **options)
    return str(error.value)


def test_a_list_of_numbers_is_paddleclas_own(read):
    images, names = read("a.jpg\t0,1,-1\r\n\nb c.jpg\t1, 1, 0\n")
    assert names is None
    assert images.labels.dtype == np.int8
    assert images.labels.tolist() == [[0, 1, -1], [1, 1, 0]]
    assert images.label(0).dtype == np.float32
    assert [images.name(i) for i in range(2)] == ["a.jpg", "b c.jpg"]
    assert images.tag_shares.tolist() == [0.5, 1.0, 0.0]  # of the images of which the tag is known


def test_a_list_of_numbers_keeps_the_names_of_the_label_map(read):
    images, names = read("a.jpg 0,1,0\n", NAMES)
    assert (names, images.labels.tolist()) == (NAMES, [[0, 1, 0]])


def test_a_list_of_names_is_numbered_by_the_label_map(read):
    images, names = read("a.jpg\tshoe, long sleeve\nb c.jpg\n", NAMES)
    assert names == NAMES
    assert images.labels.tolist() == [[0, 1, 1], [0, 0, 0]]


def test_a_list_of_names_without_a_map_is_numbered_by_the_alphabet(read):
    images, names = read("a.jpg shoe,hat\na.jpg tie\n")
    assert names.names == ("hat", "shoe", "tie")
    assert names.source.endswith("list.txt")
    assert images.labels.tolist() == [[1, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("accent", ["\u00e9", "e\u0301"])
def test_an_accent_is_one_name_in_both_of_its_spellings(read, accent):
    images, _ = read(f"a.jpg\tcaf{accent}\n", ClassNames(("café",), "map"))
    assert images.labels.tolist() == [[1]]


def test_a_table_has_a_column_per_tag(read):
    table = 'hat,File_Name,"long sleeve"\n1,a.jpg,\n-1,"b c.jpg",0.0\n'
    images, names = read(table, file="tags.CSV")
    assert names.names == ("hat", "long sleeve")
    assert images.labels.tolist() == [[1, -1], [-1, 0]]


def test_columns_follow_the_names_of_the_training(read):
    images, names = read("path;shoe;hat;long sleeve\na.jpg;1;0;-1\n", NAMES, "list.csv", delimiter=";")
    assert names == NAMES
    assert images.labels.tolist() == [[0, -1, 1]]


def test_all_problems_of_a_list_come_at_once_with_their_lines(read):
    message = refusal(
        read, "a.jpg\t0,1\na.jpg\t0,1,2\nb c.jpg\tabc,1,0\ngone.jpg\t0,0,0\na.jpg\na.jpg\t0,0,0\n"
    )
    assert "5 of 6 lines are wrong" in message
    for line, problem in enumerate(
        (
            "2 values for 3 tags (Arch.class_num)",
            "'2' is not 1, 0 or -1",
            "'abc' is not",
            "there is no image",
            "0 values",
        ),
        1,
    ):
        assert f"list.txt:{line}: {problem}" in message


@pytest.mark.parametrize(
    ("text", "file", "told"),
    [
        (
            "a.jpg\thut\na.jpg\tshoe\n",
            "l.txt",
            "l.txt:1: 'hut' is none of the 3 tags of names.txt (hat, long sleeve, shoe)",
        ),
        ("a.jpg\that\na.jpg\t1\n", "l.txt", "l.txt:2: '1' is a number, and other lines have names"),
        ("a.jpg\t1,hat,0\n", "l.txt", "l.txt:1: '1,hat,0' has numbers and names"),
        ('a.jpg\t"0,1,0"\n', "l.txt", "l.txt:1: quotes are for tables; write the tags without them"),
        ("a.jpg\na.jpg\n", "l.txt", "no line has tags"),
        ("", "l.txt", "no line has tags"),
        (
            "path,hat,shoe\na.jpg,1,0\n",
            "l.txt",
            "'path,hat,shoe' may be the header of a table; rename the file to end in .csv",
        ),
        ("a.jpg\t0,1,0\n", "l.csv", "l.csv:1: no column is called path"),
        (
            "path;hat;shoe\na.jpg;1;0\n",
            "l.csv",
            'l.csv:1: the cells are separated by ";"; add delimiter: ";"',
        ),
        ("path,file,hat\n", "l.csv", "2 columns are called path"),
        ("path,hat,hat\n", "l.csv", "two columns are called 'hat'"),
        ("path,hat,\n", "l.csv", "a column has no name"),
        ("path\na.jpg\n", "l.csv", "no column of a tag"),
        (
            "path,hat,tie,shoe\n",
            "l.csv",
            "has no column of long sleeve and has columns that are no tags of it: tie",
        ),
        ("path,hat,long sleeve,shoe\n", "l.csv", "the list is empty; write one line per image"),
        ("path,hat,long sleeve,shoe\na.jpg,1,0\n", "l.csv", "l.csv:2: 3 cells, and the header has 4"),
        ("path,hat,long sleeve,shoe\n,1,0,1\n", "l.csv", "l.csv:2: no path in the column path"),
        (
            "path,hat,long sleeve,shoe\na.jpg,1,yes,1\n",
            "l.csv",
            "l.csv:2: long sleeve: 'yes' is not 1, 0 or -1",
        ),
        ('path,hat,long sleeve,shoe\n"a.jpg,1,0,1\n', "l.csv", "l.csv:2: no table of cells"),
        ("path,hat\n", "l.csv", "the tags are those of names.txt"),
    ],
)
def test_other_lists_are_refused_with_their_fix(read, text, file, told):
    assert told in refusal(read, text, NAMES, file)


def test_a_table_with_a_column_of_names_is_told_how_names_are_listed(read):
    told = refusal(read, 'path,tags\na.jpg,"hat,shoe"\n', None, "l.csv")
    assert "l.csv:2: tags: 'hat,shoe' is not 1, 0 or -1" in told
    assert "tags by name are lines 'path<tab>hat,scarf' of a .txt" in told


def test_two_tags_of_one_name_are_refused(read):
    assert "two tags have the same name" in refusal(read, "a.jpg\that\n", ClassNames(("hat", "hat"), "map"))

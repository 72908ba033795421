"""Label maps are read as what they say or refused, and names are compared wherever two meet."""

import pytest

from ppcls_light.data import ClassNames, ImageList, as_class_names, read_class_names
from ppcls_light.data.classes import folder_labels, imagenet_names, require_same_folders
from ppcls_light.errors import ConfigError, DataError


@pytest.fixture
def read(tmp_path):
    def read(text, delimiter=None):
        path = tmp_path / "labels.txt"
        path.write_text(text, "utf-8")
        return list(read_class_names(path, delimiter))

    return read


@pytest.mark.parametrize(
    "text",
    [
        *["0 cat\n1 big dog\n2 猫\n", "\ufeff0 cat\r\n2 猫\r\n\r\n1 big dog\r\n", "cat 0\nbig dog 1\n猫 2"],
        *[
            "big dog\t1\ncat\t0\n猫\t2",
            "0,cat\n1,big dog\n2,猫",
            "0: cat\n1: big dog\n2: 猫",
            "0. cat\n1. big dog\n2. 猫",
        ],
        *[
            "0=cat\n1=big dog\n2=猫",
            "0 - cat\n1 - big dog\n2 - 猫",
            "cat\nbig dog\n猫\n",
            '["cat", "big dog", "猫"]',
        ],
        *['{"0": "cat", "2": "猫", "1": "big dog"}', '{"big dog": 1, "cat": 0, "猫": 2}'],
        *[
            "0：cat\n1：big dog\n2：猫",
            "0 -> cat\n1 -> big dog\n2 -> 猫",
            '"0","cat"\n"1","big dog"\n"2","猫"',
        ],
        *["- cat\n- big dog\n- 猫", '* "cat"\n* "big dog"\n* 猫', "- 2: 猫\n- 0: cat\n- 1: big dog"],
        *["2 猫\n1 big dog\n0 cat", "+0 cat\n+1 big dog\n+2 猫", "０ cat\n１ big dog\n２ 猫"],
    ],
)
def test_forms_that_say_one_order(read, text):
    assert read(text) == ["cat", "big dog", "猫"]


def test_names_that_hold_numbers(read):
    assert read("0 tench, Tinca tinca\n1 goldfish, Carassius auratus") == [
        "tench, Tinca tinca",
        "goldfish, Carassius auratus",
    ]
    assert read("0 Audi 80\n1 BMW 2002\n") == ["Audi 80", "BMW 2002"]
    assert read("3 Series 1\n5 Series 0") == ["5 Series", "3 Series"]
    assert read("737-200\nA300B4") == ["737-200", "A300B4"]
    assert read("0-cat\n1-dog") == ["0-cat", "1-dog"]  # which may be what the folders are called
    assert read("3D printer\n7up\nmp3 player") == ["3D printer", "7up", "mp3 player"]
    assert read("0 0\n1 1") == read("0\n1") == ["0", "1"]  # digits are their own names
    assert read("0|a b\n1|c 1", "|") == ["a b", "c 1"]
    assert read("134 crane\n".replace("134", "0") + "1 crane") == [
        "crane",
        "crane",
    ]  # ImageNet has two of them


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 cat\n2 dog", r":2: class id 2 of 2 classes"),
        ("cat 1\ndog 2", r":2: class id 2 of 2 classes"),
        ("0 cat\n2 dog\n3 bird", r":3: class id 3 of 3 classes"),
        ("-1 cat\n0 dog", r":1: class id -1"),
        ("0 cat\n0 dog", r":2: class id 0 is given twice"),
        ("0 cat\n1 dog\nbird", r":1: '0 cat' has a number, and line 3 'bird' has none"),
        ("cat\n0 dog", r":2: '0 dog' has a number"),
        ("0 cat\ndog 1", r":2: 'dog 1' ends with a number, and line 1 '0 cat' begins with one"),
        ("cat 0\n1 dog", r":1: 'cat 0' ends with a number, and line 2 '1 dog' begins with one"),
        *(
            (f"{first}\n{second}", r":1: .* has the number 1 in the place of 0")
            for first, second in (
                *[
                    ("1.dog", "0.cat"),
                    ("1_dog", "0_cat"),
                    ("1-dog", "0-cat"),
                    ("(1) dog", "(0) cat"),
                    ("#1 dog", "#0 cat"),
                ],
                *[
                    ("1/dog", "0/cat"),
                    ("1.0 dog", "0.0 cat"),
                    ("class 1: dog", "class 0: cat"),
                    ("label_1 dog", "label_0 cat"),
                ],
                *[("n01 1 dog", "n02 0 cat"), ("001.Black", "002.Laysan"), ("1", "0")],
            )
        ),
        ("cat\ndog\n3 birds", r":3: '3 birds' has a number"),
        ("id,name\n0,cat\n1,dog", r":2: '0,cat' has a number"),
        ("0 step 1\n1 step 0", r":1: '0 step 1' begins and ends with an id"),
        ("# my classes\ncat\ndog", r":1: '# my classes' looks like a comment, a list or a table"),
        ("cat\n// and\ndog", r":2: '// and' looks like a comment"),
        ("classes:\n- cat\n- dog", r":2: '- cat' looks like a comment, a list"),
        (
            "| id | name |\n|---|---|\n| 0 | cat |",
            r":1: '\| id \| name \|' looks like a comment, a list or a table",
        ),
        ("<li>cat</li>\n<li>dog</li>", r":1: '<li>cat</li>' looks like"),
        ("\n", "no class names"),
        ('["cat", 1]', "no JSON list of names"),
        ('{"0": ["n01440764", "tench"]}', "no JSON list of names"),
        ('{"cat": 0, "dog": 0}', "two names have the same id"),
        ('{"0": "cat", "0": "dog"}', "'0' is given twice"),
        ('{"0": "cat", "2": "dog"}', "class id 2 of 2 classes"),
        ('{"cat": true}', "no JSON list of names"),
        ("[" * 100_000, "begins like JSON"),
    ],
)
def test_what_is_refused(read, text, reason):
    with pytest.raises(DataError, match=reason):
        read(text)


CLASSES = ClassNames(("circle", "square", "stripe"), "labels.txt")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("stripe", "square", "circle"),
            "another order: label 0 is 'circle' in the first and 'stripe' in the second",
        ),
        (("circle", "square", "star"), "only the first has stripe; only the second has star"),
        (("circle", "square"), "name other classes: only the first has stripe; the fix"),
        (("circle", "square", "stripe", "star"), "name other classes: only the second has star; the fix"),
        (("Circle", "square", "stripe"), "only the first has circle; only the second has Circle"),
    ],
)
def test_other_names_are_refused_with_both_sources_and_the_fix(names, words):
    with pytest.raises(DataError) as error:
        CLASSES.require_same(ClassNames(names, "other.txt"), "the fix")
    assert "labels.txt and other.txt name" in str(error.value)
    assert words in str(error.value)
    assert str(error.value).endswith("; the fix")


def test_the_same_names_pass_whatever_their_source():
    CLASSES.require_same(ClassNames(tuple(CLASSES), "elsewhere"), "")


def test_folders_take_the_numbers_of_the_names():
    assert CLASSES.labels_of(["stripe", "circle"], "photos") == {"circle": 0, "stripe": 2}
    with pytest.raises(
        DataError, match=r"photos: the class folder 'star' is none of the 3 classes that labels\.txt"
    ):
        CLASSES.labels_of(["star"], "photos")
    with pytest.raises(DataError, match="'crane' is the name of two classes"):
        ClassNames(("crane", "crane"), "labels.txt").labels_of(["crane"], "photos")


def listed(*entries, source="list.txt"):
    names, labels = zip(*(entry.rsplit(" ", 1) for entry in entries))
    return ImageList("root", (name.encode() for name in names), [int(label) for label in labels], source)


def test_an_accent_is_one_character_or_two(tmp_path):
    """A folder that was made on macOS has the letter and the accent, a map typed elsewhere has one character."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    (tmp_path / "labels.txt").write_text(f"0 {composed}\n1 bar", "utf-8")
    names = read_class_names(tmp_path / "labels.txt")
    assert names.labels_of(["bar", apart], "photos") == {"bar": 1, apart: 0}
    names.require_same(ClassNames((apart, "bar"), "photos"), "the fix")
    wrong = ImageList("photos", [f"{apart}/a.png".encode(), b"bar/b.png"], [1, 0])
    with pytest.raises(DataError, match=f"the folder '{composed}' label 1, which is 'bar'"):
        names.check_list(wrong)
    with pytest.raises(DataError, match="is the name of two classes"):
        ClassNames((composed, apart), "photos").labels_of([composed, apart], "photos")


def test_the_folders_in_a_list_tell_of_another_order():
    CLASSES.check_list(listed("train/circle/1.png 0", "train/circle/2.png 0", "train/stripe/1.png 2"))
    with pytest.raises(
        DataError, match=r"list\.txt gives .*'circle' label 2, which is 'stripe' in labels\.txt"
    ):
        CLASSES.check_list(listed("circle/1.png 2", "square/1.png 1", "stripe/1.png 0"))
    with pytest.raises(DataError, match="'stripe' label 0"):
        CLASSES.check_list(listed("/data/stripe/1.png 0"))


@pytest.mark.parametrize(
    "entries",
    [
        ["1.png 0", "2.png 1"],  # no folders
        ["val/1.png 0", "val/2.png 1"],  # one for all classes
        ["circle/1.png 1", "circle/2.png 2"],  # a folder that is no class, whatever it is called
        ["left/1.png 0", "right/1.png 0", "back/1.png 1"],  # several a class
    ],
)
def test_folders_that_are_no_classes_tell_nothing(entries):
    assert folder_labels(listed(*entries)) == {}
    CLASSES.check_list(listed(*entries))


@pytest.mark.parametrize(
    ("entries", "same"),
    [
        (["a/9.png 0", "c/9.png 2"], True),
        (["x/9.png 0", "y/9.png 1"], True),
        (["a/9.png 2", "b/9.png 1", "c/9.png 0"], False),
        (["a/9.png 1", "b/9.png 0", "z/9.png 2"], False),  # a class that the first has not
        (
            [*(f"a/{i}.png 1" for i in range(9)), "a/9.png 0", "b/9.png 0"],
            False,
        ),  # one image is labelled wrongly
        (["a/9.png 0", "b/9.png 1", "c/9.png 3"], True),  # most agree: other folders of the same name
    ],
)
def test_two_lists_that_number_their_folders_differently(entries, same):
    train, other = listed("a/1.png 0", "b/1.png 1", "c/1.png 2"), listed(*entries, source="val.txt")
    pairs = folder_labels(train), train.source, folder_labels(other), other.source
    if same:
        require_same_folders(*pairs)
    else:
        with pytest.raises(
            DataError, match=r"list\.txt and val\.txt number the classes differently: .*'a' have label 0"
        ):
            require_same_folders(*pairs)


@pytest.mark.parametrize("names", ["abc", {"a", "b"}, [0, 1], ["a", None], {0: "a", 1: 2}, 3])
def test_what_names_no_classes_in_python(names):
    with pytest.raises(ConfigError, match="class_names: a list of texts or"):
        as_class_names(names, "class_names")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (0, "tench"),
        (134, "crane"),
        (207, "golden retriever"),
        (281, "tabby"),
        (517, "crane"),
        (999, "toilet tissue"),
    ],
)
def test_imagenets_names_are_in_the_order_of_its_labels(label, name):
    """As timm, torchvision and PaddleClas number them."""
    names = imagenet_names()
    assert len(names) == 1000
    assert names[label].split(",")[0] == name

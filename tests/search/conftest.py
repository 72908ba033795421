import pytest
import yaml

LR = "Optimizer.lr.learning_rate"
SIZE = "DataLoader.Train.dataset.transform_ops.1.RandCropImage.size"
DIVERGES = 1e9  # a learning rate


def write_search(folder, config_file, **keys):
    """Write a search over `config_file` into `folder`, with these keys, and return its path as text."""
    content = {
        "base_config_file": str(config_file),
        "output_dir": str(folder / "search"),
        "search_dict": [
            {"search_key": "lrs", "replace_config": [LR], "search_values": [DIVERGES, 0.05]},
            {"search_key": "resolutions", "replace_config": [SIZE], "search_values": [24, 32]},
        ],
        **keys,
    }
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


@pytest.fixture
def search_file(config_file, tmp_path):
    """A function that writes a search over `config_file`, with the keys that it is given, and returns its path."""
    return lambda **keys: write_search(tmp_path, config_file, **keys)

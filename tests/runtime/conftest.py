from tests.prediction.conftest import exported, photos

__all__ = ["exported", "photos"]

from tests.predict.conftest import exported, photos

__all__ = ["exported", "photos"]

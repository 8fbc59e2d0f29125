from counting import blocking as app

__all__ = ["app"]

"""Why a file of the photo folder cannot be used."""


class PhotoProblem(ValueError):
    """Why one file cannot be used; `prepare_photos` collects them."""

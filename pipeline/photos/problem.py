"""Why a file of the photo folder cannot be used."""


class PhotoProblem(ValueError):
    """Why one file cannot be used; `prepare_photos` collects them.

    `setting` is the parameter that decided, if one did; `found` leaves it out, for pictures that are no photos of runs.
    """

    def __init__(self, found: str, setting: str = ""):
        super().__init__(f"{found} ({setting})" if setting else found)
        self.found = found

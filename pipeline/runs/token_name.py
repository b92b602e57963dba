"""Words that are no good tokens by the way they are written, whatever the base makes of them."""

import re


def numbered(token: str) -> str | None:
    """Why a word is no good token that looks like a further vector of another one; None where it does not."""
    found = re.fullmatch(r"(.+)_[0-9]+", token)
    if found is None:
        return None
    return (
        f"ends in an underscore and a number, as the words for further vectors of the token '{found[1]}' do, and a "
        "prompt could not tell two such models apart; choose another"
    )

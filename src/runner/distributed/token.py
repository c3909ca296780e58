"""The token of a Ray cluster: the secret that lets its user in, and where Ray looks for it.

Which servers it is sent to is for those who call them.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from runner.errors import UserError

TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
TOKEN_FILE = Path("~/.ray/auth_token")
ACCESS = "RAY_AUTH_MODE"


@dataclass(frozen=True)
class Token:
    """The cluster's secret, and where it was found; its value is never shown."""

    value: str = field(repr=False)
    source: str

    @property
    def header(self) -> dict[str, str]:
        """What is sent with a request."""
        return {"Authorization": f"Bearer {self.value}"}


def find_token() -> Token | None:
    """Ray's token, from the places where Ray looks for it, in its order; ``UserError`` for a file that is named."""
    if os.environ.get(TOKEN):
        return Token(os.environ[TOKEN].strip(), TOKEN)
    named = os.environ.get(TOKEN_PATH)
    path = Path(named or TOKEN_FILE).expanduser()
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise UserError(f"the token's file cannot be read ({error})", TOKEN_PATH, "name a readable file") from error
        return None
    return Token(text, str(path)) if text else None


def token_asked_for(where: str) -> Token:
    """The token for the cluster at ``where``, which asks for one; ``UserError`` when there is none."""
    token = find_token()
    if token is None:
        raise UserError(
            "the cluster asks for a token and there is none",
            where,
            f"set {TOKEN}, or put the cluster's token in {TOKEN_FILE} with mode 0600",
        )
    return token


def token_refused(where: str, token: Token, code: object) -> UserError:
    """The error for a cluster at ``where`` that does not take ``token`` and answers ``code``."""
    return UserError(
        f"the cluster refuses the token ({code})", f"{where}, token of {token.source}", "give the cluster's own"
    )

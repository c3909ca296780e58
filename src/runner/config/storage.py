"""Where runs are kept, as one writes it: a folder, or a URL of a bucket.

Reading and writing there is done by ``runs``.
"""

import re

SCHEMES = ("s3", "gs")
_URL = re.compile(r"(?P<scheme>[a-z0-9]+)://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]*)(/(?P<prefix>[A-Za-z0-9._/=-]*))?")


def is_url(storage: str) -> bool:
    """Whether ``storage`` names a bucket and no folder."""
    return "://" in storage


def fault_of(storage: str) -> str | None:
    """What is wrong with a URL, None if nothing; credentials that stand in one are not repeated."""
    scheme, _, rest = storage.partition("://")
    if "@" in rest or "?" in rest:
        return (
            f"storage is a {scheme}:// URL with more than a bucket and a path; "
            "credentials and endpoint belong in the environment, as the cloud's own tools take them"
        )
    if scheme not in SCHEMES:
        return (
            f'storage is "{storage}"; it must be a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX: '
            "mount what lies elsewhere and give its path"
        )
    match = _URL.fullmatch(storage)
    if match is None or "//" in rest or {".", ".."} & set(rest.split("/")):
        return f'storage is "{storage}"; it must be {scheme}://BUCKET/PREFIX of letters, digits and . _ - = /'
    return None


def scheme_of(url: str) -> str:
    """``s3`` or ``gs``."""
    return url.partition("://")[0]


def bucket_of(url: str) -> str:
    """The bucket that ``url`` names."""
    return url.partition("://")[2].partition("/")[0]

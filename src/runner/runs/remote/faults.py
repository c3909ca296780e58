"""What went wrong at a bucket, in one line: what, where, what to do.  No text of the server is passed on.

Servers and libraries quote requests in their texts, and requests hold keys and signatures.
"""

import os
from typing import Any

from runner.config.storage import bucket_of, scheme_of
from runner.errors import UserError

_NO_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "ProfileNotFound",
    "SSOTokenLoadError",
    "TokenRetrievalError",
}
_REFUSED_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RefreshError",
    "401",
}
_NOT_ALLOWED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403"}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_NAMES = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
}
_ENDPOINTS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": ("STORAGE_EMULATOR_HOST",)}


class StorageFault(UserError):
    """A store that does not answer, or does not do what is asked."""


class Refused(StorageFault):
    """The store answers and says no: to these credentials, or to what they may do; or it has no such bucket."""


class Unreachable(StorageFault):
    """The store does not answer, or answers that it cannot now."""


def told(error: BaseException, url: str) -> Exception:
    """``error`` of a storage library as one that says what it means.

    ``FileNotFoundError`` for an object that is not there, ``FileExistsError`` for one to be made that is, or that
    another is making; else a ``StorageFault``.
    """
    scheme, codes = scheme_of(url), _codes(error)
    if isinstance(error, FileExistsError) or codes & _TAKEN:
        return FileExistsError(url)
    where = _where(url, scheme)
    if codes & {"NoSuchBucket"} or (isinstance(error, FileNotFoundError) and str(error).strip("/") == bucket_of(url)):
        return Refused(f"there is no bucket {bucket_of(url)}", where, "make it, or give another --storage")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(url)
    if codes & _NO_CREDENTIALS:
        return Refused("no credentials for the storage are found", where, f"set {_NAMES[scheme]}")
    if code := sorted(codes & _REFUSED_CREDENTIALS):
        return Refused(f"the storage refuses the credentials ({code[0]})", where, f"set {_NAMES[scheme]} anew")
    if codes & _NOT_ALLOWED or isinstance(error, PermissionError) or str(error).startswith("Forbidden"):
        return Refused(
            "the credentials may not do this with the storage",
            where,
            "let them list, read, write and delete objects there",
        )
    if code := sorted(codes & _ELSEWHERE):
        return Refused(f"the bucket is in another region ({code[0]})", where, "set AWS_REGION to the bucket's own")
    return Unreachable(
        f"the storage does not answer ({_words(error)})", where, "see whether it can be reached from this machine"
    )


def _codes(error: BaseException | None) -> set[str]:
    """What the chain of ``error`` calls itself: names of classes, codes of answers."""
    codes = set()
    while error is not None:
        codes.add(type(error).__name__)
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):
            codes.add(str(response.get("Error", {}).get("Code")))
        codes.add(str(getattr(error, "code", "")))
        error = error.__cause__ or error.__context__
    return codes


def _words(error: BaseException) -> str:
    """A code or a class: whatever is known of a failure that has no place among the others."""
    response: Any = getattr(error.__cause__ or error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        return str(response["Error"].get("Code"))
    code = getattr(error, "code", None)
    return f"{type(error).__name__} {code}" if code else type(error).__name__


def _where(url: str, scheme: str) -> str:
    """``url``, and the endpoint where it is not the cloud's own."""
    endpoint = next((os.environ[name] for name in _ENDPOINTS[scheme] if os.environ.get(name)), None)
    return f"{url} at {endpoint.rpartition('@')[2]}" if endpoint else url

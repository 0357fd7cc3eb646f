"""What the libraries of S3, Google and HTTP say, told apart and put for people, without anything secret."""

from __future__ import annotations

import re
from collections.abc import Iterator

from speechpress.runtime.errors import SpeechpressError

_BUSY = {
    *("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted"),
    *("Throttling", "ThrottlingException", "RequestThrottled", "TooManyRequests", "IncompleteBody"),
}
_BUSY_STATUS = {408, 425, 429}
_ELSEWHERE = {"PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed", "301", "307"}
_CHANGED = {"PreconditionFailed", "412"}
_GONE = {"NoSuchKey", "NotFound", "404", "410"}
_CLOSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "401", "403"}
_PASSING = (
    "aiohttp.",
    *(f"botocore.exceptions.{kind}Error" for kind in ("HTTPClient", "Connection", "IncompleteRead")),
)
_LETTERS = 200
# Signatures stand in queries, passwords before an @.
_QUERY = re.compile(r"\?[^\s'\"]+|//[^/\s@]+@")


class RemoteError(SpeechpressError):
    """A corpus that lies elsewhere cannot be read. Unlike a damaged recording it ends a run, or data would be lost.

    Attributes:
        kind: "absent", "busy" (all tries failed), or "".
    """

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind


def transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    code = _code(error)
    if code is not None:
        busy = code.isdigit() and (int(code) >= 500 or int(code) in _BUSY_STATUS)
        return busy or code in _BUSY
    kinds = [name for one in _chain(error) for name in _kinds(one)]
    if any(name.startswith(_PASSING) for name in kinds):
        return "aiohttp.client_exceptions.InvalidURL" not in kinds
    return not isinstance(error, FileNotFoundError | PermissionError) and any(
        isinstance(one, OSError | EOFError) for one in _chain(error)
    )


def explained(url: str, error: BaseException) -> RemoteError:
    """An error that will not pass, and what to do."""
    absent = _code(error) in _GONE or isinstance(error, FileNotFoundError)
    return RemoteError(f"{url}: {_explanation(url, error)}", "absent" if absent else "")


def reason(error: BaseException) -> str:
    """What was said, in one short line without queries, in which signatures stand."""
    for one in _chain(error):
        status = getattr(one, "status", None)
        if isinstance(status, int):
            # aiohttp's text holds the address that it was sent on to, with its signature.
            return f"the server answered {status} {getattr(one, 'message', '')}".strip()
    first = next((one for one in _chain(error) if str(one)), error)
    text = " ".join(_QUERY.sub("...", str(first)).split()) or type(error).__name__
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}..."


def _explanation(url: str, error: BaseException) -> str:
    code, kinds = _code(error), {name.rpartition(".")[2] for one in _chain(error) for name in _kinds(one)}
    scheme, _, rest = url.partition("://")
    bucket = rest.partition("/")[0]
    if kinds & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError"}:
        return f"no credentials were found; {_how_to_log_in(scheme)}"
    if code in _ELSEWHERE:
        return f"the bucket {bucket} lies in another region ({reason(error)}); set AWS_DEFAULT_REGION to it"
    if code in _CHANGED or "FileExpired" in kinds:
        return "was changed while it was read; nothing of the new one was used. Start the command again"
    if code == "NoSuchBucket" or "bucket does not exist" in reason(error):
        return f"there is no bucket {bucket}, by what the storage says; check its name and the endpoint"
    if code == "RequestTimeTooSkewed":
        return "the clock of this machine differs from the storage's by more than it allows; set it right"
    if code in _CLOSED or isinstance(error, PermissionError):
        return f"may not be read ({reason(error)}); {_how_to_log_in(scheme)}"
    if code in _GONE or isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    if "range requests" in str(error) or "more bytes" in str(error):
        return (
            "its server sends whole files where a part is asked for; use one that knows Range, or download the corpus"
        )
    return f"cannot be read ({reason(error)})"


def _how_to_log_in(scheme: str) -> str:
    if scheme == "s3":
        return (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for whoever may read it; for a public "
            "bucket set FSSPEC_S3_ANON=true"
        )
    if scheme == "gs":
        return "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
    return "put the host's name and password into ~/.netrc"


def _code(error: BaseException) -> str | None:
    """What the server gave as its reason: S3's code, or the status."""
    for one in _chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code"))
        # The `code` of other errors is no answer: aiohttp gives 400 to what was cut off.
        status = getattr(one, "code" if type(one).__name__ == "HttpError" else "status", None)
        if isinstance(status, int) or (isinstance(status, str) and status.isdigit()):
            return str(status)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _kinds(error: BaseException) -> Iterator[str]:
    # By their names: the libraries need not be installed.
    yield from (f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__)

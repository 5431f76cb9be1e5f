"""The one error tree.

Each class maps to one gRPC code, one HTTP status and one exit status of the command line; the mapping
happens at the edges only (`api/`, `cli/`). The codes follow containerd's error table, which its clients
rely on. An error says *what* object it is about, *why* it was refused and, where there is one, the remedy
(*hint*); `field` names the offending input field, dotted.
"""

from __future__ import annotations

from typing import Any, ClassVar


class TricornError(Exception):
    """Base of every error the agent raises on purpose; never raised itself."""

    code: ClassVar[str] = "Unknown"
    grpc: ClassVar[int] = 2
    http: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __init__(
        self, what: str, *, why: str = "", hint: str = "", field: str | None = None, **details: Any
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.field = field
        self.details = details

    def __str__(self) -> str:
        text = self.what
        if self.why:
            text += f": {self.why}"
        return text

    def one_line(self) -> str:
        """Return the whole story on one line, as the command line prints it."""
        text = " ".join(str(self).split())
        if self.field:
            text = f"{self.field}: {text}"
        return f"{text} (hint: {self.hint})" if self.hint else text

    def problem(self) -> dict[str, Any]:
        """Return the RFC 9457 problem document of this error."""
        document: dict[str, Any] = {
            "type": f"urn:tricorn:error:{self.code}",
            "title": self.code,
            "status": self.http,
            "code": self.code,
            "detail": str(self),
            "what": self.what,
        }
        for key in ("why", "hint", "field"):
            if getattr(self, key):
                document[key] = getattr(self, key)
        if self.details:
            document["details"] = self.details
        return document


class InvalidArgument(TricornError):
    """The request, file or document is malformed, whatever the state of the node."""

    code, grpc, http, exit_status = "InvalidArgument", 3, 400, 2


class NotFound(TricornError):
    code, grpc, http, exit_status = "NotFound", 5, 404, 4


class AlreadyExists(TricornError):
    code, grpc, http, exit_status = "AlreadyExists", 6, 409, 5


class PermissionDenied(TricornError):
    code, grpc, http, exit_status = "PermissionDenied", 7, 403, 6


class PolicyDenied(PermissionDenied):
    """The image policy refuses an image; `details` name the rule, the reference and the digest."""

    code = "PolicyDenied"


class ResourceExhausted(TricornError):
    """A bound of `limits.py`, a budget or the disk was reached."""

    code, grpc, http, exit_status = "ResourceExhausted", 8, 413, 7


class FailedPrecondition(TricornError):
    """The object's state forbids the call; the same call may succeed later."""

    code, grpc, http, exit_status = "FailedPrecondition", 9, 412, 8


class Conflict(FailedPrecondition):
    """Somebody else changed or holds the object."""

    code, http = "Conflict", 409


class Aborted(TricornError):
    code, grpc, http, exit_status = "Aborted", 10, 409, 9


class OutOfRange(TricornError):
    code, grpc, http, exit_status = "OutOfRange", 11, 416, 10


class Unimplemented(TricornError):
    """This agent, host or runtime cannot do it; the hint says what is missing."""

    code, grpc, http, exit_status = "Unimplemented", 12, 501, 11


class Internal(TricornError):
    code, grpc, http, exit_status = "Internal", 13, 500, 1


class Unavailable(TricornError):
    """Try again: busy, shutting down, or a peer that does not answer."""

    code, grpc, http, exit_status = "Unavailable", 14, 503, 12


class DataLoss(TricornError):
    """Bytes do not match their digest, or the database is damaged."""

    code, grpc, http, exit_status = "DataLoss", 15, 500, 13


class Unauthenticated(TricornError):
    code, grpc, http, exit_status = "Unauthenticated", 16, 401, 14


class Canceled(TricornError):
    code, grpc, http, exit_status = "Canceled", 1, 499, 15


class DeadlineExceeded(TricornError):
    code, grpc, http, exit_status = "DeadlineExceeded", 4, 504, 16


BY_CODE: dict[str, type[TricornError]] = {
    cls.code: cls
    for cls in (
        InvalidArgument, NotFound, AlreadyExists, PermissionDenied, ResourceExhausted, FailedPrecondition,
        Conflict, Aborted, OutOfRange, Unimplemented, Internal, Unavailable, DataLoss, Unauthenticated,
        Canceled, DeadlineExceeded, PolicyDenied,
    )
}  # fmt: skip


def from_problem(document: dict[str, Any]) -> TricornError:
    """Rebuild the error that a problem document stands for (the client's side of `problem`)."""
    cls = BY_CODE.get(str(document.get("code")), Internal)
    details = document.get("details")
    return cls(
        str(document.get("what") or document.get("detail") or "the agent reported an error"),
        why=str(document.get("why", "")),
        hint=str(document.get("hint", "")),
        field=document.get("field"),
        **(details if isinstance(details, dict) else {}),
    )

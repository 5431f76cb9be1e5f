"""What every call passes on its way to a handler: readiness, authorisation, and the audit on its way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from tricorn.api.grpc.face import Bound, FaceCall, Rpc, namespace_of
from tricorn.api.http.audit import Audit
from tricorn.errors import TricornError, Unavailable
from tricorn.grpc import Call
from tricorn.rules.authorise import Authoriser

_NAMING: Final = (
    "id",
    "container_id",
    "sandbox_id",
    "exec_id",
    "name",
    "snapshotter",
    "key",
    "digest",
    "ref",
)
_VALUE: Final = 300  # characters of one value in an audit line


class Gate:
    """`authoriser` may be replaced while it runs; calls under way keep the decision they had."""

    def __init__(self, authoriser: Authoriser, ready: Callable[[], bool]) -> None:
        self.authoriser = authoriser
        self._ready = ready

    async def run(self, path: str, spec: Rpc, handler: Bound, call: Call, *request: Any) -> Any:
        """Let one call through to its handler; return the handler's answer."""
        audit = Audit(call.peer, call.metadata.get("containerd-namespace", ""), "gRPC", path)
        outcome = "ok"
        try:
            self._admit(spec, call)
            face_call = FaceCall(call, call.peer, audit, lambda: self.authoriser)
            return await handler(face_call, *request)
        except TricornError as error:
            outcome = error.code
            raise
        except Exception:
            outcome = "Internal"
            raise
        except BaseException:
            outcome = "cancelled"
            raise
        finally:
            if spec.changes or outcome == "PermissionDenied":
                audit.note(**dict(_named(request)))
                audit.write(outcome)

    def _admit(self, spec: Rpc, call: Call) -> None:
        if not spec.early and not self._ready():
            raise Unavailable("the agent is not ready yet", hint="try again in a moment")
        spec.scope.require(self.authoriser, call.peer, spec.role, lambda: namespace_of(call.metadata))


def _named(request: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """Yield the fields that tell which object a request is about, those of the object in it included."""
    for message in request:
        for field, value in message.ListFields():
            if field.name in _NAMING and isinstance(value, str):
                yield field.name, value[:_VALUE]
            elif hasattr(value, "ListFields") and field.name not in {"spec", "options"}:
                yield from (
                    (inner.name, text[:_VALUE])
                    for inner, text in value.ListFields()
                    if inner.name in _NAMING and isinstance(text, str)
                )

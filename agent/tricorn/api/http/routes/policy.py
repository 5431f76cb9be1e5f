"""The image policy: what is in force, and what it would say of an image."""

from __future__ import annotations

from tricorn.api.http.routing import Call, Route, Scope
from tricorn.errors import FailedPrecondition, NotFound, Unauthenticated, Unavailable
from tricorn.model.policy import PolicyAnswer, PolicyQuestion, PolicyView
from tricorn.rules.authorise import Role


async def view(call: Call) -> object:
    return await call.services.policy.view()


async def check(call: Call) -> object:
    return await call.services.policy.check(call.namespace, call.body)


ROUTES = (
    Route(
        "GET", "/v1/policy", view, "The image policy in force", PolicyView, scope=Scope.ANYWHERE, errors=()
    ),
    Route(
        "POST",
        "/v1/{ns}/policy/check",
        check,
        "Say whether the image policy lets an image be used, without bringing it",
        PolicyAnswer,
        body=PolicyQuestion,
        role=Role.OPERATE,  # it reaches out, and starts programs
        errors=(NotFound, Unauthenticated, Unavailable, FailedPrecondition),
    ),
)

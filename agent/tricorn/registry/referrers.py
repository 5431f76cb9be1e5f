"""What refers to a manifest, as a registry tells it: by its referrers API, or else by an index under a tag.

Source: OCI distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

from tricorn import limits
from tricorn.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_INDEX, Descriptor, Index, parse_image_document
from tricorn.registry.access import Access, Call, Outgoing
from tricorn.registry.answers import refusal
from tricorn.registry.push_to import PushTo, check_digest
from tricorn.registry.resolve import read_document
from tricorn.registry.url import Url
from tricorn.registry.wire import Response
from tricorn.rules.hosts import RegistryHost
from tricorn.rules.referrers import fallback_tag, of_type, with_referrer

_ACCEPT: Final = (("Accept", OCI_INDEX),)
_NO_API: Final = frozenset({400, 404, 405, 406, 501})
_NEXT: Final = re.compile(r'\s*<([^>]+)>\s*;\s*rel="?next"?\s*(?:,|;|$)')
_CREATED: Final = frozenset({200, 201, 202, 204})


async def referrers_on(
    access: Access, call: Call, host: RegistryHost, subject: Digest, artifact_type: str
) -> list[Descriptor]:
    """Ask `host` what refers to `subject` in the call's repository.

    NotFound when it knows of nothing, so that another host may be asked; the errors of `refusal`.
    """
    found = await _by_api(access, call, host, subject, artifact_type)
    if found is None:
        data = await _tagged(access, call, host, subject)
        found = list(_index(data).manifests) if data else []
    if not found:
        raise NotFound(f"{host} knows nothing that refers to {subject}")
    return of_type(found, artifact_type)


async def _by_api(
    access: Access, call: Call, host: RegistryHost, subject: Digest, artifact_type: str
) -> list[Descriptor] | None:
    """Return what the referrers API lists, page by page; None where there is no such API."""
    found: list[Descriptor] = []
    out = Outgoing(query=urlencode({"artifactType": artifact_type}) if artifact_type else "")
    for page in range(limits.REFERRERS_PAGES):
        path = f"/referrers/{subject}"
        async with access.open(call, host, "GET", path, _ACCEPT, out) as response:
            if response.status in _NO_API and not page:
                return None
            if response.status != 200:
                raise await refusal(response)
            found += _index(await read_document(response, limits.MANIFEST_SIZE)).manifests
            following = _following(response)
        if len(found) > limits.REFERRERS:
            raise ResourceExhausted(f"too much refers to {subject}", why=f"over {limits.REFERRERS} artifacts")
        if following is None:
            return found
        out = Outgoing(url=following)
    raise ResourceExhausted(f"too much refers to {subject}", why=f"over {limits.REFERRERS_PAGES} pages")


def _following(response: Response) -> Url | None:
    """Return the next page of a list; it must be the same host's."""
    match = _NEXT.match(response.head.get("link"))
    if match is None:
        return None
    try:
        url = response.url.join(match[1])
    except InvalidArgument as error:
        raise FailedPrecondition(f"{response.url.origin} names no next page", why=str(error)) from None
    if url.origin != response.url.origin:
        raise FailedPrecondition(f"{response.url.origin} continues a list elsewhere", why=f"at {url.origin}")
    return url


async def _tagged(access: Access, call: Call, host: RegistryHost, subject: Digest) -> bytes | None:
    """Return the list under the subject's tag, None if there is none."""
    async with access.open(call, host, "GET", f"/manifests/{fallback_tag(subject)}", _ACCEPT) as response:
        if response.status == 200:
            return await read_document(response, limits.MANIFEST_SIZE)
        error = await refusal(response)
    if isinstance(error, NotFound):
        return None
    raise error


def _index(data: bytes) -> Index:
    try:
        document = parse_image_document(data, OCI_INDEX)
    except InvalidArgument as error:
        raise DataLoss("the registry's list of referrers is malformed", why=str(error)) from None
    assert isinstance(document, Index)
    return document


async def note_referrer(to: PushTo, subject: Digest, referrer: Descriptor) -> bool:
    """Make sure that the registry tells of `referrer`, whose manifest is there, when it is asked for what
    refers to `subject`. Returns whether that took a new list under the subject's tag.

    Registries with the referrers API do it by themselves. Others don't guard the list: of two that add to
    it at once, one may be lost, as the specification admits.
    """
    async with to.ask("GET", f"/referrers/{subject}", _ACCEPT) as response:
        if response.status == 200:
            return False
        if response.status not in _NO_API:
            raise await to.refused(response)
    new = with_referrer(await _tagged(to.access, to.call, to.host, subject), referrer)
    if new is None:
        return False
    headers = (("Content-Type", OCI_INDEX),)
    async with to.ask("PUT", f"/manifests/{fallback_tag(subject)}", headers, body=new) as response:
        if response.status not in _CREATED:
            raise await to.refused(response)
        check_digest(response, Digest.of(new))
    return True

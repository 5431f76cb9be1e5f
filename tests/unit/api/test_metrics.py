"""What namespaces use and what verification found, as figures."""

from __future__ import annotations

from tricorn.api.metrics import Metrics
from tricorn.model.usage import Budget, NamespaceUsage
from tricorn.service.usage import figures


async def test_usage_and_verification_have_names_of_their_own() -> None:
    used = [NamespaceUsage("team-a", 30, 10, 20, 3, 0, 40, 2, images=1, budget=Budget(bytes=100))]
    found = {"usage": figures(used), "scrub": {"checked": 7, "damaged": 2, "restored": 1, "bytes": 9}}
    text = (await Metrics(lambda: found, version="1").render()).decode()
    for line in (
        'tricorn_namespace_usage{kind="content_bytes",namespace="team-a"} 30.0',
        'tricorn_namespace_usage{kind="snapshot_bytes",namespace="team-a"} 40.0',
        'tricorn_namespace_usage{kind="budget_bytes",namespace="team-a"} 100.0',
        "tricorn_scrub_damaged 2.0",
        'tricorn_statistic{name="scrub.bytes"} 9.0',
    ):
        assert line in text
    assert "budget_images" not in text

"""A fleet for tests: nodes that differ, one that isn't reached, and names that would be scripts elsewhere."""

from __future__ import annotations

from attrs import evolve

from tricorn.fleet.drift import between
from tricorn.fleet.views import ContainerLine, FleetView, ImageLine, NodeView, Pull

MIB = 1024 * 1024
HOSTILE = "<script>document.title='hacked'</script>"
QUOTES = '"><img src=x onerror="document.title=\'hacked\'">'
ONE, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def container(name: str, number: int = 0, **fields: object) -> ContainerLine:
    made = ContainerLine(
        "shop", name, f"registry.lan/shop/{name}:1.4", ONE, "running", memory=(3 + number * 7) * MIB,
        started_at="2026-11-20T10:00:00Z", config="c", settings={"env": {"A": "b"}},
    )  # fmt: skip
    return evolve(made, **fields)


def node(number: int) -> NodeView:
    names = ("web", "cache", "queue", "search", "mail", "metrics", "proxy", "worker", "cron", "blog")
    images = tuple(ImageLine("shop", f"registry.lan/shop/{name}:1.4", ONE, 40 * MIB) for name in names[:4])
    return NodeView(
        f"n{number}", ("nodes", "shops"), f"10.89.77.{10 + number}", seconds=0.08, version="0.1.0",
        python="3.11.2", kernel="6.1.0-28-amd64", platform="linux/amd64", uptime=86400.0 * number,
        agent_memory=61.5 * MIB, images=images,
        containers=tuple(container(name, index + number) for index, name in enumerate(names[: 3 + number])),
        pulls=(
            Pull((images[0].name,), 1.2 + number / 3, 40 * MIB, "2026-11-20T10:00:00Z"),
            Pull((images[1].name,), 0.4 + number / 9, 12 * MIB, "2026-11-20T10:00:05Z"),
            Pull((images[2].name, images[3].name), 4.5 + number / 5, alone=False),
        ),
    )  # fmt: skip


def fleet(count: int = 5) -> FleetView:
    """Return nodes of which the second is hostile, the third differs and is cordoned, the last isn't reached."""
    nodes = [node(number) for number in range(1, count + 1)]
    hostile = container(HOSTILE, image=QUOTES, health=HOSTILE)
    nodes[1] = evolve(
        nodes[1],
        groups=(QUOTES,),
        kernel=HOSTILE,
        cordoned=True,
        cordon_reason=HOSTILE,
        containers=(
            hostile,
            container("ill", health="unhealthy"),
            container("ended", status="stopped", exit_code=0, memory=None),
            container("fell", status="stopped", exit_code=137, oom_killed=True, memory=None),
            container("still", status="paused"),
            container("new", status="created", memory=None),
        ),
    )
    changed = container("web", image_digest=OTHER, settings={"env": {"A": "other"}}, config="d")
    nodes[2] = evolve(
        nodes[2], version="0.0.9", cordoned=True, cordon_reason="new disks",
        containers=(changed, *nodes[2].containers[1:]),
    )  # fmt: skip
    nodes[-1] = NodeView(
        f"n{count}", ("nodes",), f"10.89.77.{10 + count}", error=f"it can't be reached: {QUOTES}"
    )
    return FleetView("2026-11-22T12:00:00+00:00", tuple(nodes), tuple(between(nodes)))

"""The configuration: merging, refusals by name, and that the default survives a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

from tricorn import config
from tricorn.errors import InvalidArgument, NotFound


def written(directory: Path, text: str, **more: str) -> str:
    path = directory / "config.toml"
    path.write_text(text)
    for name, content in more.items():
        (directory / "conf.d").mkdir(exist_ok=True)
        (directory / "conf.d" / f"{name}.toml").write_text(content)
    return str(path)


def test_the_default_is_what_the_dump_of_the_default_says(tmp_path: Path) -> None:
    assert config.load(written(tmp_path, config.dump(config.Config()))) == config.Config()


def test_drop_ins_merge_tables_and_replace_lists(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[registry]\nparallel_downloads = 2\n[[access]]\nrole = "read"\nusers = ["a"]\n',
        a='[registry]\nhosts_dir = "/x"\n',
        b='[[access]]\nrole = "admin"\ngroups = ["g"]\n',
    )
    loaded = config.load(path)
    assert (loaded.registry.parallel_downloads, loaded.registry.hosts_dir) == (2, "/x")
    assert [entry.role for entry in loaded.access] == ["admin"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("rot = 1", "rot"),
        ("[registry]\nhost_dir = 'x'", "registry.host_dir"),
        ("root = 3", "root"),
        ("root = 'relative'", "root"),
        ("root = '/a/../b'", "root"),
        ("cgroup = 'x'", "cgroup"),
        ("state = '/var/lib/tricorn'", "state"),
        ("log_level = 'loud'", "log_level"),
        ("[snapshots]\ndefault = 'zfs'", "snapshots.default"),
        ("[registry]\nparallel_downloads = 0", "registry.parallel_downloads"),
        ("[[registry.credentials]]\nhost = 'a'", "registry.credentials[0]"),
        ("[[registry.credentials]]\nhost = 'a'\npassword_file = '/p'", "registry.credentials[0]"),
        ("[[registry.credentials]]\nhost = 'a'\nhelper = 'h'", "registry.credentials[0]"),
        (
            "[[registry.credentials]]\nhost = 'a'\nhelper = '/h'\nidentity_token_file = '/t'",
            "registry.credentials[0]",
        ),
        ("[registry]\ncredential_helpers = ['docker-credential-x']", "registry.credential_helpers"),
        ("[registry]\ndocker_config = '~/.docker/config.json'", "registry.docker_config"),
        ("[registry]\ncredential_helper_timeout = 0", "registry.credential_helper_timeout"),
        ("[logs]\nsize = 1", "logs.size"),
        ("[logs]\nprograms = ['logger']", "logs.programs"),
        ("[logs]\nprograms = ['/bin/../logger']", "logs.programs"),
        ("[logs]\nprograms = '/bin/logger'", "logs.programs"),
        ("[[access]]\nusers = ['x']", "access[0].role"),
    ],
)
def test_a_bad_key_is_named(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        config.load(written(tmp_path, text))
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["x =", "[a\nb", "= 1", "\x00", '[host."x]'])
def test_malformed_toml_is_one_typed_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match="not valid TOML"):
        config.load(written(tmp_path, text))


def test_a_named_file_must_exist_and_the_default_one_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound):
        config.load(str(tmp_path / "none.toml"))
    monkeypatch.setattr(config, "DEFAULT_PATH", str(tmp_path / "none.toml"))
    assert config.load() == config.Config()


def test_changed_keys_names_what_differs() -> None:
    old = config.Config()
    assert config.changed_keys(old, config.Config(log_level="debug")) == ["log_level"]

"""`deploy/install.sh` without touching a system: what it says it would do, and its moves cut at every instant (issue 7).

The real thing, in a clean root, is `make clean-root`.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "install.sh"
_CUT = "set -T; n=0; trap 'n=$((n + 1)); if [ $n -ge {at} ]; then kill -KILL $$; fi' DEBUG; source \"{script}\"; {words}"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """An unpacked release 2.0, as far as a dry run looks at it."""
    directory = tmp_path / "chargebus-2.0"
    for name in ("wheels", "share", "profiles"):
        (directory / name).mkdir(parents=True)
    shutil.copy(SCRIPT, directory / "install.sh")
    (directory / "profiles" / "default.toml").write_text("# example\n")
    (directory / "README.md").write_text("text\n")
    (directory / "RELEASE").write_text("version=2.0\npython=9.9\nmachine=abacus\n")
    signed = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.relative_to(directory)}\n" for path in signed]
    (directory / "SHA256SUMS").write_text("".join(sums))
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A board's file system in which nothing of ours is."""
    directory = tmp_path / "root"
    for name in ("etc/systemd/system", "etc/udev/rules.d", "var/lib", "usr/local/bin"):
        (directory / name).mkdir(parents=True)
    (directory / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\n")
    (directory / "etc/group").write_text("root:x:0:\ndialout:x:20:\ngpio:x:30:\ntape:x:26:\n")
    return directory


def installed(root: Path, *versions: str, user: bool = True) -> None:
    """As if these releases had been installed one after the other."""
    releases = root / "opt/chargebus/releases"
    before = ""
    for version in versions:
        (releases / version).mkdir(parents=True)
        (releases / version / "complete").write_text("digest\n")
        if before:
            (releases / version / "replaced").write_text(before + "\n")
        before = version
    (root / "opt/chargebus/current").symlink_to(f"releases/{versions[-1]}")
    (root / "etc/chargebus").mkdir()
    (root / "etc/chargebus/station.toml").write_text("# a person's own\n")
    (root / "var/lib/chargebus").mkdir()
    if user:
        (root / "etc/passwd").write_text("chargebus:x:999:999::/var/lib/chargebus:/usr/sbin/nologin\n")
        (root / "etc/group").write_text("dialout:x:20:someone,chargebus\ngpio:x:30:chargebusy\n")


def dry_run(release: Path, root: Path, *words: str) -> list[str]:
    """What it says, without the temporary directory in it; it must change nothing."""
    before = tree(root)
    done = subprocess.run(
        [str(release / "install.sh"), *words, "--dry-run", "--root", str(root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert tree(root) == before, "a dry run does nothing"
    return [line.replace(str(root), "").replace("chroot  ", "") for line in done.stdout.splitlines()]


def tree(top: Path) -> dict[str, str]:
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
        for path in sorted(top.rglob("*"))
    }


def test_a_first_installation_makes_the_release_whole_before_it_becomes_current(release: Path, root: Path) -> None:
    said = dry_run(release, root, "install")
    order = [
        "would: useradd --system",
        "would: mkdir -p /opt/chargebus/releases",
        "would: mkdir -p -m 0750 /etc/chargebus",
        "would: point /var/lib/chargebus/log to /var/log/chargebus",
        "would: python3 -m venv --without-pip /opt/chargebus/releases/2.0",
        "would: seal /opt/chargebus/releases/2.0",
        "would: mv /etc/chargebus/station.toml.new /etc/chargebus/station.toml",
        "would: check /etc/chargebus/station.toml with release 2.0",
        "would: point /etc/systemd/system/chargebus.service to /opt/chargebus/current/share/chargebus.service",
        "would: point /opt/chargebus/current to releases/2.0",
    ]
    places = [next((number for number, line in enumerate(said) if line.startswith(words)), -1) for words in order]
    assert -1 not in places, (order[places.index(-1)], said)
    assert places == sorted(places)
    assert "would: usermod --append --groups dialout chargebus" in said
    assert not [line for line in said if "polkit" in line], "this board has no polkit"


def test_an_upgrade_remembers_the_release_before_and_removes_what_is_older(release: Path, root: Path) -> None:
    installed(root, "0.9", "1.0")
    said = dry_run(release, root, "install")
    remembered = said.index("would: note /opt/chargebus/releases/2.0/replaced 1.0")
    assert remembered < said.index("would: point /opt/chargebus/current to releases/2.0")
    assert "would: discard /opt/chargebus/releases/0.9" in said
    assert not [line for line in said if "station.toml.new" in line or "useradd" in line], "what is there stays as it is"
    # A name that only begins with the user's is somebody else in that group.
    assert [line for line in said if "usermod" in line] == ["would: usermod --append --groups gpio chargebus"]


def test_what_an_interrupted_installation_left_is_thrown_away_first(release: Path, root: Path) -> None:
    installed(root, "1.0")
    (root / "opt/chargebus/releases/2.0/lib").mkdir(parents=True)
    said = dry_run(release, root, "install")
    assert said.index("would: discard /opt/chargebus/releases/2.0") < said.index(
        "would: python3 -m venv --without-pip /opt/chargebus/releases/2.0"
    )


def test_the_same_release_again_is_not_made_again(release: Path, root: Path) -> None:
    installed(root, "1.0", "2.0")
    digest = hashlib.sha256((release / "SHA256SUMS").read_bytes()).hexdigest()
    (root / "opt/chargebus/releases/2.0/complete").write_text(digest + "\n")
    said = dry_run(release, root, "install")
    assert not [line for line in said if "venv" in line or "/opt/chargebus/current to" in line or "contents" in line], said


def test_the_same_version_with_other_contents_is_refused(release: Path, root: Path) -> None:
    installed(root, "1.0", "2.0")
    said = dry_run(release, root, "install")
    assert any("would refuse: release 2.0 is installed already with other contents" in line for line in said)


def test_a_damaged_release_and_a_board_that_it_is_not_for_are_refused(release: Path, root: Path) -> None:
    (release / "README.md").write_text("other text\n")
    said = dry_run(release, root, "install")
    assert any("would refuse: the release is damaged" in line for line in said)
    assert any("would refuse: there is no python3; apt-get install python3" in line for line in said)


def test_rollback_goes_to_the_release_before(release: Path, root: Path) -> None:
    installed(root, "1.0", "1.5")
    assert "would: point /opt/chargebus/current to releases/1.0" in dry_run(release, root, "rollback")


@pytest.mark.parametrize("versions", [("1.0",), ("1.0", "1.5")])
def test_rollback_without_a_whole_release_before_is_refused(release: Path, root: Path, versions: tuple[str, ...]) -> None:
    installed(root, *versions)
    if len(versions) > 1:
        (root / "opt/chargebus/releases/1.0/complete").unlink()
    command = [str(release / "install.sh"), "rollback", "--dry-run", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no release from before" in done.stderr


def test_uninstall_asks_the_queue_first_and_keeps_the_state_unless_purged(release: Path, root: Path) -> None:
    installed(root, "1.0")
    (root / "var/lib/chargebus/transactions.db").write_text("")
    said = dry_run(release, root, "uninstall")
    assert "station queue check" in said[0]
    assert "would: rm -rf /opt/chargebus" in said
    assert not [line for line in said if "/var/lib/chargebus" in line or "userdel" in line]
    said = dry_run(release, root, "uninstall", "--purge")
    assert "would: rm -rf /etc/chargebus /var/lib/chargebus /var/log/chargebus" in said
    assert "would: userdel chargebus" in said


def test_list_names_the_current_release_and_where_rollback_goes(release: Path, root: Path) -> None:
    installed(root, "1.0", "1.5")
    (root / "opt/chargebus/releases/2.0").mkdir()
    said = dry_run(release, root, "list")
    assert said == ["1.0 (rollback goes here)", "1.5 (current)", "2.0 (not complete: an installation was interrupted)"]


@pytest.mark.parametrize("words", [["fly"], ["install", "--fast"], ["list", "--root"]])
def test_what_it_does_not_know_it_refuses(release: Path, words: list[str]) -> None:
    done = subprocess.run([str(release / "install.sh"), *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr


def cut(directory: Path, words: str, at: int) -> bool:
    """Run functions of the script and kill it before its `at`-th command; whether it came to its end before that."""
    text = _CUT.format(at=at, script=SCRIPT, words=words)
    done = subprocess.run(["bash", "-c", text], cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == 0


def test_a_link_that_is_cut_at_any_instant_is_the_old_one_or_the_new(tmp_path: Path) -> None:
    seen = set()
    for at in range(1, 200):
        (tmp_path / "current").unlink(missing_ok=True)
        (tmp_path / "current").symlink_to("releases/old")
        ended = cut(tmp_path, "point current to releases/new", at)
        seen.add(os.readlink(tmp_path / "current"))
        if ended:
            break
    assert ended
    assert seen == {"releases/old", "releases/new"}


def test_the_mark_of_a_release_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    for at in range(1, 200):
        shutil.rmtree(tmp_path / "release", ignore_errors=True)
        (tmp_path / "release").mkdir()
        ended = cut(tmp_path, "seal release digest", at)
        mark = tmp_path / "release" / "complete"
        assert not mark.exists() or mark.read_text() == "digest\n"
        if ended:
            break
    assert ended
    assert mark.exists()


def test_a_release_that_is_being_removed_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    for at in range(1, 200):
        (tmp_path / "release").mkdir(exist_ok=True)
        (tmp_path / "release" / "complete").write_text("digest\n")
        (tmp_path / "release" / "program").write_text("program\n")
        ended = cut(tmp_path, "discard release", at)
        mark, program = tmp_path / "release" / "complete", tmp_path / "release" / "program"
        assert not mark.exists() or program.exists()
        if ended:
            break
    assert ended
    assert not (tmp_path / "release").exists()

"""supervisord's configuration, the list of programs and the table of topics agree (style §2)."""

import configparser
import shlex
from pathlib import Path

import pytest

from bus.topics import EVERY_SERVICE, TOPICS
from services.configuration.station import load
from services.station import paths
from services.station.programs import PROGRAMS, Program, programs
from services.station.rendering import command_line, supervisord_conf
from tests.harness import config


def template() -> str:
    return Path(paths.deploy_file("supervisord.conf")).read_text(encoding="utf-8")


def section(program: Program) -> str:
    return f"{'eventlistener' if program.listens else 'program'}:{program.name}"


def rendered(*suffix: str, virtual: bool = True) -> configparser.RawConfigParser:
    """The configuration, read as supervisord reads it."""
    text = supervisord_conf(template(), programs(virtual=virtual), prefix=["python", "-m"], suffix=suffix, user="")
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser


def test_each_publisher_and_consumer_of_the_topic_table_is_a_program() -> None:
    names = {program.name for program in programs(virtual=True)}
    for topic in TOPICS:
        assert topic.publisher in names | {EVERY_SERVICE}, topic.name
        assert topic.consumer in names | {""}, topic.name


def test_each_program_but_the_simulator_and_the_optional_ones_owns_a_topic() -> None:
    publishers = {topic.publisher for topic in TOPICS}
    assert {program.name for program in programs(virtual=False)} <= publishers


def test_program_names_and_priorities_are_unique_and_the_broker_comes_first() -> None:
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)
    assert len({program.priority for program in PROGRAMS}) == len(PROGRAMS)
    assert min(PROGRAMS, key=lambda program: program.priority).name == "broker"


@pytest.mark.parametrize("virtual", [True, False])
def test_the_configuration_has_each_program_once(virtual: bool) -> None:
    sections = [name for name in rendered(virtual=virtual).sections() if name.startswith(("program:", "eventlistener:"))]
    assert sections == [section(program) for program in programs(virtual=virtual)]


def test_the_metrics_run_only_where_they_are_configured(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    path.write_text(config())
    without = programs(virtual=False, config=load(str(path), with_virtual_devices=True))
    path.write_text(config(more='[metrics]\nlisten = "127.0.0.1:9464"'))
    with_them = programs(virtual=False, config=load(str(path), with_virtual_devices=True))
    assert [program.name for program in with_them if program not in without] == ["metrics"]


def test_the_simulator_runs_only_with_virtual_hardware() -> None:
    assert "program:simulator" in rendered(virtual=True).sections()
    assert "program:simulator" not in rendered(virtual=False).sections()


def test_each_program_has_a_bounded_log_of_its_own() -> None:
    text = supervisord_conf(template(), PROGRAMS, prefix=["python"], suffix=[], user="")
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    for program in PROGRAMS:
        found = parser[section(program)]
        assert found["stderr_logfile"] == f"../log/{program.name}.log"
        assert found["stderr_logfile_maxbytes"] == "2MB"
        assert found["stderr_logfile_backups"] == "2"


def test_the_log_of_frames_is_the_standard_output_of_the_link() -> None:
    parser = rendered()
    logs = {program.name: parser[section(program)]["stdout_logfile"] for program in programs(virtual=True)}
    assert logs.pop("ocpp_link") == "../log/ocpp_frames.log"
    assert set(logs.values()) == {"NONE"}
    found = parser["program:ocpp_link"]
    assert (found["stdout_logfile_maxbytes"], found["stdout_logfile_backups"]) == ("2MB", "3")


def test_no_dollar_sign_of_the_template_is_left() -> None:
    text = supervisord_conf(template(), programs(virtual=True), prefix=["python"], suffix=[], user="0")
    assert "$" not in text
    assert "\nuser=0\n" in text


@pytest.mark.parametrize(
    "path", ["/plain", "/with blank", "/100 %", "/a ;b", "/a #b", "/it's", '/"quoted"', "/%(here)s", "/ü", "/a\t;\t#x"]
)
def test_supervisord_reads_back_the_path_that_was_meant(path: str) -> None:
    value = rendered("--state-dir", path)["program:meter"]["command"]
    words = shlex.split(value % {"here": "wrong"})
    assert words == ["python", "-m", "services.meter", "--state-dir", path]


@pytest.mark.parametrize("path", ["/two\nlines", "/\udcff"])
def test_a_path_that_supervisord_cannot_be_told_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="rename it"):
        command_line([path])


def test_all_logs_together_are_within_what_the_installer_is_told() -> None:
    """Each file and its backups, of a real station with all that is optional; as deploy/README.md says."""
    total_mb = 0
    conf = rendered(virtual=False)
    for name in conf.sections():
        for key, value in conf.items(name):
            if key.endswith("logfile") and value != "NONE":
                total_mb += int(conf[name][f"{key}_maxbytes"].removesuffix("MB")) * (1 + int(conf[name][f"{key}_backups"]))
    assert 40 < total_mb <= 64
    assert "at most 64 MB in total" in Path(paths.deploy_file("README.md")).read_text(encoding="utf-8")

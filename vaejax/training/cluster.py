"""One run in several processes: joining those that a launcher or the user started.

The work is JAX's own (`jax.distributed`). Here it is decided whether there is something to join,
and a launcher whose processes would each believe to be alone is refused: they would write into one
working directory.
"""

import os
import sys
import urllib.request
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax

from vaejax.core.files import make_folder, write_errors
from vaejax.core.paths import is_bucket
from vaejax.core.types import Setting
from vaejax.training.lost_process import report_abort
from vaejax.training.uploaded_log import uploaded

__all__ = [
    "Launcher",
    "find_launcher",
    "join",
    "log_to_file",
    "processes_by_environment",
]

_ADDRESS, _COUNT, _ID = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
# Seconds: until all processes have started, and until one that has died is missed.
_START_TIMEOUT, _HEARTBEAT_TIMEOUT = 300, 30
_REMEDY = (
    "give every process --coordinator_address=HOST:PORT --num_processes=N --process_id=I, or "
    "--distributed=off if each is a run of its own"
)


class Launcher(NamedTuple):
    """What started this process, as one of several.

    Attributes:
      name: for messages.
      evidence: what says so, for messages.
      joins: whether JAX finds the other processes by itself.
    """

    name: str
    evidence: str
    joins: bool


def processes_by_environment(environment: Mapping[str, str]) -> tuple[str, int, int] | None:
    """Coordinator address, number of processes and number of this one; None without an address.

    Args:
      environment: with `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`.

    Raises:
      ValueError: one of the three is missing or is no number.
    """
    found = {name: environment[name] for name in (_ADDRESS, _COUNT, _ID) if environment.get(name)}
    if _COUNT not in found and _ID not in found:  # JAX takes the others from the launcher
        return None
    if missing := [name for name in (_ADDRESS, _COUNT, _ID) if name not in found]:
        raise ValueError(f"the environment sets {', '.join(found)} but not {', '.join(missing)}")
    try:
        return found[_ADDRESS], int(found[_COUNT]), int(found[_ID])
    except ValueError:
        raise ValueError(
            f"{_COUNT} and {_ID} must be whole numbers, found {found[_COUNT]!r} and {found[_ID]!r}"
        ) from None


def find_launcher(
    environment: Mapping[str, str], tpu_hosts: Callable[[], int] = lambda: 0
) -> Launcher | None:
    """The launcher that started this process as one of several; None if it is alone.

    Args:
      environment: variables.
      tpu_hosts: asks a TPU machine for the number of hosts of its slice; called only if the
        variables do not tell.
    """

    def count(name: str) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdigit() else 0

    hosts = [name for name in environment.get("TPU_WORKER_HOSTNAMES", "").split(",") if name]
    if len(hosts) > 1:
        return Launcher("a TPU slice", f"TPU_WORKER_HOSTNAMES names {len(hosts)} hosts", True)
    if (slices := count("MEGASCALE_NUM_SLICES")) > 1:
        return Launcher("several TPU slices", f"MEGASCALE_NUM_SLICES={slices}", True)
    # Outside of a job step (`salloc`, or the batch script itself) SLURM_NTASKS says what may be
    # started, not what was.
    step, tasks = "SLURM_STEP_ID" in environment, count("SLURM_NTASKS")
    if "SLURM_PROCID" in environment and (step or "SLURM_STEP_NODELIST" in environment):
        tasks = count("SLURM_STEP_NUM_TASKS") or tasks
        if tasks > 1:
            names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_LOCALID")
            whole = all(name in environment for name in names)
            return Launcher("SLURM", f"the job step has {tasks} tasks", whole)
    if (size := count("OMPI_COMM_WORLD_SIZE")) > 1:
        known = "OMPI_MCA_orte_hnp_uri" in environment  # Open MPI 5 does not set it
        return Launcher("Open MPI", f"OMPI_COMM_WORLD_SIZE={size}", known)
    if "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment:
        index = environment["JOB_COMPLETION_INDEX"]
        installed = find_spec("kubernetes") is not None
        return Launcher("an indexed Kubernetes job", f"JOB_COMPLETION_INDEX={index}", installed)
    for name in ("PMI_SIZE", "PALS_SIZE", "MV2_COMM_WORLD_SIZE", "WORLD_SIZE"):
        if (size := count(name)) > 1:
            return Launcher("a launcher", f"{name}={size}", False)
    if tpu_hosts() > 1:
        return Launcher("a TPU slice", f"its metadata name {tpu_hosts()} hosts", True)
    return None


def hosts_of_tpu_slice() -> int:
    """Number of hosts that the metadata of a Cloud TPU machine name; 0 on any other machine."""
    devices = [*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/*")]
    if not devices or find_spec("libtpu") is None or "TPU_SKIP_MDS_QUERY" in os.environ:
        return 0
    address = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{address}/computeMetadata/v1/instance/attributes/worker-network-endpoints",
        headers={"Metadata-Flavor": "Google"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return len(answer.read().decode().split(","))
    except (OSError, ValueError):
        return 0


def join(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    distributed: str = "auto",
) -> None:
    """Joins the other processes of a run, if there are any. Call it before anything uses devices.

    Args:
      coordinator_address: `HOST:PORT` of process 0; None for what the environment or a launcher
        says.
      num_processes: of the run.
      process_id: of this one, from 0 on.
      distributed: `'auto'`; or `'off'` to join nothing, also if a launcher started several.

    Raises:
      ValueError: the three are not given together or do not fit; a launcher started several
        processes which JAX cannot join; or they did not all start in time.
    """
    given = (coordinator_address, num_processes, process_id)
    if distributed == "off":
        if any(value is not None for value in given):
            raise ValueError("--distributed=off joins no processes: leave out the other flags")
        return
    if None in given and any(value is not None for value in given):
        raise ValueError(
            "--coordinator_address, --num_processes and --process_id belong together; some are "
            "missing"
        )
    if coordinator_address is None or num_processes is None or process_id is None:
        found = processes_by_environment(os.environ)
        if found is None:
            _join_launched(find_launcher(os.environ, hosts_of_tpu_slice))
            return
        coordinator_address, num_processes, process_id = found
    _check(coordinator_address, num_processes, process_id)
    _initialize(
        f"{num_processes} processes at {coordinator_address}",
        coordinator_address=coordinator_address,
        num_processes=num_processes,
        process_id=process_id,
        cluster_detection_method="deactivate",
    )


def _check(address: str, count: int, number: int) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"--coordinator_address must be HOST:PORT, found {address!r}")
    if count < 1 or not 0 <= number < count:
        raise ValueError(
            f"--process_id counts from 0 to --num_processes - 1, found {number} of {count}"
        )


def _join_launched(launcher: Launcher | None) -> None:
    if launcher is None:
        return
    if not launcher.joins:
        needs = " and the package kubernetes is missing" if "Kubernetes" in launcher.name else ""
        raise ValueError(
            f"{launcher.name} started this process as one of several ({launcher.evidence}){needs}, "
            f"but JAX does not find the others: {_REMEDY}"
        )
    _initialize(f"the processes of {launcher.name}, {launcher.evidence}")
    if jax.process_count() == 1 and "Kubernetes" not in launcher.name:
        raise ValueError(
            f"{launcher.name} started several processes ({launcher.evidence}), but this one is "
            f"alone: {_REMEDY}"
        )


def _initialize(what: str, **arguments: Setting) -> None:
    try:
        jax.distributed.initialize(
            initialization_timeout=_START_TIMEOUT,
            heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
            **arguments,
        )
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"cannot join {what}: {reason}; {_REMEDY}") from error
    report_abort()


def log_to_file(workdir: Path) -> None:
    """Sends what this process prints to `WORKDIR/logs/process-N.txt`, unless it is process 0.

    Raises:
      WriteError: the file cannot be written.
    """
    number = jax.process_index()
    if number == 0:
        return
    path = workdir / "logs" / f"process-{number}.txt"
    make_folder(path.parent)
    local = uploaded(path) if is_bucket(path) else path
    with write_errors(path):
        file = os.open(local, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)

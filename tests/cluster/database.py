"""An MLflow server with a PostgreSQL database, both of them processes that a test may kill."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.helpers.objectstore import free


def binaries() -> Path | None:
    """Where PostgreSQL's programs are: on the path, or where Debian puts them."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class Postgres:
    """A database server in a temporary folder; root starts it as the user postgres, as it refuses root."""

    def __init__(self, password: str | None = None) -> None:
        self.password = password
        self.folder, self.bin = Path(tempfile.mkdtemp(prefix="icnet-postgres-")), binaries()
        self.port = free("127.0.0.1", 1)[0]
        self.user = "postgres" if os.geteuid() == 0 else None
        self.process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        """The database as MLflow's backend store."""
        return f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/mlflow"

    def start(self) -> None:
        """Make the database and start its server."""
        options = ["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8"]
        if self.password:
            (self.folder / "password").write_text(self.password)
            options[0] = "--auth=scram-sha-256"
            options += ["--pwfile", str(self.folder / "password")]
        if self.user:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, self.user)
        self._call("initdb", "-D", str(self.folder / "data"), *options)
        where = ["-h", "127.0.0.1", "-p", str(self.port)]
        command = [str(self.bin / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), *where]
        self.process = subprocess.Popen(command, user=self.user, cwd=self.folder, stderr=subprocess.DEVNULL)
        for _ in range(100):
            if subprocess.run([self.bin / "pg_isready", *where, "-q"], check=False).returncode == 0:
                break
            time.sleep(0.2)
        self._call("createdb", *where, "-U", "postgres", "mlflow")

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), *arguments]
        environment = {**os.environ, **({"PGPASSWORD": self.password} if self.password else {})}
        subprocess.run(command, user=self.user, cwd=self.folder, env=environment, check=True, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """End the server."""
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
        shutil.rmtree(self.folder)


class Server:
    """An MLflow server; `kill` and `start` as often as wanted."""

    def __init__(self, folder: Path, backend: str, environment: dict[str, str] | None = None) -> None:
        self.folder, self.backend, self.environment = folder, backend, environment or {}
        self.port = free("127.0.0.1", 1)[0]
        self.process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        """The server as MLFLOW_TRACKING_URI."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "2"]
        environment = {
            **os.environ,
            **self.environment,
            "MLFLOW_BACKEND_STORE_URI": self.backend,
            "MLFLOW_ARTIFACTS_DESTINATION": str(self.folder / "artifacts"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        environment.pop("MLFLOW_TRACKING_URI", None)
        with (self.folder / "mlflow.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(240):
            assert self.process.poll() is None, (self.folder / "mlflow.log").read_text()
            try:
                urllib.request.urlopen(f"{self.uri}/health").read()
                return
            except OSError:
                time.sleep(0.5)
        raise AssertionError((self.folder / "mlflow.log").read_text())

    def kill(self) -> None:
        """End the server and its workers as a machine's death would."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

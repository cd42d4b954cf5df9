"""An S3 server for tests: SeaweedFS. It keeps its objects on disk, so it can be killed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from pyarrow import fs

ACCESS, SECRET, REGION = "key-of-tests", "secret-of-tests", "us-east-1"
BUCKET = "icnet-tests"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""The credentials, as every S3 client reads them."""


class Store:
    """One SeaweedFS server on this machine, with one bucket."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder, self.host = folder, host
        self.ports = free(host, 8)
        self.process: subprocess.Popen | None = None
        folder.mkdir(parents=True, exist_ok=True)
        credentials = [{"accessKey": ACCESS, "secretKey": SECRET}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        content = {"identities": [{"name": "tests", "credentials": credentials, "actions": actions}]}
        (folder / "identities.json").write_text(json.dumps(content))

    @property
    def endpoint(self) -> str:
        """The server's address as AWS_ENDPOINT_URL."""
        return f"http://{self.host}:{self.ports[0]}"

    @property
    def uri(self) -> str:
        """A `storage` URI that needs no AWS_ENDPOINT_URL."""
        return f"s3://{BUCKET}/runs?endpoint_override={self.host}:{self.ports[0]}&scheme=http"

    def client(self) -> fs.S3FileSystem:
        """A client that does not go through the project."""
        endpoint = {"endpoint_override": f"{self.host}:{self.ports[0]}", "scheme": "http"}
        keys = {"access_key": ACCESS, "secret_key": SECRET, "region": REGION}
        return fs.S3FileSystem(**endpoint, **keys, allow_bucket_creation=True)

    def objects(self) -> dict[str, bytes]:
        """Every object with its bytes."""
        client = self.client()
        listed = client.get_file_info(fs.FileSelector(BUCKET, recursive=True))
        names = [info.path for info in listed if info.is_file]
        return {name.partition("/")[2]: client.open_input_file(name).read() for name in names}

    def start(self) -> None:
        """Start the server, and wait until it takes objects."""
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = map(str, self.ports)
        options = {
            "dir": str(self.folder),
            "ip": self.host,
            "ip.bind": self.host,
            "master.port": master,
            "master.port.grpc": master_grpc,
            "master.volumeSizeLimitMB": "64",
            "master.electionTimeout": "1s",
            "master.heartbeatInterval": "100ms",
            "volume.port": volume,
            "volume.port.grpc": volume_grpc,
            "volume.max": "20",
            "filer.port": filer,
            "filer.port.grpc": filer_grpc,
            "s3.port": s3,
            "s3.port.grpc": s3_grpc,
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            "s3.config": str(self.folder / "identities.json"),
            "s3.iam": "false",
        }
        weed = str(Path(sys.executable).with_name("weed"))
        command = [weed, "-logtostderr=true", "server", "-filer", "-s3", *(f"-{k}={v}" for k, v in options.items())]
        with (self.folder / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        self._wait()

    def _wait(self) -> None:
        error: Exception | None = None
        for _ in range(240):
            assert self.process is not None and self.process.poll() is None, (self.folder / "weed.log").read_text()
            try:
                client = self.client()
                client.create_dir(BUCKET)
                with client.open_output_stream(f"{BUCKET}/started") as stream:
                    stream.write(b"yes")
                client.delete_file(f"{BUCKET}/started")
                return
            except OSError as failed:
                error = failed
                time.sleep(0.25)
        raise AssertionError(f"the S3 server does not answer: {error}")

    def kill(self) -> None:
        """Kill the server with -9, and remove the sockets that it leaves in /tmp."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
            for port in self.ports:
                for socket_file in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    socket_file.unlink()

    def __enter__(self) -> "Store":
        self.before = {name: os.environ.get(name) for name in ENVIRONMENT}
        os.environ.update(ENVIRONMENT)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def free(host: str, count: int) -> list[int]:
    """Ports that are free."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((host, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()

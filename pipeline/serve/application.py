"""The endpoint as a Ray Serve application: a front that speaks HTTP, and replicas that run the network."""

import base64
import time
from typing import Annotated, Any, Literal

from fastapi import FastAPI, File, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from pydantic import BaseModel, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from pipeline.serve.answers import make_json, make_zip
from pipeline.serve.config import ServeConfig
from pipeline.serve.limits import UNUSABLE, RefusedError, check_length, check_request
from pipeline.serve.network import Answer, Network

ATTEMPTS = 4
"""Attempts at a request, in all. Another one follows only if the replica died."""

Form = Literal["zip", "json"]


class JsonGroup(BaseModel):
    """A group of photographs as JSON."""

    photographs: list[str] = Field(description="image files in base64")


api = FastAPI(
    title="ICNet co-saliency maps", description="POST a group of photographs, get the object that they have in common."
)


@api.exception_handler(RefusedError)
async def answer_refused(_: Request, error: RefusedError) -> JSONResponse:
    """Refused requests get one sentence."""
    return JSONResponse({"detail": str(error)}, error.status)


@serve.deployment(ray_actor_options={"num_cpus": 0}, max_ongoing_requests=100)
@serve.ingress(api)
class Front:
    """Checks requests, and sends them to a replica of the network. A replica that dies loses no request."""

    def __init__(self, network: DeploymentHandle, config: ServeConfig) -> None:
        self.network, self.config = network, config
        self.registry = CollectorRegistry()
        self.requests = Counter("icnet_requests", "Requests by HTTP status", ["status"], registry=self.registry)
        self.photographs = Counter("icnet_photographs", "Photographs with a map", registry=self.registry)
        self.seconds = Histogram("icnet_request_seconds", "Seconds of a group", registry=self.registry)

    @api.post("/maps", responses={413: {}, 422: {}, 503: {}})
    async def post_files(
        self, request: Request, photographs: Annotated[list[UploadFile], File()], form: Form = "zip"
    ) -> Response:
        """Maps of a group of image files: a zip of PNG files and weights.json, or JSON with base64."""
        self._check_length(request)
        files = [await one.read() for one in photographs]
        names = [one.filename or f"photograph {number}" for number, one in enumerate(photographs)]
        return await self._answer(names, files, form)

    @api.post("/maps/json", responses={413: {}, 422: {}, 503: {}})
    async def post_json(self, request: Request, group: JsonGroup, form: Form = "json") -> Response:
        """The same for image files in base64."""
        self._check_length(request)
        try:
            files = [base64.b64decode(one, validate=True) for one in group.photographs]
        except ValueError as error:
            self.requests.labels(UNUSABLE).inc()
            raise RefusedError(UNUSABLE, f"a photograph is not base64: {error}") from error
        return await self._answer([f"{number}" for number in range(len(files))], files, form)

    @api.get("/healthz")
    async def check_health(self) -> dict[str, str]:
        """Whether the endpoint answers."""
        return {"status": "ok"}

    @api.get("/metrics")
    async def write_metrics(self) -> Response:
        """Counters for Prometheus."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    def _check_length(self, request: Request) -> None:
        try:
            check_length(request.headers.get("content-length"), self.config)
        except RefusedError as error:
            self.requests.labels(error.status).inc()
            raise

    async def _answer(self, names: list[str], files: list[bytes], form: Form) -> Response:
        started = time.perf_counter()
        try:
            check_request(names, files, self.config)
            maps, weights = await self._predict(files)
        except RefusedError as error:
            self.requests.labels(error.status).inc()
            raise
        self.requests.labels(200).inc()
        self.photographs.inc(len(maps))
        self.seconds.observe(time.perf_counter() - started)
        return make_zip(names, maps, weights) if form == "zip" else make_json(names, maps, weights)

    async def _predict(self, files: list[bytes]) -> Answer:
        for attempt in range(ATTEMPTS):
            try:
                found: Answer | str = await self.network.predict.remote(files)
            except RayActorError:
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            except BackPressureError as error:
                raise RefusedError(503, "too many requests are waiting: try again later") from error
            if isinstance(found, str):
                raise RefusedError(UNUSABLE, found)
            return found
        raise AssertionError


def build(arguments: dict[str, Any]) -> Application:
    """The application with options: `serve run pipeline.serve:build num_replicas=2`."""
    config = ServeConfig.model_validate(arguments, strict=False)  # `serve run` gives every value as text
    replicas = serve.deployment(
        Network,
        num_replicas=config.num_replicas,
        max_ongoing_requests=2,
        max_queued_requests=config.max_queued_requests,
        ray_actor_options={"num_cpus": config.num_cpus, "num_gpus": config.num_gpus},
    )
    return Front.bind(replicas.bind(config), config)


app = build({})
"""The application with the network of this repository."""

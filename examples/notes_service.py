"""A small service that measures its requests and the work inside them, and serves /metrics.

    pip install 'nanospan[otlp]' fastapi uvicorn
    python examples/notes_service.py

    curl --json '{"text": "tea at noon"}' http://127.0.0.1:8000/notes
    curl http://127.0.0.1:8000/search?text=tea
    curl http://127.0.0.1:8000/metrics

Set PORT to listen on another port. Set OTEL_EXPORTER_OTLP_ENDPOINT to export the same metrics to
an OpenTelemetry collector as well.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.routing import Route

from nanospan import get_performance_monitor, track_performance
from nanospan.export.prometheus import metrics_app
from nanospan.integrations.asgi import NanospanMiddleware

monitor = get_performance_monitor()
monitor.set_threshold("GET /search", 0.050)
notes: list[str] = []


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Export by OTLP while the service runs, if a collector is configured."""
    if "OTEL_EXPORTER_OTLP_ENDPOINT" not in os.environ:
        yield
        return
    from nanospan.export.otlp import start_otlp_export  # noqa: PLC0415 - an optional dependency

    export = start_otlp_export()
    yield
    # uvicorn re-raises the signal that stopped it, so exit handlers would not run.
    await asyncio.to_thread(export.close)


app = FastAPI(lifespan=lifespan)
app.add_middleware(NanospanMiddleware, exclude=["/metrics"])
app.router.routes.append(Route("/metrics", metrics_app()))


class Note(BaseModel):
    """A note that a client stores."""

    text: str


@app.post("/notes", status_code=201)
async def store(note: Note) -> dict[str, int]:
    """Store a note; the operation inside is timed separately from the request."""
    async with monitor.track_operation("note_store", {"characters": len(note.text)}):
        notes.append(note.text)
        return {"id": len(notes) - 1}


@app.get("/notes/{number}")
async def read(number: int) -> str:
    """Return a note; requests for all notes are recorded as ``GET /notes/{number}``."""
    if not 0 <= number < len(notes):
        raise HTTPException(404)
    return notes[number]


@app.get("/notes")
async def stream() -> StreamingResponse:
    """Stream one note per line; the request's duration includes sending the last line."""

    async def lines() -> AsyncIterator[str]:
        for note in notes:
            yield json.dumps(note) + "\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type="application/jsonl")


@track_performance("note_search")
async def matching(text: str) -> list[str]:
    """Find the notes that contain a text; track the search as its own operation."""
    return [note for note in notes if text in note]


@app.get("/search")
async def search(text: str) -> list[str]:
    """Return the notes that contain a text."""
    return await matching(text)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))

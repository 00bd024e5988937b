"""Test for a process in which no file can be opened and no connection made for a while."""

import json
import re
import subprocess
import sys

PROGRAM = """
import asyncio, contextlib, json, logging, os, resource, socket, threading, time
import httpx
from nanospan import PerformanceMonitor
from nanospan.alerts import StatisticRule
from nanospan.alerts.sinks import AlertmanagerSink, WebhookSink, http
from nanospan.export.periodic import export_periodically
from nanospan.export.prometheus import start_http_server
from nanospan.pool.sync_vector_pool import SyncVectorPool
from nanospan.pool.vector_pool import VectorPool

messages = []
class Collect(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())
logging.getLogger().addHandler(Collect())
http.FIRST_PAUSE = http.LONGEST_PAUSE = 0.2  # seconds

def wait_until(condition):
    limit = time.monotonic() + 60
    while not condition() and time.monotonic() < limit:
        time.sleep(0.01)

def opens_a_file(*_):
    with open(os.devnull):
        pass

async def open_pool():
    pool = VectorPool(database, min_size=4, open=False)
    await pool.open()
    return pool

monitor = PerformanceMonitor()
listener = socket.create_server(("127.0.0.1", 0))
url = "http://127.0.0.1:%d" % listener.getsockname()[1]
database = "postgresql://u@127.0.0.1:1/d"
server, client = start_http_server(0, source=monitor), socket.socket()
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
filled = []
with contextlib.suppress(OSError):
    while True:
        filled.append(os.dup(0))
export = export_periodically(opens_a_file, monitor, interval=0.05)
monitor.alerts.add_sink(WebhookSink(url, attempts=1000, states=["firing"]))
monitor.alerts.add_sink(AlertmanagerSink(url))
monitor.alerts.add(StatisticRule(name="busy", operation="op", statistic="rate", above=0))
monitor.record_metric("op", 0.1)
pool = SyncVectorPool(database, min_size=4, open=True)
other_pool = asyncio.run_coroutine_threadsafe(open_pool(), loop).result(60)
client.settimeout(60)
client.connect(("127.0.0.1", server.port))
client.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
wait_until(lambda: len(messages) >= 5)
before = time.process_time()
time.sleep(1)
spent, logged = time.process_time() - before, list(messages)

for descriptor in filled:
    os.close(descriptor)
def answer():
    while True:
        connection = listener.accept()[0]
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
        connection.close()
threading.Thread(target=answer, daemon=True).start()
status = client.recv(12).decode()
wait_until(lambda: export.export_count and monitor.alerts.deliveries()[0].delivered)
delivered = monitor.alerts.deliveries()[0].delivered
os.write(1, json.dumps([spent, logged, status, export.export_count > 0, delivered]).encode())
os._exit(0)
"""


def test_without_descriptors_everything_rests_logs_once_and_recovers():
    """Server, pools, sinks and exports use little processor time, log once each, and go on later.

    Exhausting the descriptors makes each of their attempts fail at once.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=300
    )
    spent, logged, status, has_exported, delivered = json.loads(done.stdout)
    assert spent < 0.3  # seconds of processor time in 1 s
    subjects = sorted(re.split(r"[ (]", message)[0] for message in logged)
    assert subjects == ["AlertmanagerSink", "export", "pool", "pool", "the"]
    assert (status, has_exported, delivered) == ("HTTP/1.0 200", True, 1)
    assert not done.stderr

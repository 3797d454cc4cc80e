"""The programs on the vendor's pages. Arguments: URL, text, WAV file; the key is in the environment."""

from __future__ import annotations

WITH_WEBSOCKETS = """
import asyncio, base64, json, os, sys, wave
import websockets

url, text, file_name = sys.argv[1:]

async def fetch():
    pieces = []
    async with websockets.connect(
        url, additional_headers={"Authorization": f"Bearer {os.environ['SMALLEST_API_KEY']}"}
    ) as ws:
        await ws.send(json.dumps({"text": text, "voice_id": "magnus", "sample_rate": 24000}))
        while True:
            message = json.loads(await ws.recv())
            if message["status"] == "chunk":
                pieces.append(base64.b64decode(message["data"]["audio"]))
            elif message["status"] == "complete":
                break
    with wave.open(file_name, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24000)
        file.writeframes(b"".join(pieces))
    print(f"{len(pieces)} pieces")

asyncio.run(fetch())
"""

WITH_REQUESTS = """
import base64, json, os, sys, wave
import requests

url, text, file_name = sys.argv[1:]

reply = requests.post(
    url,
    headers={
        "Authorization": f"Bearer {os.environ['SMALLEST_API_KEY']}",
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
    },
    json={"text": text, "voice_id": "magnus", "sample_rate": 24000},
    stream=True,
)
pieces = []
for line in reply.iter_lines():
    if not line:
        continue
    line = line.decode()
    if not line.startswith("data: "):
        continue
    event = json.loads(line[6:])
    if <is audio>:
        pieces.append(base64.b64decode(<audio>))
    elif <is end>:
        break
with wave.open(file_name, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(24000)
    file.writeframes(b"".join(pieces))
print(f"{len(pieces)} pieces")
"""


def with_requests(is_audio: str, audio: str, is_end: str) -> str:
    program = WITH_REQUESTS.replace("<is audio>", is_audio).replace("<audio>", audio)
    return program.replace("<is end>", is_end)


V31_EVENTS = with_requests(
    'event["status"] == "chunk"', 'event["data"]["audio"]', 'event["status"] == "complete"'
)
TODAYS_EVENTS = with_requests('event["status"] == "206"', 'event["audio"]', 'event["done"]')

WITH_WEBSOCKET_CLIENT = """
import base64, json, os, sys, time, wave
import websocket

url, text, file_name = sys.argv[1:]
ws = websocket.create_connection(url, header={"Authorization": "Bearer " + os.environ["SMALLEST_API_KEY"]})
payload = {
    "voice_id": "ryan", "text": text, "sample_rate": 24000, "speed": 1, "language": "en",
    "consistency": 0.5, "similarity": 0, "enhancement": 1,
}
began = time.monotonic()
ws.send(json.dumps(payload))
first, pieces = None, []
while True:
    message = json.loads(ws.recv())
    status = message.get("status") or message.get("payload", {}).get("status")
    if status == "error":
        sys.exit("failed: " + message["message"])
    if status == "complete":
        break
    if audio := message.get("data", {}).get("audio"):
        first = first or time.monotonic() - began
        pieces.append(base64.b64decode(audio))
ws.close()
with wave.open(file_name, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(24000)
    for piece in pieces:
        file.writeframes(piece)
print(f"first audio after {first:.3f} s, {len(pieces)} pieces")
"""

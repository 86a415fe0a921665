"""Publishes to WHIP, or watches by WHEP, with aiortc: no trickle, all candidates in the offer."""

import asyncio
import signal
import sys
import urllib.request

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from av import VideoFrame

# Luma and the two chromas of what the tests call yellow.
YELLOW = (174, 54, 154)


class Colour(VideoStreamTrack):
    """A picture of one colour with a bar that moves."""

    count = 0

    async def recv(self):
        frame = VideoFrame(320, 180, "yuv420p")
        for plane, value in zip(frame.planes, YELLOW):
            plane.update(bytes([value]) * plane.buffer_size)
        luma, line = frame.planes[0], frame.planes[0].line_size
        picture = bytearray(bytes(luma))
        left = self.count * 8 % 280
        for row in range(160, 180):
            picture[row * line + left : row * line + left + 40] = b"\xeb" * 40
        luma.update(bytes(picture))
        self.count += 1
        frame.pts, frame.time_base = await self.next_timestamp()
        return frame


def request(url, method, body=None):
    headers = {"Content-Type": "application/sdp"} if body else {}
    data = body.encode() if body else None
    return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method))


async def watch(track):
    """Tells luma and chroma in the middle of every tenth picture, and that sound comes."""
    count = 0
    while True:
        frame = await track.recv()
        count += 1
        if track.kind == "video" and count % 10 == 0:
            middle = [bytes(plane)[plane.line_size * (plane.height // 2) + plane.width // 2] for plane in frame.planes]
            print("picture", *middle)
        if track.kind == "audio" and count == 50:
            print("sound")


async def main(what, url):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    if what == "publish":
        pc.addTrack(AudioStreamTrack())
        pc.addTrack(Colour())
        for transceiver in pc.getTransceivers():
            transceiver.direction = "sendonly"
    else:
        for kind in ("audio", "video"):
            pc.addTransceiver(kind, direction="recvonly")
        pc.on("track", lambda track: asyncio.ensure_future(watch(track)))
    await pc.setLocalDescription(await pc.createOffer())
    response = request(url, "POST", pc.localDescription.sdp)
    session = response.headers["Location"]
    await pc.setRemoteDescription(RTCSessionDescription(response.read().decode(), "answer"))
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    await stopped.wait()
    print(f"deleted {request(session, 'DELETE').status}")
    await pc.close()


asyncio.run(main(*sys.argv[1:]))

"""
Publishes to WHIP, or watches by WHEP, with webrtcbin of GStreamer: its candidates follow the offer in PATCH requests. With `old` as
a third word, it has the certificate that GStreamer has made before 1.28.
"""

import hashlib
import re
import signal
import ssl
import subprocess
import sys
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

# On what the tests call yellow.
PUBLISH = """
webrtcbin name=rtc bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball foreground-color=0xffffffff background-color=0xffd2c828 ! video/x-raw,width=320,height=180,framerate=30/1
  ! videoconvert ! openh264enc gop-size=30 ! h264parse ! rtph264pay config-interval=-1 aggregate-mode=zero-latency
  ! application/x-rtp,media=video,encoding-name=H264,payload=96 ! rtc.
audiotestsrc is-live=true freq=1100 ! audioconvert ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay
  ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! rtc.
"""
RECEIVED = {
    "audio": "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2",
    "video": "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000",
}
DECODE = {
    "audio": "rtpopusdepay ! opusdec ! audioconvert ! fakesink name=sink signal-handoffs=true",
    "video": "rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=I420 ! fakesink name=sink signal-handoffs=true",
}


def request(url, method, kind=None, body=None):
    headers = {"Content-Type": kind} if body else {}
    data = body.encode() if body else None
    return urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method))


def certificate(key):
    command = ["openssl", "req", "-x509", "-nodes", "-keyout", "-", "-subj", "/CN=test", "-newkey", *key]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def fingerprint(certificate):
    der = ssl.PEM_cert_to_DER_cert(certificate[certificate.index("-----BEGIN CERTIFICATE") :])
    return ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest())


class Client:
    def __init__(self, what, url, age="new"):
        self.url, self.session, self.candidates, self.counts = url, None, [], {}
        self.certificate = certificate(["rsa:2048"] if age == "old" else ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        if what == "publish":
            self.pipeline = Gst.parse_launch(PUBLISH)
            self.rtc = self.pipeline.get_by_name("rtc")
        else:
            self.pipeline = Gst.Pipeline.new()
            self.rtc = Gst.ElementFactory.make("webrtcbin")
            self.rtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
            self.pipeline.add(self.rtc)
            for caps in RECEIVED.values():
                direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
                self.rtc.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
        self.pipeline.connect("deep-element-added", self.certify)
        self.rtc.connect("on-negotiation-needed", self.offer)
        self.rtc.connect("on-ice-candidate", self.candidate)
        self.rtc.connect("pad-added", self.decode)

    def certify(self, _, __, element):
        """Gives it a certificate like those that GStreamer makes by itself: of ECDSA from 1.28 on, of RSA before."""
        if element.__gtype__.name == "GstDtlsSrtpDec":
            element.set_property("pem", self.certificate)

    def offer(self, _):
        if self.pipeline.get_by_name("rtc") is not None:
            for index in range(2):
                transceiver = self.rtc.emit("get-transceiver", index)
                transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        self.rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered))

    def offered(self, promise):
        # The offer lives in the reply.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.rtc.emit("set-local-description", offer, Gst.Promise.new())
        # It has looked at the certificate before there was another.
        sdp = re.sub(r"(a=fingerprint:sha-256 ).*", rf"\g<1>{fingerprint(self.certificate)}\r", offer.sdp.as_text())
        lines = [line for line in sdp.splitlines() if line.startswith(("a=ice-ufrag", "a=ice-pwd"))]
        self.fragment = "".join(f"{line}\r\n" for line in lines)
        GLib.idle_add(self.post, sdp)

    def post(self, offer):
        response = request(self.url, "POST", "application/sdp", offer)
        self.session = response.headers["Location"]
        _, answer = GstSdp.SDPMessage.new_from_text(response.read().decode())
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, answer)
        self.rtc.emit("set-remote-description", answer, Gst.Promise.new())
        self.trickle()

    def candidate(self, _, line, candidate):
        self.candidates.append((line, candidate))
        GLib.idle_add(self.trickle)

    def trickle(self):
        waiting, self.candidates = (self.candidates, []) if self.session else ([], self.candidates)
        if waiting:
            lines = "".join(f"a={candidate}\r\n" for _, candidate in waiting if candidate)
            fragment = f"{self.fragment}m=audio 9 RTP/AVP 0\r\na=mid:audio0\r\n{lines}"
            print("patched", request(self.session, "PATCH", "application/trickle-ice-sdpfrag", fragment).status)

    def decode(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        decoder = Gst.parse_bin_from_description(DECODE[kind], True)
        decoder.get_by_name("sink").connect("handoff", self.decoded, kind)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def decoded(self, _, buffer, pad, kind):
        """Tells luma and chroma in the middle of every tenth picture, and that sound comes."""
        count = self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind == "video" and count % 10 == 0:
            caps = pad.get_current_caps().get_structure(0)
            width, height = caps.get_value("width"), caps.get_value("height")
            stride = (width + 3) // 4 * 4
            half = ((width + 1) // 2 + 3) // 4 * 4
            chroma = (height + 1) // 2
            middles = [
                stride * (height // 2) + width // 2,
                stride * height + half * (chroma // 2) + width // 4,
                stride * height + half * chroma + half * (chroma // 2) + width // 4,
            ]
            print("picture", *[buffer.extract_dup(at, 1)[0] for at in middles])
        if kind == "audio" and count == 50:
            print("sound")


def main(*words):
    Gst.init(None)
    client, loop = Client(*words), GLib.MainLoop()
    client.pipeline.set_state(Gst.State.PLAYING)
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGINT, loop.quit)
    loop.run()
    print("deleted", request(client.session, "DELETE").status)
    client.pipeline.set_state(Gst.State.NULL)


main(*sys.argv[1:])

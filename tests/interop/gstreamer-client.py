"""GStreamer's webrtcbin, the element inside whipclientsink and whepclientsrc, with Debian's packages.

Debian 12 has the element and not those two, so the HTTP half is ours: full gather, then one POST, as they do it.
Run with the system's Python, which has the bindings.

GStreamer 1.22's webrtcbin makes itself an RSA certificate and has no setting for another. The server's DTLS library
takes only ECDSA ones, so a P-256 certificate is put into webrtcbin's DTLS element and its fingerprint into the offer.
"""

import hashlib
import re
import signal
import ssl
import subprocess

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402
from lib import task as contract  # noqa: E402

FILES = (
    "x264enc bframes=2 b-adapt=false rc-lookahead=4 key-int-max=90 bitrate=300 {options} ! "
    "video/x-h264,profile=main ! rtph264pay name=video config-interval=0"
)
DEAF = ("h264-sparse", "h264-bare")
ENCODERS = {
    "vp8": "vp8enc deadline=1 keyframe-max-dist=30 target-bitrate=300000 ! rtpvp8pay name=video picture-id-mode=15-bit",
    "h264": "x264enc tune=zerolatency key-int-max=30 bitrate=300 ! video/x-h264,profile=constrained-baseline ! "
    "rtph264pay name=video config-interval=-1 aggregate-mode=zero-latency",
    # What encoders for files do and those for calls should not: B-frames, a key frame every 6 s; and its headers in
    # the description only. They are deaf, too: see `Client`.
    "h264-sparse": FILES.format(options=""),
    "h264-bare": FILES.format(options="option-string=repeat-headers=0"),
}
PUBLISH = (
    "webrtcbin name=peer bundle-policy=max-bundle "
    "videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=15/1 ! {encoder} ! "
    "application/x-rtp,media=video,encoding-name={name},payload=96 ! peer. "
    "audiotestsrc is-live=true wave=sine ! audioconvert ! audioresample ! opusenc ! rtpopuspay name=audio ! "
    "application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! peer."
)
# parse_launch makes a pipeline of two elements and not of one: the fake source is only company.
WATCH = "webrtcbin name=peer bundle-policy=max-bundle fakesrc num-buffers=0 ! fakesink"


class Client:
    def __init__(self, task, report):
        self.task, self.report = task, report
        self.codec = task.codec or "vp8"
        self.loop = GLib.MainLoop()
        self.session = None
        self.certificate = p256_certificate()
        if task.role == "publish":
            description = PUBLISH.format(encoder=ENCODERS[self.codec], name=self.codec.split("-")[0].upper())
        else:
            description = WATCH
        self.pipeline = Gst.parse_launch(description)
        self.peer = self.pipeline.get_by_name("peer")
        self.peer.connect("deep-element-added", self.on_element)
        self.peer.connect("notify::ice-gathering-state", self.on_gathering)
        self.peer.connect("notify::connection-state", self.on_connection)
        if task.role == "publish":
            self.count_pad(self.pipeline.get_by_name("video").get_static_pad("src"), report.video)
            if self.codec in DEAF:
                video = self.pipeline.get_by_name("video").get_static_pad("src")
                video.add_probe(Gst.PadProbeType.EVENT_UPSTREAM, drop_key_frame_request)
            self.count_pad(self.pipeline.get_by_name("audio").get_static_pad("src"), report.audio)
            for index in range(2):
                transceiver = self.peer.emit("get-transceiver", index)
                transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
                transceiver.set_property("do-nack", True)
        else:
            self.add_receivers()
            self.peer.connect("pad-added", self.on_incoming)

    def run(self):
        self.pipeline.get_bus().add_signal_watch()
        self.pipeline.get_bus().connect("message::error", self.on_error)
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add(200, self.offer)
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, self.loop.quit)
        GLib.timeout_add_seconds(contract.CONNECT_SECONDS, self.give_up)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        if self.session:
            contract.delete(self.task, self.session)

    def add_receivers(self):
        receive = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
        video = "application/x-rtp,media=video,encoding-name={},clock-rate=90000,payload={}"
        formats = ";".join(video.format(name, 96 + i) for i, name in enumerate(["VP8", "H264"]))
        opus = "encoding-name=OPUS,clock-rate=48000,payload=111,encoding-params=(string)2"
        audio = "application/x-rtp,media=audio," + opus
        for caps in (audio, formats):
            transceiver = self.peer.emit("add-transceiver", receive, Gst.Caps.from_string(caps))
            transceiver.set_property("do-nack", True)

    def on_element(self, _peer, _parent, element):
        if element.__gtype__.name == "GstDtlsDec":
            element.set_property("pem", self.certificate)

    def offer(self):
        # The offer names the SSRCs of streams that flow, and none of others.
        if self.task.role == "publish" and not (self.report.video["packets"] and self.report.audio["packets"]):
            return True
        promise = Gst.Promise.new_with_change_func(self.on_offer, None, None)
        self.peer.emit("create-offer", None, promise)
        return False

    def on_offer(self, promise, _data, _more):
        # The reply owns the offer: it has to live until the offer is set.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.peer.emit("set-local-description", offer, Gst.Promise.new())

    def on_gathering(self, peer, _property):
        if peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self.post)

    def post(self):
        if self.session:
            return False
        try:
            offer = self.peer.get_property("local-description").sdp.as_text()
            offer = re.sub(r"a=fingerprint:[^\r\n]*", f"a=fingerprint:{fingerprint(self.certificate)}", offer)
            answer, self.session = contract.post(self.task, offer)
        except Exception as error:
            self.fail(error)
            return False
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", description, Gst.Promise.new())
        return False

    def on_connection(self, peer, _property):
        state = peer.get_property("connection-state")
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED and not self.report.values["connected"]:
            self.report.connected()
            GLib.timeout_add(int(self.task.seconds * 1000), self.loop.quit)
        if state == GstWebRTC.WebRTCPeerConnectionState.FAILED:
            GLib.idle_add(self.fail, "connection failed")

    def on_incoming(self, _peer, pad):
        """Decodes what arrives, and counts packets in front of the decoder and pictures behind it."""
        caps = pad.get_current_caps().get_structure(0)
        video = caps.get_string("media") == "video"
        self.count_pad(pad, self.report.video if video else self.report.audio)
        if video:
            self.report.video["codec"] = caps.get_string("encoding-name").lower()
        decoder = Gst.parse_bin_from_description("decodebin name=decoder ! fakesink name=out sync=false", False)
        target = decoder.get_by_name("decoder").get_static_pad("sink")
        decoder.add_pad(Gst.GhostPad.new("sink", target))
        if video:
            sink = decoder.get_by_name("out").get_static_pad("sink")
            sink.add_probe(Gst.PadProbeType.BUFFER, self.on_picture)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def on_picture(self, pad, _info):
        self.report.video["frames"] += 1
        self.report.video["width"] = pad.get_current_caps().get_structure(0).get_int("width")[1]
        return Gst.PadProbeReturn.OK

    def count_pad(self, pad, counter):
        def count(_pad, info):
            group = info.type & Gst.PadProbeType.BUFFER_LIST
            counter["packets"] += info.get_buffer_list().length() if group else 1
            return Gst.PadProbeReturn.OK

        pad.add_probe(Gst.PadProbeType.BUFFER | Gst.PadProbeType.BUFFER_LIST, count)

    def on_error(self, _bus, message):
        self.fail(message.parse_error()[0].message)

    def give_up(self):
        if not self.report.values["connected"]:
            self.fail(f"not connected after {contract.CONNECT_SECONDS} s")
        return False

    def fail(self, error):
        self.report.error(error)
        self.loop.quit()
        return False


def drop_key_frame_request(_pad, info):
    is_request = info.get_event().has_name("GstForceKeyUnit")
    return Gst.PadProbeReturn.DROP if is_request else Gst.PadProbeReturn.OK


def p256_certificate():
    """A new certificate and its key in PEM, valid for a day."""
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=gstreamer"
    files = ["-keyout", "/dev/stdout", "-out", "/dev/stdout"]
    return subprocess.run(request.split() + files, check=True, capture_output=True, text=True, timeout=20).stdout


def fingerprint(pem):
    """As `a=fingerprint` has it (RFC 8122)."""
    certificate = pem[pem.index("-----BEGIN CERTIFICATE-----") :]
    return "sha-256 " + hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).digest().hex(":").upper()


if __name__ == "__main__":
    Gst.init(None)
    arguments = contract.parse()
    result = contract.Report("gstreamer", arguments.role)
    try:
        Client(arguments, result).run()
    except Exception as error:
        result.error(error)
    if arguments.role == "publish":
        result.video["codec"] = arguments.codec or "vp8"
    result.finish()

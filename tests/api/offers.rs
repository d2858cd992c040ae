//! Session descriptions in the shapes real clients send, as short as they can be.

/// A publisher's offer: Opus and H264, as OBS and libdatachannel write it (no candidates).
pub(crate) fn publish() -> String {
    offer("sendonly", &["audio", "video"])
}

/// A viewer's offer.
pub(crate) fn play() -> String {
    offer("recvonly", &["video", "audio"])
}

/// An offer with these m-lines, all of one direction.
pub(crate) fn offer(direction: &str, kinds: &[&str]) -> String {
    let mids: Vec<String> = (0..kinds.len()).map(|mid| mid.to_string()).collect();
    let mut lines = vec![
        "v=0".to_owned(),
        "o=rtc 4006198215 0 IN IP4 127.0.0.1".to_owned(),
        "s=-".to_owned(),
        "t=0 0".to_owned(),
        format!("a=group:BUNDLE {}", mids.join(" ")),
        "a=msid-semantic:WMS *".to_owned(),
        FINGERPRINT.to_owned(),
    ];
    for (mid, kind) in kinds.iter().enumerate() {
        lines.extend(media(kind, mid, direction));
    }
    lines.join("\r\n") + "\r\n"
}

pub(crate) const FINGERPRINT: &str = "a=fingerprint:sha-256 \
    7A:B4:32:99:2C:10:5D:EE:0A:41:FF:83:6B:57:C8:90:1E:D2:34:A6:7B:C9:0D:81:52:F3:64:9A:BC:E7:18:05";
pub(crate) const ICE: [&str; 2] = ["a=ice-ufrag:6Wfz", "a=ice-pwd:Xw3Jc1aPz8kQvN7bRtY5mL2e"];

fn media(kind: &str, mid: usize, direction: &str) -> Vec<String> {
    let (payload, codec) = match kind {
        "audio" => (111, &["a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1"][..]),
        _ => (
            96,
            &[
                "a=rtpmap:96 H264/90000",
                "a=fmtp:96 profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1",
                "a=rtcp-fb:96 nack",
                "a=rtcp-fb:96 nack pli",
            ][..],
        ),
    };
    let mut lines = vec![
        format!("m={kind} 9 UDP/TLS/RTP/SAVPF {payload}"),
        "c=IN IP4 0.0.0.0".to_owned(),
        format!("a=mid:{mid}"),
        format!("a={direction}"),
    ];
    if direction == "sendonly" {
        lines.push(format!("a=ssrc:{} cname:stream", 1000 + mid));
        lines.push(format!("a=msid:stream {kind}"));
    }
    lines.extend(["a=rtcp-mux", "a=setup:actpass"].map(str::to_owned));
    lines.extend(ICE.map(str::to_owned));
    lines.extend(codec.iter().map(|line| (*line).to_owned()));
    lines
}

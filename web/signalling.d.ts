// Messages of rooms, version 1, over the WebSocket at /rooms/{room}/ws.
// Made from the server's types (src/sfu/signal) by its test; do not edit.

/** What the client sends: one JSON object for each text frame. */
export type RequestMessage = {
  [M in keyof Methods]: { id: number; method: M; params: Methods[M]["params"] };
}[keyof Methods];

/** What the server sends. */
export type ServerMessage =
  | { id: number; result: Methods[keyof Methods]["result"] }
  | { id: number | null; error: Failure }
  | Event;

/** Every method with its parameters and its result. */
export interface Methods {
  /** Come in. With an offer: media is negotiated in the same round trip. */
  join: { params: JoinRequest; result: Joined };
  /** Negotiate anew: publish, unpublish, more slots, ICE restart. */
  offer: { params: OfferRequest; result: Offered };
  /** ICE candidates found later. The server needs none: it is reachable, and learns from the client's checks. */
  trickle: { params: Trickle; result: Nothing };
  /** The full desired state of what is received. */
  subscribe: { params: Subscribe; result: Subscribed };
  /** Mute or unmute an own track. */
  mute: { params: Mute; result: Nothing };
  /** Change own name, metadata or attributes. */
  update: { params: Update; result: Updated };
  /** Write to everybody or to some. */
  chat: { params: Chat; result: ChatSent };
  /** Send a data message to everybody or to some. */
  data: { params: Data; result: Nothing };
  /** Pass a message about a direct connection to another member. */
  signal: { params: Signal; result: Nothing };
  /** Change what the room says of itself. Needs `admin`. */
  updateRoom: { params: UpdateRoom; result: Nothing };
  /** Change the room's mode. */
  setMode: { params: SetMode; result: Nothing };
  /** This member's media runs on that path. */
  pathReady: { params: PathReady; result: Nothing };
  /** Quality as the client measured it. */
  report: { params: Report; result: Nothing };
  /** The server's view of this member's media. */
  stats: { params: Nothing; result: Stats };
  /** Remove somebody. Needs `admin`. */
  kick: { params: Kick; result: Nothing };
  /** Mute somebody's track. Needs `admin`. */
  muteOther: { params: MuteOther; result: Nothing };
  /** Remove everybody. Needs `admin`. */
  closeRoom: { params: Reasoned; result: Nothing };
  /** Leave. The connection is closed afterwards. */
  leave: { params: Nothing; result: Nothing };
  /** Nothing; to see whether the connection lives. */
  ping: { params: Nothing; result: Nothing };
}

/** Why a request was refused. */
export type Failure = {
/** For programs. */
code: ErrorCode,
/** For people: what is wrong and what to do. */
message: string, };

/** The kinds of refusal. */
export type ErrorCode = "bad_request" | "unauthorized" | "forbidden" | "not_found" | "room_full" | "server_full" | "rate_limited" | "too_large" | "not_joined" | "already_joined" | "unsupported" | "bad_offer" | "draining" | "internal";

/** Something happened in the room: `{"event": "participantJoined", "data": {...}}`. */
export type Event = { "event": "participantJoined", "data": {
/** Who. */
participant: ParticipantInfo, } } | { "event": "participantUpdated", "data": {
/** As it is now. */
participant: ParticipantInfo, } } | { "event": "participantLeft", "data": {
/** Who. */
sid: string,
/** Why, in a word. */
reason: string, } } | { "event": "participantState", "data": {
/** Who. */
sid: string,
/** Reachable or not. */
state: ParticipantState, } } | { "event": "trackPublished", "data": {
/** Whose. */
participant: string,
/** The track. */
track: TrackInfo, } } | { "event": "trackUpdated", "data": {
/** Whose. */
participant: string,
/** As it is now. */
track: TrackInfo, } } | { "event": "trackUnpublished", "data": {
/** Whose. */
participant: string,
/** Its sid. */
track: string, } } | { "event": "bindings", "data": {
/** One for each slot. */
bindings: Array<Binding>, } } | { "event": "speakers", "data": {
/** Those who can be heard, loudest first. */
speakers: Array<SpeakerLevel>,
/** The dominant speaker. */
dominant?: string, } } | { "event": "quality", "data": {
/** Whose. */
sid: string,
/** 5 excellent, 4 good, 3 fair, 2 poor, 1 lost. */
score: number, } } | { "event": "layers", "data": {
/** The track. */
track: string,
/** Each encoding. */
wanted: Array<LayerWish>, } } | { "event": "chat", "data": {
/** What. */
message: ChatMessage, } } | { "event": "data", "data": {
/** What it is about. */
topic: string,
/** Base64. */
payload: string,
/** Sender's sid. */
from: string,
/** It was sent reliably. */
reliable: boolean,
/** As in `DataHeader`, for one who has had a channel labelled `reliable`. */
seq?: number, } } | { "event": "signal", "data": {
/** Sender's sid. */
from: string,
/** As it was sent. */
payload: unknown, } } | { "event": "path", "data": {
/** The path to build. */
path: MediaPath,
/** Counts the switches; `pathReady` repeats it. */
epoch: number,
/** The other member of a direct path. */
peer?: string,
/** This side makes the offer. */
offerer?: boolean, } } | { "event": "roomUpdated", "data": {
/** As it is now. */
room: RoomInfo, } } | { "event": "muted", "data": {
/** The track. */
track: string,
/** The moderator's sid. */
by: string, } } | { "event": "draining", "data": {
/** Milliseconds left. */
deadline: number,
/** Why. */
reason: string, } } | { "event": "closed", "data": {
/** For programs. */
reason: CloseReason,
/** For people. */
message: string, } };

/** Parameters of `join`. */
export type JoinRequest = {
/** 1. */
version: number,
/** Name for people; the identity otherwise. */
name?: string,
/** Who it is. A token with an identity decides instead; without either one is made up. */
identity?: string,
/** Free text for the application. */
metadata?: string,
/** Small values for the application. */
attributes?: { [key in string]: string },
/** SDP: own senders as `sendonly`, receiving slots as `recvonly` m-lines. Without: chat and data only, for now. */
offer?: string,
/** The m-lines that are published; a `sendonly` m-line that is not listed is kept for later. */
tracks?: Array<OwnTrack>,
/** Take the place up again that was held before. */
resume?: Resume,
/** What the client is, for the log. */
clientInfo?: { sdk?: string; version?: string; browser?: string }, };

/** One m-line the client publishes on. */
export type OwnTrack = {
/** The m-line. */
mid: string,
/** What it shows. */
source: TrackSource,
/** For people. */
name?: string,
/** Starts muted. */
muted?: boolean,
/** Its payload is encrypted end to end. */
encrypted?: boolean, };

/** The session to take up again. */
export type Resume = {
/** `session.id` of the reply to the first join. */
session: string,
/** `session.resumeSecret` of that reply. */
secret: string,
/** The highest `seq` of the data messages that came, 0 if none did: those behind it come again. Without, for a page
 * that was loaded anew, none does. */
received?: number, };

/** The reply to `join`. */
export type Joined = {
/** To resume by. */
session: SessionInfo,
/** The place was taken up again; tracks and slots of other m-lines than in this offer are gone. */
resumed: boolean,
/** The room. */
room: RoomInfo,
/** You. */
participant: ParticipantInfo,
/** The others. */
participants: Array<ParticipantInfo>,
/** SDP, when there was an offer. */
answer?: string,
/** Sids of the own tracks, by m-line. */
tracks: Array<PublishedTrack>,
/** What the slots carry. */
bindings: Array<Binding>,
/** The latest messages to everybody. */
chat: Array<ChatMessage>,
/** Where the count of the events that are told stands, which `after` of data messages names. It never goes back. */
events: number,
/** STUN and TURN servers. */
iceServers: Array<IceServer>,
/** Bounds. */
limits: RoomLimits,
/** The server. */
serverInfo: ServerInfo, };

/** What a session is resumed by. */
export type SessionInfo = {
/** Its id. */
id: string,
/** Proves that it is yours. */
resumeSecret: string,
/** Milliseconds a lost connection's place is kept. */
resumeWindow: number, };

/** An own track. */
export type PublishedTrack = {
/** Its m-line. */
mid: string,
/** What others know it by. */
sid: string, };

/** Bounds a client should know. */
export type RoomLimits = {
/** Bytes of a message. */
message: number,
/** Video slots that are worth offering. */
videoSlots: number,
/** Audio slots that are worth offering. */
audioSlots: number, };

/** The server. */
export type ServerInfo = {
/** Its version. */
version: string, };

/** Parameters of `offer`. */
export type OfferRequest = {
/** SDP. A connection keeps the payload types of its first offer. Codecs and m-lines may come and go later,
 * but formats that the first one did not name are left out of the answer. */
offer: string,
/** All m-lines that are published. */
tracks: Array<OwnTrack>, };

/** The reply to `offer`. */
export type Offered = {
/** SDP. */
answer: string,
/** Sids of the own tracks, by m-line. */
tracks: Array<PublishedTrack>,
/** What the slots carry. */
bindings: Array<Binding>, };

/** Parameters of `trickle`. */
export type Trickle = {
/** `candidate:...` lines. */
candidates: Array<string>, };

/** Parameters of `subscribe`. */
export type Subscribe = {
/** The tracks to see. Video that is not listed is not sent. Audio is chosen by the server unless listed as paused. */
wishes: Array<Wish>, };

/** The reply to `subscribe`. */
export type Subscribed = {
/** What the slots carry now. */
bindings: Array<Binding>, };

/** Parameters of `mute`. */
export type Mute = {
/** An own track. */
track: string,
/** Muted or not. */
muted: boolean, };

/** Parameters of `update`: what is left out stays. */
export type Update = {
/** Name for people. */
name?: string,
/** Free text for the application. */
metadata?: string,
/** Those named are set, those with an empty value removed. */
attributes?: { [key in string]: string }, };

/** The reply to `update`. */
export type Updated = {
/** As it is now. */
participant: ParticipantInfo, };

/** Parameters of `chat`. */
export type Chat = {
/** What to write. */
text: string,
/** Sids; without: everybody, and it is kept for those who come later. */
to?: Array<string>, };

/** The reply to `chat`. */
export type ChatSent = {
/** As it was sent. */
message: ChatMessage, };

/** Parameters of `data`. */
export type Data = {
/** What it is about. */
topic: string,
/** Base64. */
payload: string,
/** Sids; without: everybody. */
to?: Array<string>,
/** True unless said otherwise. What is not reliable goes over the data channel where there is one, and is dropped
 * where it would have to wait. What is, goes over the channel labelled `reliable` where there is one. */
reliable?: boolean, };

/** The first line of a message on a data channel; after it come a line feed and the payload as it is. The client opens
 * the channels: `data` (unordered, without retransmissions) for what need not be complete, `reliable` for what is. */
export type DataHeader = {
/** What it is about. */
topic: string,
/** Sids; without: everybody. */
to?: Array<string>,
/** As in `data`. */
reliable?: boolean,
/** Sid of the sender; the server writes it. */
from?: string,
/** On `reliable`, of the client: the answer (`DataAnswer`) repeats it. Without, there is none. */
id?: number,
/** On `reliable`, of the server: rises from message to message, also from session to session. One that is no higher
 * than an earlier one is that message once more. */
seq?: number,
/** On `reliable`, of the server: where the count of events, from `events` of the reply to `join` on, stood before
 * this. The channel may be quicker than the WebSocket. */
after?: number, };

/** What a message with an `id` on `reliable` is answered there: a line without a payload. */
export type DataAnswer = {
/** Of the message. */
id: number,
/** Why it was refused; without: it was passed on. */
error?: Failure, };

/** What a client says on `reliable`, in a line without a payload, soon after messages came: what it has need not be
 * kept for it any longer. One that lets 16 MiB gather is cut off as a slow reader. */
export type DataReceipt = {
/** The highest `seq` that came. */
received: number, };

/** Parameters of `signal`. */
export type Signal = {
/** Sid of the other member of a direct path, which a `path` event named. */
to: string,
/** Passed on as it is, up to 32 KiB. */
payload: unknown, };

/** Parameters of `updateRoom`. */
export type UpdateRoom = {
/** Free text for the application, up to 4 KiB; replaces the former. */
metadata: string, };

/** Parameters of `setMode`. */
export type SetMode = {
/** The new mode. */
mode: RoomMode, };

/** Parameters of `pathReady`. */
export type PathReady = {
/** The path. */
path: MediaPath,
/** As in the `path` event. */
epoch: number, };

/** Parameters of `report`: since the last report. */
export type Report = {
/** How often the video that froze least did so, where packets were late or missing. One that freezes alone, or of
 * which nothing is missing, is its sender's matter. */
freezes?: number,
/** Milliseconds it stood still. */
freezeMs?: number,
/** Milliseconds this covers. */
intervalMs?: number, };

/** The server's view of a member's media. */
export type Stats = {
/** Milliseconds, from RTCP. */
rttMs?: number,
/** Estimated bandwidth to this member in bit/s. */
estimate?: number,
/** 5 excellent to 1 lost. */
score: number,
/** Each receiving slot. */
slots: Array<SlotStats>,
/** Each own track. */
tracks: Array<TrackStats>, };

/** A receiving slot. */
export type SlotStats = {
/** Its m-line. */
mid: string,
/** The track it carries. */
track?: string,
/** Encoding that is sent. */
rid?: string,
/** Height in pixels of what is sent. */
height?: number,
/** Bit/s of what is sent. */
bitrate: number,
/** Packets sent on it so far. */
packets: number,
/** Fraction lost, as the client reports. */
loss?: number,
/** Why nothing is sent. */
reason?: SubscriptionReason,
/** Why it is this layer, for people. */
explanation: string, };

/** An own track. */
export type TrackStats = {
/** Its sid. */
sid: string,
/** Packets received. */
packets: number,
/** Fraction lost on the way to the server. */
loss?: number,
/** Who receives it. */
subscribers: number, };

/** Parameters of `kick`. */
export type Kick = {
/** Sid. */
participant: string,
/** Told to the one removed. */
reason?: string, };

/** Parameters of `muteOther`. */
export type MuteOther = {
/** Sid of the track. */
track: string, };

/** Parameters of `closeRoom`. */
export type Reasoned = {
/** Told to those removed. */
reason?: string, };

/** No parameters, or nothing to say. */
export type Nothing = {};

/** A room. */
export type RoomInfo = {
/** Differs for each time a room of this name is opened. */
sid: string,
/** Its name. */
name: string,
/** Free text for the application. */
metadata: string,
/** How media is to travel. */
mode: RoomMode,
/** How media travels now. */
path: MediaPath,
/** Milliseconds since 1970. */
createdAt: number,
/** How long receivers hold pictures back, when the room says so. */
playoutDelay?: PlayoutLimits, };

/** Bounds within which receivers choose how long they hold pictures back before they show them, in milliseconds. A
 * larger least is smoother on bad networks, and later. */
export type PlayoutLimits = {
/** The least. */
min: number,
/** The most, up to 40950. */
max: number, };

/** How a room's media is to travel. */
export type RoomMode = "auto" | "sfu" | "p2p";

/** A way media travels. */
export type MediaPath = "sfu" | "p2p";

/** Somebody in a room. */
export type ParticipantInfo = {
/** Names this stay of the participant. */
sid: string,
/** Names the participant; one stay at a time. */
identity: string,
/** For people. */
name: string,
/** Free text for the application. */
metadata: string,
/** Small values for the application. `hand` is the time a hand was raised, in milliseconds since 1970. */
attributes: { [key in string]: string },
/** How it takes part. */
kind: ParticipantKind,
/** Whether it is reachable. */
state: ParticipantState,
/** Milliseconds since 1970. */
joinedAt: number,
/** What it may do. */
permissions: Permissions,
/** Of its connection: 5 excellent, 4 good, 3 fair, 2 poor, 1 lost; 0 for who is not a member. */
quality: number,
/** What it publishes. */
tracks: Array<TrackInfo>, };

/** How a participant takes part. */
export type ParticipantKind = "standard" | "ingress" | "egress";

/** Whether a participant is reachable. */
export type ParticipantState = "active" | "reconnecting";

/** What a participant may do. */
export type Permissions = {
/** Publish tracks. */
canPublish: boolean,
/** Receive tracks. */
canSubscribe: boolean,
/** Send chat and data messages. */
canPublishData: boolean,
/** Change its own name, metadata and attributes, and the room's mode. */
canUpdateMetadata: boolean,
/** Mute and remove others, close the room. */
admin: boolean,
/** Is not shown to others, and publishes nothing. */
hidden: boolean, };

/** A published track. */
export type TrackInfo = {
/** Names the track within its room. */
sid: string,
/** Audio or video. */
kind: "audio" | "video",
/** What it shows. */
source: TrackSource,
/** For people. */
name: string,
/** Nothing is sent on it for now. */
muted: boolean,
/** `opus`, `vp8`, `vp9`, `h264`, `h265`, `av1`; empty before the first packet. */
codec: string,
/** Width in pixels of its best layer, 0 before it is known. */
width: number,
/** Height in pixels of its best layer, 0 before it is known. */
height: number,
/** It has several encodings. */
simulcast: boolean,
/** Its payload is encrypted end to end. */
encrypted: boolean, };

/** What a track shows. */
export type TrackSource = "camera" | "microphone" | "screen_share" | "screen_share_audio" | "unknown";

/** What a receiving slot carries. */
export type Binding = {
/** The slot: the mid of its m-line. */
mid: string,
/** Audio or video. */
kind: "audio" | "video",
/** The track it carries, or would if the subscriber could decode it. */
track: string | null,
/** Whose track that is. */
participant: string | null,
/** Why nothing is sent although a track is bound. */
reason?: SubscriptionReason, };

/** Why a bound track is not sent. */
export type SubscriptionReason = "paused" | "no_bandwidth" | "muted" | "no_codec";

/** How a member wants to see a track. */
export type Wish = {
/** The track's sid. */
track: string,
/** Height in pixels of its tile on the screen (device pixels); 0 is not shown. */
height: number,
/** Frames per second that suffice. */
fps?: number,
/** 0 to 100; 50 unless said otherwise. What is wanted more gets bandwidth first. */
priority?: number,
/** Comes before everything else. */
pinned?: boolean,
/** Keep the slot, send nothing. */
paused?: boolean, };

/** A chat message. */
export type ChatMessage = {
/** Names it within the room. */
id: string,
/** Who wrote it. */
from: Sender,
/** What was written. */
text: string,
/** The participants it is for; without: everybody. */
to?: Array<string>,
/** Milliseconds since 1970. */
time: number, };

/** Who wrote a message; it may have left since. */
export type Sender = {
/** Its sid. */
sid: string,
/** Its identity. */
identity: string,
/** Its name. */
name: string, };

/** A STUN or TURN server to use. */
export type IceServer = {
/** As in `RTCIceServer`. */
urls: Array<string>,
/** As in `RTCIceServer`. */
username?: string,
/** As in `RTCIceServer`. */
credential?: string,
/** Only for a direct connection with another member. The server's relay stands where the server itself does, and a
 * browser that uses it over UDP hears nothing else from there. */
peersOnly: boolean, };

/** How loud somebody is. */
export type SpeakerLevel = {
/** Who. */
sid: string,
/** 0 (silent) to 1. */
level: number,
/** Speaks now. */
active: boolean, };

/** Whether an encoding is wanted. */
export type LayerWish = {
/** The encoding; empty for a track without simulcast. */
rid: string,
/** Somebody wants it. */
active: boolean,
/** Frames per second that suffice for everybody. */
maxFps?: number, };

/** Why a connection is closed. */
export type CloseReason = "kicked" | "room_closed" | "replaced" | "slow_reader" | "server_stopping" | "duplicate_identity" | "flooding" | "timeout" | "left";
